"""The Heidelberg data sets: SHD, spoken digits in two languages, and SSC, 35 spoken commands.

Reference:
    Cramer, Stradmann, Schemmel, Zenke, "The Heidelberg Spiking Data Sets for the Systematic
    Evaluation of Spiking Neural Networks" (2020, arXiv:1910.07407).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from snn_delays.arguments import choice, whole_number
from snn_delays.data.archive import unzip_member
from snn_delays.data.cache import About, Arrays, Cache, CacheChoice, cache_folders
from snn_delays.data.download import MOST_BYTES, alone_in, fetch_file
from snn_delays.data.events.binned import BinnedFile, data_of, read_kept
from snn_delays.data.events.binning import Grid, check_max_count, clip_counts
from snn_delays.data.events.reading import OnBad, stream_recordings
from snn_delays.data.events.spike_file import SpikeFile
from snn_delays.data.splits.interface import SpikeData
from snn_delays.data.splits.validation import by_speaker, check_fraction, stratified
from snn_delays.errors import UsageError
from snn_delays.files.shd_format import MOST_UNITS

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
FILES = {of: [name for name in MD5 if name.startswith(of.lower())] for of in ("SHD", "SSC")}
N_UNITS = 700  # of the published files

_log = logging.getLogger("snn_delays")


def load_shd(
    root: Path | str,
    *,
    dt_ms: float = 10.0,
    split: ShdSplit = "speaker",
    valid_fraction: float = 0.1,
    valid_speakers: Sequence[int] | None = None,
    seed: int = 0,
    **reading: Any,
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
    root: Path | str, *, dt_ms: float = 10.0, split: str = "official", **reading: Any
) -> SpikeData:
    """Load SSC from ``ssc_train.h5``, ``ssc_valid.h5`` and ``ssc_test.h5`` in ``root``.

    ``split`` is only "official", one file for each; all else as in :func:`load_shd`.
    """
    if split != "official":
        raise UsageError(f"SSC has an official split: split must be 'official', got {split!r}.")
    files = read_official(root, "SSC", dt_ms, **reading)
    splits = [file.split for file in files]
    return data_of(files, splits, split=split, dataset_name="SSC", dt_ms=dt_ms)


def official_file(root: Path, name: str, dataset_name: str) -> SpikeFile:
    """``root/name``, whose errors end with where to download it."""
    how_to_get = (
        f"Download {URL}/{name}.zip and unzip it into {root} (see datasets/README.md), or "
        "let snn-delays-prepare or dataset.download=true do it."
    )
    return SpikeFile(root / name, dataset_name, how_to_get)


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
    if download:
        fetch_official(root, dataset_name, base_url)
    kept = Cache(cache_folders(root, cache), dataset_name)
    sources = [official_file(root, name, dataset_name) for name in FILES[dataset_name]]
    n_units, sources = with_units(n_units, sources, kept)
    if pool is None:
        grid = replace(grid, pool=usual_pool(n_units))
    files, settings = [], {"n_units": n_units, "grid": grid, "on_bad": on_bad}
    for source in sources:
        file = read_kept(kept, source, name=source.path.stem.partition("_")[2], **settings)
        files.append(replace(file, split=clip_counts(file.split, max_count)))
    return files


def fetch_official(root: Path | str, dataset_name: str, base_url: str | None = None) -> None:
    """Download and unpack those of the files of "SHD" or "SSC" that are missing in ``root``.

    A file that is there is left alone, whatever is in it. A zip that lies in ``root`` is used if
    it is the right one; it goes once it is unpacked. ``base_url`` is the folder of a server that
    has the zips; None for the official one.

    Raises:
        UsageError: no network, other content than expected, no room or no permission.
    """
    root = Path(root).expanduser()
    for name in FILES[dataset_name]:
        path, archive = root / name, root / f"{name}.zip"
        if path.exists():
            continue
        by_hand = (
            f"Without a network: get {URL}/{name}.zip elsewhere (md5 {MD5[name]}) and put it into "
            f"{root}."
        )
        with alone_in(root, by_hand):
            if not path.exists():  # Another process may have been quicker.
                url = f"{(base_url or URL).rstrip('/')}/{archive.name}"
                fetch_file(url, archive, f"md5:{MD5[name]}", by_hand=by_hand)
                unzip_member(archive, name, path, max_bytes=MOST_BYTES)
                archive.unlink()


def usual_pool(n_units: int) -> int:
    """How many neighbouring units make a channel: 5 of SHD's 700, each its own of others."""
    return 5 if n_units == N_UNITS else 1


def with_units(
    n_units: int | None, sources: Sequence[SpikeFile], cache: Cache
) -> tuple[int, list[SpikeFile]]:
    """The number of units of some files, and the files, whose errors may now speak of it.

    Files that say nothing are never taken to have more than ``N_UNITS``, so that a damaged unit
    is refused instead of making an input of its own. ``n_units`` is what the user says.
    """
    if n_units is not None:
        must = f"be a whole number from 1 to {MOST_UNITS}, or None for what the files say"
        return whole_number("n_units", n_units, 1, MOST_UNITS, must=must), list(sources)
    units = []
    for source in sources:
        with suppress(UsageError):  # whoever reads the file next is told
            units.append(_known(cache, source))
    said = [(path, number) for path, number, told in units if told]
    if len({number for _, number in said}) > 1:
        what = ", ".join(f"{number} units in {path}" for path, number in said)
        raise UsageError(
            f"{cache.owner}: files must have one number of units, got {what}. They are not of one "
            "data set, or dataset.n_units sets the number."
        )
    largest = max((number for _, number, _ in units), default=N_UNITS)
    n_units = said[0][1] if said else min(largest, N_UNITS)
    if said:
        _log.info(f"{cache.owner}: {n_units} units, as {said[0][0]} says.")
    elif len(units) < len(sources):
        return N_UNITS, list(sources)
    elif largest < N_UNITS:
        _log.warning(
            f"{cache.owner}: {largest} units, as the largest that fires is {largest - 1} and "
            f"no file says how many there are (published: {N_UNITS}). dataset.n_units sets it."
        )
    if largest <= n_units:
        return n_units, list(sources)
    _log.info(
        f"{cache.owner}: units of {n_units} and more count as defects, and unit {largest - 1} "
        f"fires. If there are so many, set dataset.n_units={largest}."
    )
    # A download would replace a file that may be the user's own.
    remedy = f"If there are so many units, set dataset.n_units={largest}. "
    remedy += "If this should be the published file:"
    return n_units, [replace(one, how_to_get=f"{remedy} {one.how_to_get}") for one in sources]


def _known(cache: Cache, source: SpikeFile) -> tuple[Path, int, bool]:
    return cache.of_file(
        source.path,
        "units",
        make=lambda: count_units(source),
        load=lambda about, _: (source.path, about["units"], about["said"]),
    )


def count_units(source: SpikeFile) -> tuple[About, Arrays]:
    """How many a file has, and whether it says so; else the last is the largest that fires."""
    with source.opened() as (file, header):
        if header.n_units is not None:
            return {"units": header.n_units, "said": True}, {}
        lists = (one for some in stream_recordings(file, source, header) for one in some.units)
        largest = max((int(units.max()) for units in lists if units.size), default=None)
    if largest is None:
        raise source.error("has no events: expected at least 1, got 0")
    return {"units": max(largest, 0) + 1, "said": False}, {}
