"""Spiking Speech Commands: 35 spoken English words, many speakers."""

from __future__ import annotations

from pathlib import Path

from snn_delays.data.cache import CacheChoice
from snn_delays.data.events.binned import data_of
from snn_delays.data.events.reading import OnBad
from snn_delays.data.heidelberg.official import read_official
from snn_delays.data.splits.interface import SpikeData
from snn_delays.errors import UsageError


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

    Args:
        root: the folder of the three files.
        split: only "official", one file for each split.
        dt_ms, n_units, pool, max_time_ms, cache, max_count, on_bad, download, base_url: as in
            :func:`~snn_delays.data.heidelberg.shd.load_shd`.

    Raises:
        UsageError: a setting out of range; a file missing, damaged or not in the format.
    """
    if split != "official":
        raise UsageError(f"SSC has an official split: split must be 'official', got {split!r}.")
    files = read_official(
        root,
        "SSC",
        ("train", "valid", "test"),
        n_units=n_units,
        pool=pool,
        dt_ms=dt_ms,
        max_time_ms=max_time_ms,
        cache=cache,
        max_count=max_count,
        on_bad=on_bad,
        download=download,
        base_url=base_url,
    )
    return data_of(
        files, [file.split for file in files], split="official", dataset_name="SSC", dt_ms=dt_ms
    )
