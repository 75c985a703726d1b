"""Spiking Speech Commands: 35 spoken English words, many speakers."""

from __future__ import annotations

from pathlib import Path

from snn_delays.data.binned_file import Grid, official_splits
from snn_delays.data.binning import check_max_count
from snn_delays.data.cache import BinnedCache, CacheChoice, cache_folders
from snn_delays.data.heidelberg import SSC_FILES, fetch_official, read_official
from snn_delays.data.loaded import SpikeData
from snn_delays.data.recordings import OnBad, check_on_bad
from snn_delays.errors import UsageError


def load_ssc(
    root: Path | str,
    *,
    dt_ms: float = 10.0,
    pool: int = 5,
    max_time_ms: float | None = None,
    split: str = "official",
    cache: CacheChoice = None,
    max_count: int | None = None,
    on_bad: OnBad = "refuse",
    download: bool = False,
    base_url: str | None = None,
) -> SpikeData:
    """Load SSC from ``ssc_train.h5``, ``ssc_valid.h5`` and ``ssc_test.h5`` in ``root``.

    Args:
        root: the folder of the three files.
        dt_ms: duration of a time step, in ms.
        pool: how many of the 700 neighbouring units make one channel.
        max_time_ms: events at or after this time, in ms, are left out; None keeps all.
        split: only "official", one file for each split.
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
    if split != "official":
        raise UsageError(f"SSC has an official split: split must be 'official', got {split!r}.")
    grid = Grid(dt_ms, pool, max_time_ms)
    check_max_count(max_count)
    check_on_bad(on_bad)
    root = Path(root).expanduser()
    if download:
        fetch_official(root, SSC_FILES, base_url)
    store = BinnedCache(cache_folders(root, cache), "SSC")
    train, valid, test = (
        read_official(
            root,
            f"ssc_{name}.h5",
            cache=store,
            grid=grid,
            name=name,
            max_count=max_count,
            on_bad=on_bad,
        )
        for name in ("train", "valid", "test")
    )
    return official_splits(train, valid, test, dataset_name="SSC", dt_ms=dt_ms)
