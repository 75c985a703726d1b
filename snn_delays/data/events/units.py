"""How many units a file of recordings has: what it says, or else as many as fire in it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from snn_delays.arguments import whole_number
from snn_delays.data.events.reading import stream_units
from snn_delays.data.events.spike_file import SpikeFile, read_header
from snn_delays.errors import UsageError

_log = logging.getLogger("snn_delays")


@dataclass(frozen=True)
class Units:
    """How many units a file has.

    Args:
        count: units are 0 … ``count`` − 1.
        said: whether the file says so; else ``count`` − 1 is the largest unit that fires in it.
    """

    count: int
    said: bool

    def __post_init__(self) -> None:
        whole_number("Units: count", self.count, 1)


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


def common_units(found: Mapping[Path, Units], dataset_name: str, usual: int) -> int:
    """The number of units of files that belong together, which the log tells.

    A file that says nothing is never taken to have more than ``usual`` units, so that a damaged
    unit is refused instead of making an input of its own.

    Args:
        found: what :func:`count_units` says of each.
        dataset_name: named in what is logged.
        usual: how many units the published files have.
    """
    said = {path: units.count for path, units in found.items() if units.said}
    if len(set(said.values())) > 1:
        what = ", ".join(f"{count} units in {path}" for path, count in said.items())
        raise UsageError(
            f"{dataset_name}: files must have one number of units, got {what}. They are not of one "
            "data set, or dataset.n_units sets the number."
        )
    if said:
        path, count = next(iter(said.items()))
        _log.info(f"{dataset_name}: {count} units, as {path} says.")
        return count
    largest = max((units.count for units in found.values()), default=usual)
    if largest < usual:
        _log.warning(
            f"{dataset_name}: {largest} units, as the largest that fires is {largest - 1} and no "
            f"file says how many there are (published: {usual}). dataset.n_units sets it."
        )
    elif largest > usual:
        _log.info(
            f"{dataset_name}: units of {usual} and more count as defects, and unit {largest - 1} "
            f"fires. If there are so many, set dataset.n_units={largest}."
        )
    return min(largest, usual)
