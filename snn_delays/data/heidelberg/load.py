"""The Heidelberg data sets: SHD, spoken digits in two languages, and SSC, 35 spoken commands.

Reference:
    Cramer, Stradmann, Schemmel, Zenke, "The Heidelberg Spiking Data Sets for the Systematic
    Evaluation of Spiking Neural Networks" (2020, arXiv:1910.07407).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from snn_delays.arguments import choice, whole_number
from snn_delays.data.cache import CacheChoice
from snn_delays.data.events.binned import data_of
from snn_delays.data.events.reading import OnBad
from snn_delays.data.heidelberg.official import read_official
from snn_delays.data.splits.interface import SpikeData
from snn_delays.data.splits.validation import by_speaker, check_fraction, stratified
from snn_delays.errors import UsageError

ShdSplit = Literal["speaker", "stratified", "paper"]

_log = logging.getLogger("snn_delays")


def load_shd(
    root: Path | str,
    *,
    dt_ms: float = 10.0,
    n_units: int | None = None,
    pool: int | None = None,
    max_time_ms: float | None = None,
    split: ShdSplit = "speaker",
    valid_fraction: float = 0.1,
    valid_speakers: Sequence[int] | None = None,
    seed: int = 0,
    cache: CacheChoice = None,
    max_count: int | None = None,
    on_bad: OnBad = "refuse",
    download: bool = False,
    base_url: str | None = None,
) -> SpikeData:
    """Load SHD, or other data in its format, from ``root/shd_train.h5`` and ``root/shd_test.h5``.

    Args:
        root: the folder of the two files.
        dt_ms: duration of a time step, in ms.
        n_units: units are 0 … ``n_units`` − 1; None for what the files say (attribute ``n_units``
            of ``spikes/units``) or else for the largest unit + 1, up to SHD's 700.
        pool: how many neighbouring units make one channel; None for 5 of 700 units, else 1.
        max_time_ms: events at or after this time, in ms, are left out; None keeps all.
        split: where validation recordings come from, as no official split exists. "speaker" holds
            out all recordings of some training speakers, "stratified" the same share of every
            class and speaker. "paper" trains on the whole training file and validates on the test
            file, as the published code does; then test accuracy is no honest estimate.
        valid_fraction: share of the training file to hold out; at least that for speakers.
        valid_speakers: the speakers to hold out; None draws the fewest that make that share.
        seed: of what is drawn.
        cache: where to keep the binned files: a folder, False for nowhere; None for the folder
            in SNN_DELAYS_CACHE or else ``.snn_delays_cache`` in ``root``. See ``data/cache.py``.
        max_count: at most so many spikes in a cell of the grid; 1 makes input binary; None for no
            limit.
        on_bad: "refuse" a file with a recording that is ragged or has a unit or label out of
            range, naming it; or "skip" such recordings, with a warning that counts them.
        download: get what is missing in ``root`` first.
        base_url: the folder of a server to get it from; None for the official one.

    Raises:
        UsageError: a setting out of range; a file missing, damaged or not in the format.
    """
    choice("split", split, get_args(ShdSplit))
    if valid_speakers is not None and split != "speaker":
        raise UsageError(f"valid_speakers is for split=speaker, got split={split}.")
    check_fraction(valid_fraction)
    seed = whole_number("seed", seed, 0)
    files = read_official(
        root,
        "SHD",
        dt_ms=dt_ms,
        n_units=n_units,
        pool=pool,
        max_time_ms=max_time_ms,
        cache=cache,
        max_count=max_count,
        on_bad=on_bad,
        download=download,
        base_url=base_url,
    )
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
    n_units: int | None = None,
    pool: int | None = None,
    max_time_ms: float | None = None,
    split: str = "official",
    cache: CacheChoice = None,
    max_count: int | None = None,
    on_bad: OnBad = "refuse",
    download: bool = False,
    base_url: str | None = None,
) -> SpikeData:
    """Load SSC from ``ssc_train.h5``, ``ssc_valid.h5`` and ``ssc_test.h5`` in ``root``.

    Arguments are as in :func:`load_shd`; ``split`` is only "official", one file for each split.

    Raises:
        UsageError: a setting out of range; a file missing, damaged or not in the format.
    """
    if split != "official":
        raise UsageError(f"SSC has an official split: split must be 'official', got {split!r}.")
    files = read_official(
        root,
        "SSC",
        dt_ms=dt_ms,
        n_units=n_units,
        pool=pool,
        max_time_ms=max_time_ms,
        cache=cache,
        max_count=max_count,
        on_bad=on_bad,
        download=download,
        base_url=base_url,
    )
    splits = [file.split for file in files]
    return data_of(files, splits, split=split, dataset_name="SSC", dt_ms=dt_ms)
