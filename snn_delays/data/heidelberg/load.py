"""The Heidelberg data sets: SHD, spoken digits in two languages, and SSC, 35 spoken commands.

Reference:
    Cramer, Stradmann, Schemmel, Zenke, "The Heidelberg Spiking Data Sets for the Systematic
    Evaluation of Spiking Neural Networks" (2020, arXiv:1910.07407).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Unpack, get_args

from snn_delays.arguments import choice, whole_number
from snn_delays.data.events.binned import data_of
from snn_delays.data.heidelberg.official import Reading, read_official
from snn_delays.data.splits.interface import SpikeData
from snn_delays.data.splits.validation import by_speaker, check_fraction, stratified
from snn_delays.errors import UsageError

ShdSplit = Literal["speaker", "stratified", "paper"]

_log = logging.getLogger("snn_delays")


def load_shd(
    root: Path | str,
    *,
    dt_ms: float = 10.0,
    split: ShdSplit = "speaker",
    valid_fraction: float = 0.1,
    valid_speakers: Sequence[int] | None = None,
    seed: int = 0,
    **reading: Unpack[Reading],
) -> SpikeData:
    """Load SHD, or other data in its format, from ``root/shd_train.h5`` and ``root/shd_test.h5``.

    Args:
        root: the folder of the two files.
        dt_ms: duration of a time step, in ms.
        split: where validation recordings come from, as no official split exists. "speaker" holds
            out all recordings of some training speakers, "stratified" the same share of every
            class and speaker. "paper" trains on the whole training file and validates on the test
            file, as the published code does; then test accuracy is no honest estimate.
        valid_fraction: share of the training file to hold out; at least that for speakers.
        valid_speakers: the speakers to hold out; None draws the fewest that make that share.
        seed: of what is drawn.
        reading: what SHD and SSC have in common; see
            :func:`~snn_delays.data.heidelberg.official.read_official`.

    Raises:
        UsageError: a setting out of range; a file missing, damaged or not in the format.
    """
    choice("split", split, get_args(ShdSplit))
    if valid_speakers is not None and split != "speaker":
        raise UsageError(f"valid_speakers is for split=speaker, got split={split}.")
    check_fraction(valid_fraction)
    seed = whole_number("seed", seed, 0)
    files = read_official(root, "SHD", dt_ms, **reading)
    train, test = (file.split for file in files)
    if split == "paper":
        _log.warning(
            "SHD, split=paper: the TEST recordings choose the best epoch, as in the published "
            "code, so that the test accuracy is NOT an honest estimate. "
            "Use split=speaker or split=stratified for figures of your own."
        )
        valid = test
    else:
        labels, speakers = train.labels.numpy(), train.speakers.numpy()
        if split == "speaker":
            kept, held = by_speaker(speakers, valid_speakers, seed, valid_fraction)
        else:
            kept, held = stratified(labels, speakers, valid_fraction, seed)
        train, valid = train.subset(kept, "train"), train.subset(held, "valid")
    return data_of(files, (train, valid, test), split=split, dataset_name="SHD", dt_ms=dt_ms)


def load_ssc(
    root: Path | str,
    *,
    dt_ms: float = 10.0,
    split: str = "official",
    **reading: Unpack[Reading],
) -> SpikeData:
    """Load SSC from ``ssc_train.h5``, ``ssc_valid.h5`` and ``ssc_test.h5`` in ``root``.

    ``split`` is only "official", one file for each; ``reading`` as in :func:`load_shd`.

    Raises:
        UsageError: a setting out of range; a file missing, damaged or not in the format.
    """
    if split != "official":
        raise UsageError(f"SSC has an official split: split must be 'official', got {split!r}.")
    files = read_official(root, "SSC", dt_ms, **reading)
    splits = [file.split for file in files]
    return data_of(files, splits, split=split, dataset_name="SSC", dt_ms=dt_ms)
