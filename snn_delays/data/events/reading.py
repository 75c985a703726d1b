"""Reading spike recordings in SHD's format, piece by piece, and what is wrong with each.

The format stands in :mod:`snn_delays.shd_format`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import h5py
import numpy as np
from jaxtyping import Float64, Int64

from snn_delays.arguments import choice, whole_number
from snn_delays.columns import check_events, column
from snn_delays.data.events.spike_file import Header, SpikeFile, read_header

OnBad = Literal["refuse", "skip"]

_RECORDINGS_PER_CHUNK = 256


@dataclass(frozen=True)
class Events:
    """The events of recordings, one recording after the other.

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
    class_names: tuple[str, ...]
    n_units: int
    invalid_events: int
    """How many events were left out because their time is NaN, infinite or negative."""
    time_type: np.dtype = field(default_factory=lambda: np.dtype(np.float64))
    """What the file stores times in: how far each is rounded."""
    speaker_sex: dict[int, str] = field(default_factory=dict)
    """What the file says of its speakers, such as "female"; of some or none."""
    skipped: tuple[str, ...] = ()
    """The recordings that were left out, and why: "recording 7 is ragged: …"."""

    def __post_init__(self) -> None:
        most = {"n_units": whole_number("Events: n_units", self.n_units, 1)}
        most["n_classes"] = len(self.class_names)
        columns = self.times, self.units, self.offsets, self.labels
        column("Events: speakers", self.speakers, check_events("Events", *columns, **most))

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
        """Index of what is unusable → its first defect, in words that read on after the number.

        That a time is NaN, infinite or negative is none, since the published files hold some.
        """
        found: dict[int, str] = {}
        counts, unit_counts = sizes(self.times), sizes(self.units)
        for i in np.flatnonzero(counts != unit_counts).tolist():
            found[i] = (
                f"is ragged: expected as many units as times, "
                f"got {unit_counts[i]} units and {counts[i]} times"
            )
        units = _joined(self.units)
        wrong = np.flatnonzero((units < 0) | (units >= n_units))
        if wrong.size:
            owners = np.searchsorted(np.cumsum(unit_counts), wrong, side="right")
            owners, first = np.unique(owners, return_index=True)
            for i, unit in zip(owners.tolist(), units[wrong[first]], strict=True):
                said = f"has a unit out of range: expected 0 to {n_units - 1}, got {int(unit)}"
                found.setdefault(i, said)
        for i in np.flatnonzero((self.labels < 0) | (self.labels >= n_classes)).tolist():
            found.setdefault(i, label_defect(int(self.labels[i]), n_classes))
        return dict(sorted(found.items()))

    def without(self, bad: Sequence[int]) -> Recordings:
        """All but those."""
        good = np.setdiff1d(np.arange(len(self)), bad)
        times, units = ([lists[i] for i in good] for lists in (self.times, self.units))
        return Recordings(self.start, times, units, self.labels[good], self.speakers[good])


def label_defect(label: int, n_classes: int) -> str:
    """The words for a label that is none."""
    return (
        f"has a label out of range: expected 0 to {n_classes - 1} "
        f"({n_classes} class names), got {label}"
    )


def sizes(lists: Sequence[np.ndarray]) -> Int64[np.ndarray, " n"]:
    """Length of each."""
    return np.array([len(one) for one in lists], dtype=np.int64)


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


def stream_units(file: h5py.File, source: SpikeFile, n: int) -> Iterator[np.ndarray]:
    """The units of all ``n`` recordings, piece by piece, without their times."""
    lists = source.lists(file, "spikes/units")
    for start in range(0, n, _RECORDINGS_PER_CHUNK):
        with source.reading():
            some = lists[start : start + _RECORDINGS_PER_CHUNK]
        yield np.concatenate(list(some))


def stream_events(
    source: SpikeFile, *, n_units: int = 700, on_bad: OnBad = "refuse"
) -> Iterator[Events]:
    """Read a file in pieces of a few hundred recordings, at least one piece.

    Args:
        on_bad: what becomes of recordings whose lists do not match or that have a unit or label
            out of range: "refuse" the file, or "skip" them; :attr:`Events.skipped` names them.

    Raises:
        UsageError: the path and what is wrong: missing, damaged, not in the format, or a defect.
    """
    choice("on_bad", on_bad, get_args(OnBad))
    with source.open() as file:
        header = read_header(file, source)
        n_classes = len(header.class_names)
        wrong_labels = np.flatnonzero(~header.labels_in_range)
        if on_bad == "refuse" and wrong_labels.size:  # before gigabytes are read
            i = int(wrong_labels[0])
            defect = label_defect(int(header.labels[i]), n_classes)
            raise source.error(f"recording {i} {defect}")
        for some in stream_recordings(file, source, header):
            bad = some.defects(n_units, n_classes)
            skipped = tuple(f"recording {some.start + i} {reason}" for i, reason in bad.items())
            if bad and on_bad == "refuse":
                raise source.error(skipped[0])
            yield events_of(
                some.without(list(bad)) if bad else some,
                n_units=n_units,
                skipped=skipped,
                class_names=header.class_names,
                time_type=header.time_type,
                speaker_sex=header.speaker_sex,
            )


def events_of(some: Recordings, **about: Any) -> Events:
    """Their valid events; ``about``, the other fields of :class:`Events`."""
    # float64 first: times are float16, which overflows at 65504 and so cannot hold microseconds.
    times = _joined(some.times).astype(np.float64)
    valid = np.isfinite(times) & (times >= 0)
    return Events(
        times=times[valid],
        units=_joined(some.units)[valid].astype(np.int64),
        offsets=_offsets(valid)[_offsets(sizes(some.times))],
        labels=some.labels,
        speakers=some.speakers,
        invalid_events=int(np.count_nonzero(~valid)),
        **about,
    )


def _joined(lists: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(lists) if len(lists) else np.zeros(0)


def _offsets(counts: np.ndarray) -> Int64[np.ndarray, " n_plus_1"]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
