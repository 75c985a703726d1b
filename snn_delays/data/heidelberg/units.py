"""How many units files of recordings have: what they say, or else as many as fire in them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from snn_delays.arguments import whole_number
from snn_delays.data.cache import Cache
from snn_delays.data.events.reading import stream_units
from snn_delays.data.events.spike_file import SpikeFile, read_header
from snn_delays.errors import UsageError
from snn_delays.shd_format import MOST_UNITS

N_UNITS = 700  # of the published files

_log = logging.getLogger("snn_delays")


class Units(NamedTuple):
    """How many a file has, and whether it says so; else the last is the largest that fires."""

    number: int
    said: bool


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
    found: dict[Path, Units] = {}
    for source in sources:
        with suppress(UsageError):  # whoever reads the file next is told
            found[source.path] = _kept(cache, source)
    said = {path: units.number for path, units in found.items() if units.said}
    if len(set(said.values())) > 1:
        what = ", ".join(f"{count} units in {path}" for path, count in said.items())
        raise UsageError(
            f"{cache.owner}: files must have one number of units, got {what}. They are not of one "
            "data set, or dataset.n_units sets the number."
        )
    largest = max((units.number for units in found.values()), default=N_UNITS)
    for path, n_units in said.items():
        _log.info(f"{cache.owner}: {n_units} units, as {path} says.")
        break
    else:
        n_units = min(largest, N_UNITS)
        if len(found) < len(sources):
            return N_UNITS, list(sources)
        if largest < N_UNITS:
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


def _kept(cache: Cache, source: SpikeFile) -> Units:
    """As :func:`count_units`, but quicker the second time."""
    return cache.of_file(
        source.path,
        "units",
        make=lambda: count_units(source),
        dump=lambda units: (units._asdict(), {}),
        load=lambda about, _: Units(**about),
    )


def count_units(source: SpikeFile) -> Units:
    """Of one file; where it does not say, all its lists of units are read."""
    with source.open() as file:
        header = read_header(file, source)
        if header.n_units is not None:
            return Units(header.n_units, said=True)
        pieces = stream_units(file, source, len(header.labels))
        largest = max((int(units.max()) for units in pieces if units.size), default=None)
    if largest is None:
        raise source.error("has no events: expected at least 1, got 0")
    return Units(max(largest, 0) + 1, said=False)
