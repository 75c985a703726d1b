"""How many units files of recordings have: what they say, or else as many as fire in them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from snn_delays.arguments import whole_number
from snn_delays.data.cache import About, Arrays, Cache
from snn_delays.data.events.reading import stream_recordings
from snn_delays.data.events.spike_file import SpikeFile
from snn_delays.errors import UsageError
from snn_delays.shd_format import MOST_UNITS

N_UNITS = 700  # of the published files

_log = logging.getLogger("snn_delays")


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
