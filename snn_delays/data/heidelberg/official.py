"""What the two Heidelberg data sets, SHD and SSC, have in common.

Reference:
    Cramer, Stradmann, Schemmel, Zenke, "The Heidelberg Spiking Data Sets for the Systematic
    Evaluation of Spiking Neural Networks" (2020, arXiv:1910.07407).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import get_args

from snn_delays.arguments import choice, whole_number
from snn_delays.data.archive import unzip_member
from snn_delays.data.cache import Cache, CacheChoice, cache_folders
from snn_delays.data.download import MOST_BYTES, alone_in, fetch_file
from snn_delays.data.events.binned import BinnedFile, count_kept, read_kept
from snn_delays.data.events.binning import Grid, check_max_count, clip_counts
from snn_delays.data.events.reading import OnBad
from snn_delays.data.events.spike_file import SpikeFile
from snn_delays.data.events.units import Units, common_units
from snn_delays.errors import UsageError
from snn_delays.spike_file import MOST_UNITS

URL = "https://zenkelab.org/datasets"
N_UNITS = 700
SHD_FILES = ("shd_train.h5", "shd_test.h5")
SSC_FILES = ("ssc_train.h5", "ssc_valid.h5", "ssc_test.h5")
# Of the zips. The .h5.gz files that also circulate come with conflicting sums.
MD5 = {
    "shd_train.h5": "f3252aeb598ac776c1b526422d90eecb",
    "shd_test.h5": "1503a5064faa34311c398fb0a1ed0a6f",
    "ssc_train.h5": "d102be95e7144fcc0553d1f45ba94170",
    "ssc_valid.h5": "b4eee3516a4a90dd0c71a6ac23a8ae43",
    "ssc_test.h5": "a35ff1e9cffdd02a20eb850c17c37748",
}


def official_file(root: Path, file_name: str, dataset_name: str) -> SpikeFile:
    """``root/file_name``, whose errors end with where to download it."""
    how_to_get = (
        f"Download {URL}/{file_name}.zip and unzip it into {root} (see datasets/README.md), or "
        "let snn-delays-prepare or dataset.download=true do it."
    )
    return SpikeFile(root / file_name, dataset_name, how_to_get)


def usual_pool(n_units: int) -> int:
    """How many neighbouring units make a channel: 5 of SHD's 700, each its own of others."""
    return 5 if n_units == N_UNITS else 1


def with_units(
    n_units: int | None, sources: Sequence[SpikeFile], cache: Cache
) -> tuple[int, list[SpikeFile]]:
    """The number of units of some files, and the files, whose errors may now speak of it.

    Args:
        n_units: what the user says; None for what the files say.

    Raises:
        UsageError: no number of units, or files that contradict each other.
    """
    if n_units is not None:
        must = f"be a whole number from 1 to {MOST_UNITS}, or None for what the files say"
        return whole_number("n_units", n_units, 1, MOST_UNITS, must=must), list(sources)
    found: dict[Path, Units] = {}
    for source in sources:
        with suppress(UsageError):  # whoever reads the file next is told
            found[source.path] = count_kept(cache, source)
    if len(found) < len(sources) and not any(units.said for units in found.values()):
        return N_UNITS, list(sources)
    n_units = common_units(found, cache.owner, N_UNITS)
    largest = max((units.count for units in found.values()), default=0)
    if largest <= n_units:
        return n_units, list(sources)
    # A download would replace a file that may be the user's own.
    remedy = f"If there are so many units, set dataset.n_units={largest}. "
    remedy += "If this should be the published file:"
    return n_units, [replace(one, how_to_get=f"{remedy} {one.how_to_get}") for one in sources]


def read_official(
    root: Path | str,
    dataset_name: str,
    names: Sequence[str],
    *,
    n_units: int | None,
    pool: int | None,
    dt_ms: float,
    max_time_ms: float | None,
    cache: CacheChoice,
    max_count: int | None,
    on_bad: OnBad,
    download: bool,
    base_url: str | None,
) -> list[BinnedFile]:
    """Read and bin the files of some splits; what is missing is downloaded first if it may be.

    Counts are clipped afterwards, so that one cache serves all.

    Args:
        dataset_name: "SHD" or "SSC".
        names: of the splits, as the files are named after them.
        n_units, pool, dt_ms, max_time_ms, root, cache, max_count, on_bad, download, base_url: as
            in :func:`~snn_delays.data.heidelberg.shd.load_shd`.

    Raises:
        UsageError: as there.
    """
    grid = Grid(dt_ms, 1 if pool is None else pool, max_time_ms)
    check_max_count(max_count)
    choice("on_bad", on_bad, get_args(OnBad))
    root = Path(root).expanduser()
    files = {f"{dataset_name.lower()}_{name}.h5": name for name in names}
    if download:
        fetch_official(root, list(files), base_url)
    store = Cache(cache_folders(root, cache), dataset_name)
    sources = [official_file(root, file_name, dataset_name) for file_name in files]
    n_units, sources = with_units(n_units, sources, store)
    if pool is None:
        grid = replace(grid, pool=usual_pool(n_units))
    binned = (
        read_kept(store, source, n_units=n_units, grid=grid, name=name, on_bad=on_bad)
        for name, source in zip(files.values(), sources, strict=True)
    )
    return [replace(file, split=clip_counts(file.split, max_count)) for file in binned]


def fetch_official(
    root: Path | str, file_names: Sequence[str], base_url: str | None = None
) -> None:
    """Download and unpack those of the files that are missing in ``root``.

    A file that is there is left alone, whatever is in it. A zip that lies in ``root`` is used if
    it is the right one; it goes once it is unpacked.

    Args:
        root: the folder; made if missing.
        file_names: some of ``SHD_FILES`` and ``SSC_FILES``.
        base_url: the folder of a server that has ``<file_name>.zip``; None for the official one.

    Raises:
        UsageError: one line: no network, other content than expected, no room or no permission.
    """
    root = Path(root).expanduser()
    for file_name in file_names:
        path = root / file_name
        if path.exists():
            continue
        by_hand = (
            f"Without a network: get {URL}/{file_name}.zip elsewhere (md5 {MD5[file_name]}) and "
            f"put it into {root}."
        )
        archive = root / f"{file_name}.zip"
        url = f"{(base_url or URL).rstrip('/')}/{archive.name}"
        with alone_in(root, by_hand):
            if not path.exists():  # Another process may have been quicker.
                fetch_file(url, archive, f"md5:{MD5[file_name]}", by_hand=by_hand)
                unzip_member(archive, file_name, path, max_bytes=MOST_BYTES)
                archive.unlink()
