"""The Heidelberg data sets: SHD, spoken digits in two languages, and SSC, 35 spoken commands.

Reference:
    Cramer, Stradmann, Schemmel, Zenke, "The Heidelberg Spiking Data Sets for the Systematic
    Evaluation of Spiking Neural Networks" (2020, arXiv:1910.07407).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypedDict, Unpack, get_args

from snn_delays.arguments import choice, whole_number
from snn_delays.data.archive import unzip_member
from snn_delays.data.cache import Cache, CacheChoice, cache_folders
from snn_delays.data.download import alone_in, fetch_file
from snn_delays.data.events.binned import BinnedFile, data_of, read_kept
from snn_delays.data.events.binning import Grid, check_max_count, clip_counts
from snn_delays.data.events.reading import OnBad
from snn_delays.data.events.spike_file import SpikeFile
from snn_delays.data.heidelberg.units import usual_pool, with_units
from snn_delays.data.splits.interface import SpikeData
from snn_delays.data.splits.validation import by_speaker, check_fraction, stratified
from snn_delays.errors import UsageError

ShdSplit = Literal["speaker", "stratified", "paper"]

URL = "https://zenkelab.org/datasets"
# Of the zips. The .h5.gz files that also circulate come with conflicting sums.
MD5 = {
    "shd_train.h5": "f3252aeb598ac776c1b526422d90eecb",
    "shd_test.h5": "1503a5064faa34311c398fb0a1ed0a6f",
    "ssc_train.h5": "d102be95e7144fcc0553d1f45ba94170",
    "ssc_valid.h5": "b4eee3516a4a90dd0c71a6ac23a8ae43",
    "ssc_test.h5": "a35ff1e9cffdd02a20eb850c17c37748",
}
SHD_FILES, SSC_FILES = (tuple(f for f in MD5 if f.startswith(of)) for of in ("shd", "ssc"))

_log = logging.getLogger("snn_delays")


class Reading(TypedDict, total=False):
    """What :func:`read_official` takes by name."""

    n_units: int | None
    pool: int | None
    max_time_ms: float | None
    cache: CacheChoice
    max_count: int | None
    on_bad: OnBad
    download: bool
    base_url: str | None


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
        reading: what SHD and SSC have in common; see :func:`read_official`.

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


def official_file(root: Path, file_name: str, dataset_name: str) -> SpikeFile:
    """``root/file_name``, whose errors end with where to download it."""
    how_to_get = (
        f"Download {URL}/{file_name}.zip and unzip it into {root} (see datasets/README.md), or "
        "let snn-delays-prepare or dataset.download=true do it."
    )
    return SpikeFile(root / file_name, dataset_name, how_to_get)


def read_official(
    root: Path | str,
    dataset_name: str,
    dt_ms: float,
    *,
    n_units: int | None = None,
    pool: int | None = None,
    max_time_ms: float | None = None,
    cache: CacheChoice = None,
    max_count: int | None = None,
    on_bad: OnBad = "refuse",
    download: bool = False,
    base_url: str | None = None,
) -> list[BinnedFile]:
    """Read and bin the files of "SHD" or "SSC"; what is missing is downloaded first if it may be.

    Counts are clipped afterwards, so that one cache serves all.

    Args:
        n_units: units are 0 … ``n_units`` − 1; None for what the files say (attribute ``n_units``
            of ``spikes/units``) or else for the largest unit + 1, up to SHD's 700.
        pool, max_time_ms: see ``data.events.binning.Grid``; pool None for 5 of 700 units, else 1.
        cache: where to keep the binned files; see ``data.cache.cache_folders``.
        max_count: at most so many spikes in a cell of the grid; 1 makes input binary.
        on_bad: "refuse" a file with a recording that is ragged or has a unit or label out of
            range, naming it; or "skip" such recordings, with a warning that counts them.
        download: get what is missing in ``root`` first.
        base_url: the folder of a server to get it from; None for the official one.
    """
    grid = Grid(dt_ms, 1 if pool is None else pool, max_time_ms)
    check_max_count(max_count)
    choice("on_bad", on_bad, get_args(OnBad))
    root = Path(root).expanduser()
    names = SHD_FILES if dataset_name == "SHD" else SSC_FILES
    if download:
        fetch_official(root, names, base_url)
    kept = Cache(cache_folders(root, cache), dataset_name)
    sources = [official_file(root, name, dataset_name) for name in names]
    n_units, sources = with_units(n_units, sources, kept)
    if pool is None:
        grid = replace(grid, pool=usual_pool(n_units))
    files, settings = [], {"n_units": n_units, "grid": grid, "on_bad": on_bad}
    for source in sources:
        file = read_kept(kept, source, name=source.path.stem.partition("_")[2], **settings)
        files.append(replace(file, split=clip_counts(file.split, max_count)))
    return files


def fetch_official(
    root: Path | str, file_names: Sequence[str], base_url: str | None = None
) -> None:
    """Download and unpack those of the files that are missing in ``root``.

    A file that is there is left alone, whatever is in it. A zip that lies in ``root`` is used if
    it is the right one; it goes once it is unpacked.

    Args:
        file_names: some of ``SHD_FILES`` and ``SSC_FILES``.
        base_url: the folder of a server that has ``<file_name>.zip``; None for the official one.

    Raises:
        UsageError: no network, other content than expected, no room or no permission.
    """
    root = Path(root).expanduser()
    for file_name in file_names:
        path, archive = root / file_name, root / f"{file_name}.zip"
        if path.exists():
            continue
        by_hand = (
            f"Without a network: get {URL}/{file_name}.zip elsewhere (md5 {MD5[file_name]}) and "
            f"put it into {root}."
        )
        url = f"{(base_url or URL).rstrip('/')}/{archive.name}"
        with alone_in(root, by_hand):
            if not path.exists():  # Another process may have been quicker.
                fetch_file(url, archive, f"md5:{MD5[file_name]}", by_hand=by_hand)
                unzip_member(archive, file_name, path)
                archive.unlink()
