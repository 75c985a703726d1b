"""Recordings as they stand in a file in SHD's format, and what is wrong with each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import h5py
import numpy as np
from jaxtyping import Int64

from snn_delays.data.events.header import Header
from snn_delays.data.events.spike_file import SpikeFile
from snn_delays.errors import UsageError
from snn_delays.hdf5.heaps import damaged_lists

OnBad = Literal["refuse", "skip"]

_RECORDINGS_PER_CHUNK = 256


@dataclass(frozen=True)
class Recordings:
    """A few hundred recordings in the order of the file, unchecked.

    Shape:
        ``times`` (seconds) and ``units``: one list per recording, of any lengths; ``labels``,
        ``speakers`` ``[n]``. ``start`` is the number of the first one within the file.
    """

    start: int
    times: list[np.ndarray]
    units: list[np.ndarray]
    labels: Int64[np.ndarray, " n"]
    speakers: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Int64[np.ndarray, " m"]) -> Recordings:
        """Those of them; ``start`` stays."""
        return Recordings(
            self.start,
            [self.times[i] for i in indices],
            [self.units[i] for i in indices],
            self.labels[indices],
            self.speakers[indices],
        )


def stream_recordings(file: h5py.File, source: SpikeFile, header: Header) -> Iterator[Recordings]:
    """All recordings of an open file, piece by piece.

    Raises:
        UsageError: an array missing or damaged.
    """
    all_times, all_units = (_lists(file, source, f"spikes/{name}") for name in ("times", "units"))
    for start in range(0, len(header.labels), _RECORDINGS_PER_CHUNK):
        chunk = slice(start, start + _RECORDINGS_PER_CHUNK)
        with source.reading():
            times, units = all_times[chunk], all_units[chunk]
        yield Recordings(
            start, list(times), list(units), header.labels[chunk], header.speakers[chunk]
        )


def stream_units(file: h5py.File, source: SpikeFile, n: int) -> Iterator[np.ndarray]:
    """The units of all ``n`` recordings, piece by piece, without their times.

    Raises:
        UsageError: the array is missing or damaged.
    """
    lists = _lists(file, source, "spikes/units")
    for start in range(0, n, _RECORDINGS_PER_CHUNK):
        with source.reading():
            some = lists[start : start + _RECORDINGS_PER_CHUNK]
        yield np.concatenate(list(some))


def _lists(file: h5py.File, source: SpikeFile, name: str) -> h5py.Dataset:
    """An array of lists, unless its references or collections are damaged.

    The references of a compressed array are not looked at, but all collections of the file are.
    Files with a user block or unusual widths of addresses are taken as they are.

    Raises:
        UsageError: a reference that leads nowhere, or a collection that does not add up.
    """
    array = source.array(file, name)
    with source.reading():
        item_size = np.dtype(h5py.check_vlen_dtype(array.dtype)).itemsize
        damage = damaged_lists(source.path, file, array, item_size)
    if damage:
        raise source.error(f"is damaged: expected whole lists in {name}, got {damage}")
    return array


def defects(some: Recordings, *, n_units: int, n_classes: int) -> dict[int, str]:
    """What makes recordings unusable: index within ``some`` → words that read on after "is" or
    "has"; the first defect of each.

    That a time is NaN, infinite or negative is none: such events are left out and counted, since
    the published files hold some.
    """
    found: dict[int, str] = {}
    counts, unit_counts = sizes(some.times), sizes(some.units)
    for i in np.flatnonzero(counts != unit_counts).tolist():
        found[i] = (
            f"is ragged: expected as many units as times, "
            f"got {unit_counts[i]} units and {counts[i]} times"
        )
    for i, unit in outside(some.units, n_units):
        found.setdefault(i, f"has a unit out of range: expected 0 to {n_units - 1}, got {unit}")
    for i in np.flatnonzero((some.labels < 0) | (some.labels >= n_classes)).tolist():
        found.setdefault(i, label_defect(int(some.labels[i]), n_classes))
    return dict(sorted(found.items()))


def outside(units: Sequence[np.ndarray], n_units: int) -> list[tuple[int, int]]:
    """Recording and value of the first unit out of range of each recording that has one."""
    flat = np.concatenate(units) if len(units) else np.zeros(0, dtype=np.int64)
    wrong = np.flatnonzero((flat < 0) | (flat >= n_units))
    if not wrong.size:
        return []
    owners = np.searchsorted(np.cumsum(sizes(units)), wrong, side="right")
    first = np.unique(owners, return_index=True)[1]
    return [(int(owners[i]), int(flat[wrong[i]])) for i in first]


def label_defect(label: int, n_classes: int) -> str:
    """The words for a label that is none."""
    return (
        f"has a label out of range: expected 0 to {n_classes - 1} "
        f"({n_classes} class names), got {label}"
    )


def sizes(lists: Sequence[np.ndarray]) -> Int64[np.ndarray, " n"]:
    """Length of each."""
    return np.array([len(one) for one in lists], dtype=np.int64)


def check_on_bad(on_bad: str) -> None:
    """Refuse a choice that is none, before a large file is read for it.

    Raises:
        UsageError: neither "refuse" nor "skip".
    """
    if on_bad not in get_args(OnBad):
        raise UsageError(f"on_bad must be one of {', '.join(get_args(OnBad))}, got {on_bad!r}.")
