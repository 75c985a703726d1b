"""From events at points in time to spike counts on a fixed grid.

A simulator's spikes lie at k · dt, the very edges of steps, and a file rounds them: half of them
fall below their edge, by at most half of what the last digit of the file's type is worth. So a time
is compared with what the edge itself would be *in that file*, not with the edge:

    edge_k = round(k · dt · (1 − ε))        ``round`` to the file's type

Where k · dt was computed in floating point, it may have fallen short before it was stored, by as
much as ε of itself: the machine epsilon of single precision (2⁻²³) or, in a file of doubles, what k
additions of dt in double precision lose at most (k · 2⁻⁵²). A time further below an edge belongs to
the step before. Sums in single precision may lose more than a file's last digit, and do so unseen.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Float64

from snn_delays.arguments import real, settle, whole, whole_number
from snn_delays.data.events.reading import Events
from snn_delays.data.splits.spike_split import SpikeSplit
from snn_delays.errors import UsageError

# A dense batch of longer recordings fits no memory: one stray event is likelier than a recording.
_MAX_STEPS = 50_000


@dataclass(frozen=True)
class Grid:
    """How events are put on a grid: steps of ``dt_ms`` ms, ⌈n_units / pool⌉ channels.

    ``pool`` neighbouring units make a channel; events at or after ``max_time_ms`` are left out.
    """

    dt_ms: float
    pool: int
    max_time_ms: float | None = None

    def __post_init__(self) -> None:
        settle(self, dt_ms=real(above=0, unit="ms"), pool=whole(1, unit="units"))
        if self.max_time_ms is not None:
            must = "be a number of ms > 0, or None for no limit"
            settle(self, max_time_ms=real(above=0, must=must))


def bin_events(
    events: Events, *, dt_ms: float, pool: int = 5, max_time_ms: float | None = None, name: str
) -> SpikeSplit:
    """Put every event on the grid; events that share a step and a channel add up.

        step = ⌊1000 · time / dt_ms⌋        channel = ⌊unit / pool⌋

    A time that is an edge but for the rounding of its file belongs to the step that begins there.
    The grid, as in :class:`Grid`, begins at t = 0 in every recording, so that the onset stays.
    """
    grid = Grid(dt_ms, pool, max_time_ms)
    times, units, offsets = events.times, events.units, events.offsets
    kind = rounded_to(times) if events.time_type == np.float64 else events.time_type
    if grid.max_time_ms is not None:
        early = times < _edge(grid.max_time_ms, grid.dt_ms, kind)
        times, units = times[early], units[early]
        offsets = np.concatenate([[0], np.cumsum(early, dtype=np.int64)])[offsets]
    latest_ms = 1000 * float(times.max(initial=0))
    last_step = latest_ms / grid.dt_ms
    edges = stored_edges(int(min(last_step, _MAX_STEPS)) + 2, grid.dt_ms, kind)
    steps = np.searchsorted(edges, times, side="right") - 1
    if steps.max(initial=0) >= _MAX_STEPS:
        raise UsageError(
            f"{name}: expected every event within {_MAX_STEPS} steps, got one at "
            f"{latest_ms:g} ms, step {last_step:.0f} at dt_ms = {grid.dt_ms:g}. "
            "Set max_time_ms to leave out what comes late, or choose a larger dt_ms."
        )
    n_channels = -(-events.n_units // grid.pool)
    return SpikeSplit(
        steps=_compact(steps, int(steps.max(initial=0))),
        channels=_compact(units // grid.pool, n_channels),
        offsets=offsets,
        labels=events.labels,
        speakers=events.speakers,
        n_channels=n_channels,
        name=name,
    )


def merge_equal(split: SpikeSplit) -> SpikeSplit:
    """The same batches from fewer events: one for each cell of the grid, with its count."""
    n_steps = int(split.lengths.max()) if len(split) else 1
    n_channels, per_recording = split.n_inputs, n_steps * split.n_inputs
    # Recording, step, channel: in this order, as one number, in half the memory if it suffices.
    small = len(split) * per_recording <= np.iinfo(np.int32).max
    dtype = np.int32 if small else np.int64
    first_cells = np.arange(len(split), dtype=dtype) * per_recording
    cells = split.steps.numpy().astype(dtype)
    cells *= n_channels
    cells += split.channels.numpy()
    cells += np.repeat(first_cells, split.offsets.diff().numpy())
    cells.sort()
    new = np.flatnonzero(np.concatenate([[True], cells[1:] != cells[:-1]])[: len(cells)])
    counts = np.diff(new, append=len(cells))
    cells = cells[new]
    steps, channels = np.divmod(cells % per_recording, n_channels)
    few = counts.max(initial=0) <= np.iinfo(np.uint8).max
    return split.holding(
        steps=steps.astype(split.steps.numpy().dtype),
        channels=channels.astype(split.channels.numpy().dtype),
        counts=counts.astype(np.uint8 if few else np.int32),
        offsets=np.append(np.searchsorted(cells, first_cells), len(cells)),
    )


def clip_counts(split: SpikeSplit, max_count: int | None) -> SpikeSplit:
    """What :func:`merge_equal` gives, with at most so many spikes in a cell; None: no limit."""
    check_max_count(max_count)
    if max_count is None or split.counts is None:
        return split
    clipped = copy.copy(split)
    largest = min(int(max_count), torch.iinfo(split.counts.dtype).max)
    clipped.counts = None if max_count == 1 else split.counts.clamp(max=largest)
    return clipped


def check_max_count(max_count: int | None) -> None:
    """Refuse a limit that is none, before a large file is read for it."""
    if max_count is not None:
        must = "be a whole number of spikes >= 1 (1: binary), or None for no limit"
        whole_number("max_count", max_count, 1, must=must)


def stored_edges(count: int, dt_ms: float, kind: np.dtype) -> Float64[np.ndarray, " count"]:
    """The least value, in s, that stands for the beginning of each of the first ``count`` steps.

    ``kind`` is what the file stores times in; where its numbers lie further apart than steps, one
    of them stands for several edges: it belongs to the nearest.
    """
    # The decimal number, as 0.1 is no binary fraction.
    dt = Fraction(str(dt_ms)) / 1000
    double = kind == np.float64
    one = 2 ** (52 if double else 23)
    # Python divides whole numbers of any size with a single rounding.
    numbers = ((k, one - (k if double else 1)) for k in range(count))
    edges = np.array([k * dt.numerator * less / (dt.denominator * one) for k, less in numbers])
    with np.errstate(over="ignore"):  # the last numbers of float16: an edge that no time reaches
        stored = edges.astype(kind).astype(np.float64)
    return np.maximum(stored, (np.arange(count) - 0.5) * float(dt))


def rounded_to(times: np.ndarray) -> np.dtype:
    """The type whose rounding floating-point ``times`` have been through, of 64 bits at most."""
    kind = times.dtype.newbyteorder("=")
    if kind.itemsize < 8:
        return kind
    # Doubles that are numbers of single precision one and all have been computed there.
    with np.errstate(over="ignore"):
        single = times.astype(np.float32)
    same = (single == times) | np.isnan(times)
    return single.dtype if same.all() else np.dtype(np.float64)


def _edge(time_ms: float, dt_ms: float, kind: np.dtype) -> float:
    """The least value, in s, that stands for a time, or for the step that begins there."""
    steps = Fraction(str(time_ms)) / Fraction(str(dt_ms))
    if steps.denominator == 1 and steps <= _MAX_STEPS:
        return float(stored_edges(int(steps) + 1, dt_ms, kind)[-1])
    return float(stored_edges(2, time_ms, kind)[1])


def _compact(values: np.ndarray, largest: int) -> np.ndarray:
    """In the smallest integers that hold them: 100 steps and 140 channels are bytes."""
    kinds = (np.uint8, np.int16, np.int32)
    return values.astype(next(kind for kind in kinds if largest <= np.iinfo(kind).max))
