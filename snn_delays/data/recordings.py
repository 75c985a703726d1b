"""A data set of one's own arrays, in the forms that people have them in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Int64
from torch import Tensor

from snn_delays.arguments import choice, described, plain, require, shown, whole_number
from snn_delays.data.events.binned import BinnedFile, data_of
from snn_delays.data.events.binning import Grid, bin_events, clip_counts, merge_equal, rounded_to
from snn_delays.data.events.reading import Recordings
from snn_delays.data.pixels import Pixels
from snn_delays.data.splits.interface import SpikeData
from snn_delays.data.splits.spike_split import SpikeSplit
from snn_delays.data.splits.validation import by_speaker, check_fraction, stratified
from snn_delays.errors import UsageError

TimeUnit = Literal["s", "ms", "us"]
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}


def recordings(
    events: Any,
    labels: Iterable[Any] | None = None,
    *,
    n_units: int | None = None,
    frame: Sequence[int] | None = None,
    dt_ms: float,
    time_unit: TimeUnit | None = None,
    pool: int = 1,
    max_time_ms: float | None = None,
    max_count: int | None = None,
    class_names: Sequence[str] | None = None,
    groups: Iterable[Any] | None = None,
    valid_fraction: float = 0.1,
    test: Any = 0.1,
    seed: int = 0,
) -> SpikeData:
    """A data set of recordings in memory, binned and split as those of the loaders.

    ::

        data = recordings([(times, units), …], labels, n_units=64, dt_ms=10, time_unit="ms")
        data = recordings(tonic.datasets.SHD(DIR), n_units=700, dt_ms=10, time_unit="us")
        data = recordings(counts, labels, n_units=counts.shape[2], dt_ms=10)  # [n, T, C]
        data = recordings(tonic.datasets.NMNIST(DIR), frame=(2, 34, 34), dt_ms=5, time_unit="us")

    Args:
        events: of every recording a pair (times, units), or a structured array with fields t and
            x; or an array ``[n, T, C]`` of spike counts in steps of ``dt_ms``. Without ``labels``
            any iterable of (events, label).
        labels: class of every recording, a number from 0 on or a name.
        n_units: units are 0 … ``n_units`` − 1.
        frame: in its place, (polarities, H, W) of an event camera, whose events are arrays with
            fields t, x, y and p, or tuples of these four; or counts ``[n, T, polarities, H, W]``.
            ``pool`` then is along both axes of space. Batches are ``[T, N, polarities, H, W]``.
        dt_ms, pool, max_time_ms: see ``data.events.binning.Grid``. Times count from the beginning
            of a recording; those that are NaN, infinite or negative are left out, with a warning.
        time_unit: what times are counted in, ``"s"``, ``"ms"`` or ``"us"``; ``None`` is seconds,
            for floats only.
        max_count: at most so many spikes in a cell of the grid; 1 makes input binary.
        class_names: what labels 0, 1, … are called; of labels that are names, their order.
        groups: who or what each recording is of, such as its speaker: a group's recordings all go
            into one split.
        valid_fraction: share of the recordings to validate on: of every class, or with ``groups``
            at least that.
        test: share of the recordings to test on, likewise; or other recordings, of the form that
            ``events`` have, with labels as a pair (events, labels).
        seed: of the draw.

    Raises:
        UsageError: arrays of another form, values out of range, or too few recordings to split.
    """
    pixels = None if frame is None else Pixels(frame, pool)
    if pixels is not None:
        if n_units is not None:
            raise UsageError("recordings: give n_units or frame, got both.")
        n_units, pool = pixels.n_units, 1
    n_units = whole_number("recordings: n_units", n_units, 1)
    seed = whole_number("recordings: seed", seed, 0)
    if time_unit is not None:
        choice("recordings: time_unit", time_unit, get_args(TimeUnit))
    grid = Grid(dt_ms, pool, max_time_ms)
    check_fraction(valid_fraction, "recordings: valid_fraction")
    parts = [_apart(events, labels)]
    share = test if isinstance(plain(test), int | float) else None
    if share is None:
        parts.append(_apart(*(test if labels is not None else (test, None))))
    else:
        check_fraction(share, "recordings: test")
    names = _class_names([label for _, some in parts for label in some], class_names)
    files: list[BinnedFile] = []
    for (some, own), name in zip(parts, ("recording", "test recording"), strict=False):
        numbers = _numbered(own, names if isinstance(own[0], str) else range(len(names)))
        speakers = _groups(groups if name == "recording" else None, len(own))
        owner = f"recordings: {name}"
        if pixels is not None:
            some = _of_pixels(some, pixels, owner)
        if _dense(some):
            about = {"labels": numbers, "speakers": speakers, "name": owner}
            split = _counted(some, n_units, time_unit, grid, **about)
            told = int(split.counts.sum()) if split.counts is not None else 0, 0
        else:
            times, units, kind = _lists(some, n_units, time_unit, owner)
            together = Recordings(0, times, units, numbers, speakers).events(
                n_units=n_units, time_type=kind
            )
            split = merge_equal(bin_events(together, **asdict(grid), name=owner))
            told = len(together.times), together.invalid_events
        split = clip_counts(split, max_count)
        split = split if pixels is None else split.framed(pixels.frame)
        files.append(BinnedFile(Path(name), split, names, *told))
    whole, rest = files[0].split, np.arange(len(parts[0][1]))
    grouped = groups is not None
    if share is None:
        held = files[1].split.subset(np.arange(len(files[1].split)), "test")
    else:
        rest, chosen = _held_out(whole, rest, share, seed, "test", grouped)
        held = whole.subset(chosen, "test")
        valid_fraction /= 1 - share
    kept, chosen = _held_out(whole, rest, valid_fraction, seed, "valid_fraction", grouped)
    splits = whole.subset(kept, "train"), whole.subset(chosen, "valid"), held
    split = "speaker" if grouped else "stratified"
    return data_of(files, splits, split=split, dataset_name="recordings", dt_ms=grid.dt_ms)


def _apart(events: Any, labels: Any) -> tuple[Any, list[Any]]:
    """Events and labels, of which the first may bring the second along."""
    if labels is None:
        pairs = _listed(events)
        for at, pair in enumerate(pairs):
            fits = isinstance(pair, tuple | list) and len(pair) == 2
            require(fits, f"recordings: without labels, recording {at}", "be (events, label)", pair)
        events, labels = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    labels = [plain(label) for label in labels]
    events = np.asarray(events) if _dense(events) else _listed(events)
    if not len(events) or len(events) != len(labels):
        raise UsageError(
            "recordings: there must be one label for every recording and at least one recording, "
            f"got {len(events)} recordings and {len(labels)} labels."
        )
    return events, labels


def _dense(events: Any) -> bool:
    """Whether these are counts [n, T, …] rather than a list of events."""
    return isinstance(events, np.ndarray | Tensor) and events.ndim in (3, 5)


def _of_pixels(events: Any, pixels: Pixels, owner: str) -> Any:
    """A camera's recordings as others are: counts [n, T, C], or pairs (times, units)."""
    if _dense(events):
        return pixels.counts(events)
    return [pixels.pair(one, f"{owner} {at}") for at, one in enumerate(events)]


def _listed(events: Any) -> list[Any]:
    """All items; data sets of torch may have a length and no iterator."""
    if isinstance(events, Iterable):
        return list(events)
    several = hasattr(events, "__getitem__") and hasattr(events, "__len__")
    require(several, "recordings: events", "be several recordings", events)
    return [events[at] for at in range(len(events))]


def _class_names(labels: list[Any], given: Sequence[str] | None) -> tuple[str, ...]:
    """What labels 0, 1, … are called."""
    words = all(isinstance(label, str) for label in labels)
    if not words and not all(type(label) is int and label >= 0 for label in labels):
        raise UsageError(
            "recordings: labels must be whole numbers from 0 on, or names, got "
            f"{shown(sorted(set(map(repr, labels))))}."
        )
    found = sorted(set(labels)) if words else [str(n) for n in range(max(labels) + 1)]
    names = tuple(found if given is None else given)
    lacking = set(found) - set(names) if words else set(found[len(names) :])
    if lacking or len(set(names)) < len(names):
        raise UsageError(
            f"recordings: class_names must name every label once, got {shown(names)} for labels "
            f"{shown(found)}."
        )
    return names


def _groups(groups: Iterable[Any] | None, n: int) -> Int64[np.ndarray, " n"]:
    """A number for each recording's group; -1 without groups."""
    if groups is None:
        return np.full(n, -1)
    found = [plain(one) for one in groups]
    if len(found) != n:
        raise UsageError(
            f"recordings: there must be one group for every recording, got {len(found)} for {n}."
        )
    if all(type(one) is int and one >= 0 for one in found):
        return np.array(found, dtype=np.int64)
    return _numbered(found, sorted(set(found), key=str))


def _numbered(values: Sequence[Any], names: Sequence[Any]) -> Int64[np.ndarray, " n"]:
    """Where in ``names`` each value stands."""
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[value] for value in values], dtype=np.int64)


def _lists(
    events: Any, n_units: int, time_unit: TimeUnit | None, owner: str
) -> tuple[list[np.ndarray], list[np.ndarray], np.dtype]:
    """Times (s) and units of every recording, and the coarsest type that times were rounded to."""
    found = [_events(one, n_units, time_unit, f"{owner} {at}") for at, one in enumerate(events)]
    # Whole numbers are as they say, an empty list says nothing. The coarsest type is taken for all:
    # it puts finer times wrong by their last digits at most, a finer one coarse times by a step.
    kinds = {rounded_to(times) for times, _ in found if times.dtype.kind == "f" and times.size}
    kind = min(kinds, key=lambda one: one.itemsize, default=np.dtype(np.float64))
    unit = time_unit or "s"
    if kind == np.float16 and (unit != "s" or len(kinds) > 1):
        others = ", ".join(sorted(str(one) for one in kinds - {kind}))
        raise UsageError(
            "recordings: times of float16, which is coarse, must be in seconds and all of them of "
            f"this type, got time_unit={unit!r}{f' and others of {others}' if others else ''}. "
            "Give them in float32 or float64."
        )
    seconds = [times.astype(np.float64) / _PER_SECOND[unit] for times, _ in found]
    units = [units for _, units in found]
    return seconds, units, kind


def _counted(
    counts: np.ndarray, n_units: int, time_unit: TimeUnit | None, grid: Grid, **about: Any
) -> SpikeSplit:
    """Spikes of an array that counts them."""
    if grid.max_time_ms is not None or time_unit is not None:
        raise UsageError(
            "recordings: time_unit and max_time_ms are for events, got an array [n, T, C], whose "
            "steps are those of dt_ms. Leave them out, and cut the array."
        )
    if counts.ndim != 3 or counts.shape[2] != n_units:
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
    pooled = np.add.reduceat(counts.astype(np.int64), np.arange(0, n_units, grid.pool), axis=2)
    recordings, steps, channels = np.nonzero(pooled)
    return SpikeSplit(
        steps=steps,
        channels=channels,
        counts=pooled[recordings, steps, channels],
        offsets=np.searchsorted(recordings, np.arange(len(counts) + 1)),
        n_channels=pooled.shape[2],
        **about,
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
    whole = units.dtype.kind in "iuf" and (units == np.round(units)).all()
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
                "Give frame=(polarities, H, W), or pairs (times, units) with units of your own."
            )
    return one["t"], one["x"]


def _held_out(
    whole: Any, rest: Int64[np.ndarray, " n"], share: float, seed: int, name: str, grouped: bool
) -> tuple[Int64[np.ndarray, " kept"], Int64[np.ndarray, " held"]]:
    """Which of the rest stay, and which are held out."""
    labels, speakers = whole.labels.numpy()[rest], whole.speakers.numpy()[rest]
    try:
        if grouped:
            kept, held = by_speaker(speakers, None, seed, share)
        else:
            kept, held = stratified(labels, speakers, share, seed)
    except UsageError as error:
        raise UsageError(
            f"recordings: {name} leaves too few of {len(rest)} recordings in "
            f"{len(np.unique(speakers))} groups. Give more recordings or groups, or another share."
            if grouped
            else f"recordings: {name} of {len(rest)} recordings leaves none to hold out or none to "
            "train on. Give more recordings, or another share."
        ) from error
    return rest[kept], rest[held]
