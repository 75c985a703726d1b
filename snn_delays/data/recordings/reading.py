"""Recordings as arrays, in the forms that people have them in, as one flat list of events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64
from torch import Tensor

from snn_delays.arguments import described, plain, require
from snn_delays.data.events.binning import Grid, bin_events, merge_equal
from snn_delays.data.events.reading import Recordings
from snn_delays.data.splits.spike_split import SpikeSplit
from snn_delays.errors import UsageError

TimeUnit = Literal["s", "ms", "us"]
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}


def apart(events: Any, labels: Any) -> tuple[Any, list[Any]]:
    """Events and labels, of which the first may bring the second along.

    Raises:
        UsageError: no recordings, or labels of another number.
    """
    if labels is None:
        pairs = _listed(events)
        for at, pair in enumerate(pairs):
            fits = isinstance(pair, tuple | list) and len(pair) == 2
            require(fits, f"recordings: without labels, recording {at}", "be (events, label)", pair)
        events, labels = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    labels = [plain(label) for label in labels]
    if not _dense(events):
        events = _listed(events)
    if not len(events) or len(events) != len(labels):
        raise UsageError(
            "recordings: there must be one label for every recording and at least one recording, "
            f"got {len(events)} recordings and {len(labels)} labels."
        )
    return events, labels


def _listed(events: Any) -> list[Any]:
    """All items; data sets of torch may have a length and no iterator."""
    if isinstance(events, Iterable):
        return list(events)
    if hasattr(events, "__getitem__") and hasattr(events, "__len__"):
        return [events[at] for at in range(len(events))]
    raise UsageError(f"recordings: events must be several recordings, got {described(events)}.")


def binned(
    events: Any,
    labels: Int64[np.ndarray, " n"],
    groups: Int64[np.ndarray, " n"],
    *,
    n_units: int,
    time_unit: TimeUnit | None,
    grid: Grid,
    name: str,
) -> tuple[SpikeSplit, int, int]:
    """The recordings on the grid, how many events are in it, and how many were left out."""
    if _dense(events):
        if grid.max_time_ms is not None or time_unit is not None:
            raise UsageError(
                "recordings: time_unit and max_time_ms are for events, got an array [n, T, C], "
                "whose steps are those of dt_ms. Leave them out, and cut the array."
            )
        about = {"labels": labels, "speakers": groups, "name": name}
        split = _counted(np.asarray(events), n_units=n_units, pool=grid.pool, **about)
        return split, int(split.counts.sum()) if split.counts is not None else 0, 0
    found = [
        _events(one, n_units, time_unit, f"recordings: {name} {at}")
        for at, one in enumerate(events)
    ]
    kind = np.result_type(*{times.dtype for times, _ in found})
    unit = time_unit or "s"
    if kind == np.float16 and unit != "s":
        raise UsageError(
            f"recordings: times of float16 must be in seconds, got time_unit={unit!r}: they are "
            "too coarse. Give them in float32 or float64."
        )
    times = [times.astype(np.float64) / _PER_SECOND[unit] for times, _ in found]
    together = Recordings(0, times, [units for _, units in found], labels, groups).events(
        n_units=n_units,
        time_type=kind if kind.kind == "f" else np.dtype(np.float64),
    )
    split = merge_equal(bin_events(together, **asdict(grid), name=f"recordings: {name}"))
    return split, len(together.times), together.invalid_events


def _dense(events: Any) -> bool:
    """Whether these are counts [n, T, C] rather than a list of events."""
    return isinstance(events, np.ndarray | Tensor) and events.ndim == 3


def _counted(
    counts: np.ndarray, *, n_units: int, pool: int, labels: Any, speakers: Any, name: str
) -> SpikeSplit:
    """Spikes of an array that counts them."""
    if counts.shape[2] != n_units:
        raise UsageError(
            f"recordings: an array [n, T, C] must have n_units = {n_units} channels, got "
            f"{list(counts.shape)}."
        )
    real = counts.dtype.kind in "biuf"
    if not real or (counts < 0).any() or (counts != np.round(counts)).any():
        raise UsageError(
            "recordings: an array [n, T, C] must count spikes in whole numbers >= 0, got "
            f"{described(counts)} with others. For currents make a Split of your own."
        )
    pooled = np.add.reduceat(counts.astype(np.int64), np.arange(0, n_units, pool), axis=2)
    recordings, steps, channels = np.nonzero(pooled)
    return SpikeSplit(
        steps=steps,
        channels=channels,
        counts=pooled[recordings, steps, channels],
        offsets=np.searchsorted(recordings, np.arange(len(counts) + 1)),
        labels=labels,
        speakers=speakers,
        n_channels=pooled.shape[2],
        name=name,
    )


def _events(
    one: Any, n_units: int, time_unit: TimeUnit | None, owner: str
) -> tuple[np.ndarray, Int64[np.ndarray, " E"]]:
    """Times and units of one recording, checked."""
    times, units = _columns(one, owner)
    if times.ndim != 1 or times.shape != units.shape or times.dtype.kind not in "fiu":
        raise UsageError(
            f"{owner}: times and units must be one-dimensional and as long as each other, times "
            f"numbers, got {described(times)} and {described(units)}."
        )
    if times.dtype.kind != "f" and time_unit is None and times.size:
        raise UsageError(
            f"{owner}: times are whole numbers. Say what they count: time_unit='us' or 'ms'."
        )
    if units.dtype.kind == "f" and (units == np.round(units)).all():
        units = units.astype(np.int64)
    whole = units.dtype.kind in "iu"
    if units.size and not (whole and int(units.min()) >= 0 and int(units.max()) < n_units):
        raise UsageError(
            f"{owner}: units must be whole numbers from 0 to n_units − 1 = {n_units - 1}, got "
            f"{described(units)} from {units.min()} to {units.max()}."
        )
    return times, units.astype(np.int64)


def _columns(one: Any, owner: str) -> tuple[np.ndarray, np.ndarray]:
    """Times and units of a pair, or of an array with the fields t and x."""
    fields = getattr(getattr(one, "dtype", None), "names", None)
    if fields is None:
        must = "be a pair (times, units) or a structured array with fields t and x"
        require(isinstance(one, tuple | list) and len(one) == 2, owner, must, one)
        return np.asarray(one[0]), np.asarray(one[1])
    if not {"t", "x"} <= set(fields):
        raise UsageError(f"{owner} must have the fields t and x, got {', '.join(fields)}.")
    for other in {"y", "p"} & set(fields):
        if np.unique(one[other]).size > 1:
            raise UsageError(
                f"{owner}: events differ in the field {other}, which a unit has no place for. "
                "Give pairs (times, units) with units of your own, such as x + width · y."
            )
    return one["t"], one["x"]


def numbered(values: Sequence[Any], names: Sequence[Any]) -> Int64[np.ndarray, " n"]:
    """Where in ``names`` each value stands."""
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[value] for value in values], dtype=np.int64)
