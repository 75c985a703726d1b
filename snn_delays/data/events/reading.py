"""Reading spike recordings in SHD's format, piece by piece, and what is wrong with each.

The format stands in :mod:`snn_delays.files.shd_format`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import h5py
import numpy as np
from jaxtyping import Float64, Int64

from snn_delays.arguments import described, whole_number
from snn_delays.columns import MOST, column, offsets_of
from snn_delays.data.events.spike_file import Header, SpikeFile
from snn_delays.errors import UsageError

OnBad = Literal["refuse", "skip"]

_RECORDINGS_PER_CHUNK = 256


@dataclass(frozen=True)
class Events:
    """The valid events of recordings, one recording after the other.

    ``times`` are seconds, finite and >= 0; recording ``i`` owns the events from ``offsets[i]`` up
    to ``offsets[i + 1]``; ``speakers`` are -1 where unknown.

    Raises:
        UsageError: columns of another kind, length or range.
    """

    times: Float64[np.ndarray, " E"]
    units: Int64[np.ndarray, " E"]
    offsets: Int64[np.ndarray, " n_plus_1"]
    labels: Int64[np.ndarray, " n"]
    speakers: Int64[np.ndarray, " n"]
    n_units: int
    invalid_events: int
    """How many events were left out because their time is NaN, infinite or negative."""
    time_type: np.dtype = field(default_factory=lambda: np.dtype(np.float64))
    """What the file stores times in: how far each is rounded."""
    skipped: tuple[str, ...] = ()
    """The recordings that were left out, and why: "recording 7 is ragged: …"."""

    def __post_init__(self) -> None:
        times = self.times
        real = isinstance(times, np.ndarray) and times.dtype.kind == "f" and times.ndim == 1
        if not real or not (np.isfinite(times).all() and times.min(initial=0) >= 0):
            raise UsageError(
                "Events: times must be seconds, a float array [E] of finite numbers >= 0, "
                f"got {described(times)}{f' from {times.min(initial=0)} s' if real else ''}."
            )
        last = whole_number("Events: n_units", self.n_units, 1) - 1
        why = f"n_units = {self.n_units}"
        column("Events: units", self.units, len(times), 0, last, why=why)
        n = len(offsets_of("Events: offsets", self.offsets, len(times))) - 1
        column("Events: labels", self.labels, n, 0, MOST)
        column("Events: speakers", self.speakers, n)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Recordings:
    """Some recordings, unchecked: lists of ``times`` (s) and ``units``; the first is the
    ``start``-th of the file.
    """

    start: int
    times: list[np.ndarray]
    units: list[np.ndarray]
    labels: Int64[np.ndarray, " n"]
    speakers: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.labels)

    def defects(self, n_units: int, n_classes: int) -> dict[int, str]:
        """Index of what is unusable → its first defect, as in "recording 7 is ragged: …".

        That a time is NaN, infinite or negative is none, since the published files hold some.
        """
        found: dict[int, str] = {}
        for i, (times, units, label) in enumerate(
            zip(self.times, self.units, self.labels.tolist(), strict=True)
        ):
            wrong = (units < 0) | (units >= n_units)
            if len(times) != len(units):
                defect = (
                    f"is ragged: expected as many units as times, "
                    f"got {len(units)} units and {len(times)} times"
                )
            elif wrong.any():
                got = int(units[wrong.argmax()])
                defect = f"has a unit out of range: expected 0 to {n_units - 1}, got {got}"
            elif not 0 <= label < n_classes:
                defect = _label_defect(label, n_classes)
            else:
                continue
            found[i] = f"recording {self.start + i} {defect}"
        return found

    def without(self, bad: Sequence[int]) -> Recordings:
        """All but those."""
        good = np.setdiff1d(np.arange(len(self)), bad)
        times, units = ([lists[i] for i in good] for lists in (self.times, self.units))
        return Recordings(self.start, times, units, self.labels[good], self.speakers[good])

    def events(self, **about: Any) -> Events:
        """Their valid events; ``about``, the other fields of :class:`Events`."""
        # float64 first: float16 overflows at 65504 and so cannot hold microseconds.
        times = np.concatenate([np.zeros(0), *self.times], dtype=np.float64)
        valid = np.isfinite(times) & (times >= 0)
        return Events(
            times=times[valid],
            units=np.concatenate([np.zeros(0, np.int64), *self.units], dtype=np.int64)[valid],
            offsets=_offsets(valid)[_offsets(sizes(self.times))],
            labels=self.labels,
            speakers=self.speakers,
            invalid_events=int(np.count_nonzero(~valid)),
            **about,
        )


def _label_defect(label: int, n_classes: int) -> str:
    """The words for a label that is none."""
    return (
        f"has a label out of range: expected 0 to {n_classes - 1} "
        f"({n_classes} class names), got {label}"
    )


def sizes(lists: Sequence[np.ndarray]) -> Int64[np.ndarray, " n"]:
    """Length of each."""
    return np.array([len(one) for one in lists], dtype=np.int64)


def _offsets(counts: np.ndarray) -> Int64[np.ndarray, " n_plus_1"]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def stream_recordings(file: h5py.File, source: SpikeFile, header: Header) -> Iterator[Recordings]:
    """All recordings of an open file, piece by piece."""
    all_times, all_units = (source.lists(file, f"spikes/{name}") for name in ("times", "units"))
    for start in range(0, len(header.labels), _RECORDINGS_PER_CHUNK):
        chunk = slice(start, start + _RECORDINGS_PER_CHUNK)
        with source.reading():
            times, units = all_times[chunk], all_units[chunk]
        yield Recordings(
            start, list(times), list(units), header.labels[chunk], header.speakers[chunk]
        )


def stream_events(
    file: h5py.File, source: SpikeFile, header: Header, *, n_units: int, on_bad: OnBad = "refuse"
) -> Iterator[Events]:
    """The events of an open file in pieces of a few hundred recordings, at least one piece.

    Args:
        on_bad: what becomes of recordings whose lists do not match or that have a unit or label
            out of range: "refuse" the file, or "skip" them; :attr:`Events.skipped` names them.

    Raises:
        UsageError: the path and what is wrong: damaged, or a defect.
    """
    n_classes = len(header.class_names)
    wrong_labels = np.flatnonzero(~header.labels_in_range)
    if on_bad == "refuse" and wrong_labels.size:  # before gigabytes are read
        i = int(wrong_labels[0])
        defect = _label_defect(int(header.labels[i]), n_classes)
        raise source.error(f"recording {i} {defect}")
    for some in stream_recordings(file, source, header):
        bad = some.defects(n_units, n_classes)
        if bad and on_bad == "refuse":
            raise source.error(next(iter(bad.values())))
        yield (some.without([*bad]) if bad else some).events(
            n_units=n_units, skipped=tuple(bad.values()), time_type=header.time_type
        )
