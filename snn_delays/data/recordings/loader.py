"""A data set of one's own arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import Int64

from snn_delays.arguments import choice, plain, real_number, shown, whole_number
from snn_delays.data.events.binned import BinnedFile, data_of
from snn_delays.data.events.binning import Grid, clip_counts
from snn_delays.data.recordings.reading import TimeUnit, apart, binned, numbered
from snn_delays.data.splits.interface import SpikeData
from snn_delays.data.splits.validation import by_speaker, stratified
from snn_delays.errors import UsageError


def recordings(
    events: Any,
    labels: Iterable[Any] | None = None,
    *,
    n_units: int,
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

    Args:
        events: of every recording a pair (times, units), or a structured array with fields t and
            x; or an array ``[n, T, C]`` of spike counts in steps of ``dt_ms``. Without ``labels``
            any iterable of (events, label).
        labels: class of every recording, a number from 0 on or a name.
        n_units: units are 0 … ``n_units`` − 1.
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
    n_units = whole_number("recordings: n_units", n_units, 1)
    seed = whole_number("recordings: seed", seed, 0)
    if time_unit is not None:
        choice("recordings: time_unit", time_unit, get_args(TimeUnit))
    grid = Grid(dt_ms, pool, max_time_ms)
    share = test if isinstance(plain(test), int | float) else None
    for name, value in (("valid_fraction", valid_fraction), ("test", share)):
        if value is not None:
            real_number(f"recordings: {name}", value, above=0, below=1, must="be > 0 and < 1")
    events, own = apart(events, labels)
    parts = [(events, own)]
    if share is None:
        parts.append(apart(*(test if labels is not None else (test, None))))
    names = _class_names([label for _, some in parts for label in some], class_names)
    files: list[BinnedFile] = []
    for (some, its_labels), name in zip(parts, ("recording", "test recording"), strict=False):
        known = names if isinstance(its_labels[0], str) else range(len(names))
        numbers = numbered(its_labels, known)
        speakers = _groups(groups if name == "recording" else None, len(numbers))
        settings = {"n_units": n_units, "time_unit": time_unit, "grid": grid, "name": name}
        spikes, valid, invalid = binned(some, numbers, speakers, **settings)
        files.append(BinnedFile(Path(name), clip_counts(spikes, max_count), names, valid, invalid))
    whole, rest = files[0].split, np.arange(len(own))
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


def _class_names(labels: list[Any], given: Sequence[str] | None) -> tuple[str, ...]:
    """What labels 0, 1, … are called."""
    words = {isinstance(label, str) for label in labels}
    whole = all(type(label) is int and label >= 0 for label in labels)
    if words != {True} and not whole:
        raise UsageError(
            "recordings: labels must be whole numbers from 0 on, or names, got "
            f"{shown(sorted(set(map(repr, labels))))}."
        )
    found = sorted(set(labels)) if words == {True} else [str(n) for n in range(max(labels) + 1)]
    names = tuple(found if given is None else given)
    lacking = set(found) - set(names) if words == {True} else set(found[len(names) :])
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
    return numbered(found, sorted(set(found), key=str))


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
