"""The loops of ``ops/taps.py``, compiled by numba and run in parallel.

Arrays are in lanes: [channel, step · LANES] for one group of ``LANES`` samples of the batch. A
shift by one step then is a shift by one vector, whatever the delay. Every row has ``MARGIN`` silent
steps at both ends, and ``begin`` and ``end`` tell which of its steps are not all zero: a tile of
outputs that looks at none of them is skipped, so that silence costs nothing.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from snn_delays.loops.loop import called, loop
from snn_delays.ops.vectors import (
    LANES,
    TILE,
    add_five_taps,
    add_one_tap,
    aligned,
    fma,
    load,
    load_apart,
    load_left,
    load_square,
    load_tile,
    splat,
    store,
    store_apart,
    store_left,
    total,
    turned,
)

PASS = 5  # taps added up at once
MARGIN = 2 * TILE + PASS
# Rows of which a tile and its delays stay in the first-level cache while many others use them.
SOURCES, WITH_ONE_TAP = 8, 16
# Rows that one thread makes at a time: they stay in the second-level cache.
OUTPUTS, CORRELATED = 128, 16


def last_steps(x: NDArray) -> NDArray:
    """One past the last step at which each sample of x ``[T, N, C]`` is not silent."""
    last = np.zeros(x.shape[1], np.int64)
    _last_steps(last, x)
    return last


@loop(parallel=True)
def _last_steps(last: NDArray, x: NDArray) -> None:
    steps, batch, channels = x.shape
    for n in prange(batch):
        for t in range(steps - 1, -1, -1):
            silent = True
            for c in range(channels):
                if x[t, n, c] != 0:
                    silent = False
                    break
            if not silent:
                last[n] = t + 1
                break


@loop(parallel=True)
def to_lanes(rows: NDArray, begin: NDArray, end: NDArray, x: NDArray, samples: NDArray) -> None:
    """The ``samples`` of x ``[T, N, C]`` → rows ``[C, (MARGIN + T' + MARGIN) · LANES]``, T' ≥ T.

    Steps begin ≤ t < end of a row hold all that is not zero.
    """
    steps, batch, channels = x.shape
    used = len(samples)
    zero = x.dtype.type(0)
    given, lanes, length = x.reshape(-1), rows.reshape(-1), rows.shape[1]
    first, last = MARGIN * LANES, (MARGIN + steps) * LANES
    for block in prange((channels + LANES - 1) // LANES):
        c_first, c_last = block * LANES, min(channels, (block + 1) * LANES)
        left = c_last - c_first
        square, turning = np.zeros(LANES * LANES, x.dtype), np.empty(LANES * LANES, x.dtype)
        for t in range(steps):
            at = first + t * LANES
            for lane in range(used):
                i = (t * batch + samples[lane]) * channels + c_first
                store(square, lane * LANES, load_left(given, i, left))
            tile, to = turned(load_square(square, 0)), c_first * length + at
            if left == LANES:
                store_apart(lanes, to, length, tile)
            else:
                store(turning, 0, tile)
                for c in range(left):
                    store(lanes, to + c * length, load(turning, c * LANES))
        for c in range(c_first, c_last):
            row = rows[c]
            for i in range(first):
                row[i] = zero
            for i in range(last, len(row)):
                row[i] = zero
            low, high = first, last
            while high > low and row[high - 1] == zero:
                high -= 1
            while low < high and row[low] == zero:
                low += 1
            begin[c] = low // LANES - MARGIN
            end[c] = (high + LANES - 1) // LANES - MARGIN


@loop(parallel=True)
def accumulate(
    out: NDArray,
    source: NDArray,
    begin: NDArray,
    end: NDArray,
    samples: NDArray,
    places: NDArray,
    lowest: int,
    highest: int,
    coefficients: NDArray,
) -> None:
    """out[t, n, a] = Σ_j Σ_q coefficients[a, j, q] · source[n, j // K, t + shift[a, j] + q].

    Shape:
        out ``[T, N, A]``, of which the ``samples`` of the group are made; source, begin, end as
        ``to_lanes`` makes them of ``[T, N, B]``; places ``[A, J]``, J = B · K: where step
        shift[a, j] stands if all rows are one, shifts being from ``lowest`` to ``highest``;
        coefficients ``[A, J, 1 or PASS]``; K is kernel_count.
    """
    steps, batch, outputs = out.shape
    sources, length = source.shape
    synapses, taps = coefficients.shape[1:]
    kernel_count = synapses // sources
    # Of each row the first place where a tile meets something, and at how many it does.
    since, span = np.empty(synapses, np.int64), np.empty(synapses, np.int64)
    for j in range(synapses):
        b = j // kernel_count
        since[j] = b * (length // LANES) + MARGIN + begin[b] - TILE - taps + 2
        span[j] = max(0, end[b] - begin[b] + TILE + taps - 2)
    # Flat, so that the inner loop makes no views: they count references.
    x, c, starts = source.reshape(-1), coefficients.reshape(-1), places.reshape(-1)
    made = out.reshape(-1)
    some = WITH_ONE_TAP if taps == 1 else SOURCES
    blocks = (outputs + OUTPUTS - 1) // OUTPUTS
    # All outputs of a few steps at a time: of the source these find the same in the caches.
    for task in prange((steps + TILE - 1) // TILE * blocks):
        t, a_first = task // blocks * TILE, task % blocks * OUTPUTS
        a_count = min(OUTPUTS, outputs - a_first)
        strips = (a_count + LANES - 1) // LANES
        sums = aligned(np.empty((strips * LANES * TILE + 1) * LANES, out.dtype))
        square = np.empty(LANES * LANES, out.dtype)
        sums[:] = 0
        # Whether all that is looked at lies within rows, and need not be looked up.
        ahead = t + highest + TILE + taps - 1
        inside = t + lowest >= -MARGIN and ahead <= length // LANES - MARGIN
        for first in range(0, synapses, some):
            last = min(synapses, first + some)
            silent = True
            for b in range(first // kernel_count, (last - 1) // kernel_count + 1):
                silent &= end[b] <= max(t + lowest, begin[b]) or begin[b] >= ahead
            if silent:
                continue
            for i in range(a_count):
                o, at = i * TILE * LANES, (a_first + i) * synapses
                y = load_tile(sums, o)
                if inside and taps == 1:
                    for j in range(first, last):
                        y = add_one_tap(y, c, at + j, x, (starts[at + j] + t) * LANES)
                    store(sums, o, y)
                    continue
                for j in range(first, last):
                    place = starts[at + j] + t
                    if np.uint64(place - since[j]) >= np.uint64(span[j]):
                        continue
                    if taps == 1:
                        y = add_one_tap(y, c, at + j, x, place * LANES)
                    else:
                        y = add_five_taps(y, c, (at + j) * PASS, x, place * LANES)
                store(sums, o, y)
        for step in range(min(TILE, steps - t)):
            for i in range(0, a_count, LANES):
                tile = load_apart(sums, (i * TILE + step) * LANES, TILE * LANES)
                store(square, 0, turned(tile))
                for lane in range(len(samples)):
                    at = ((t + step) * batch + samples[lane]) * outputs + a_first + i
                    store_left(made, at, a_count - i, load(square, lane * LANES))


@loop(parallel=True)
def correlate(
    out: NDArray,
    y: NDArray,
    source: NDArray,
    begin: NDArray,
    end: NDArray,
    shift: NDArray,
    threads: int,
) -> None:
    """out[a, j, q] += Σ_n Σ_t y[n, a, t] · source[n, j // K, t + shift[a, j] + q].

    Shape:
        as in ``accumulate``, with the rows ``y`` in the place of its ``out``.
    """
    outputs, synapses, taps = out.shape
    sources, length = source.shape
    kernel_count = synapses // sources
    width = length // LANES
    steps = width - 2 * MARGIN
    values, x, sums = y.reshape(-1), source.reshape(-1), out.reshape(-1)
    block = min(CORRELATED, max(1, outputs // (4 * threads)))
    for task in prange((outputs + block - 1) // block):
        a_first = task * block
        a_last = min(outputs, a_first + block)
        for first in range(0, synapses, SOURCES // 2):
            last = min(synapses, first + SOURCES // 2)
            for a in range(a_first, a_last):
                for j in range(first, last):
                    b = j // kernel_count
                    s = shift[a, j]
                    # Steps at which one of the taps meets the source.
                    since = max(0, begin[b] - s - taps + 1)
                    count = min(steps, end[b] - s) - since
                    if count <= 0:
                        continue
                    o = (a * width + MARGIN + since) * LANES
                    i = (b * width + MARGIN + since + s) * LANES
                    if taps == 1:
                        sums[a * synapses + j] += one_dot(values, o, x, i, count)
                    else:
                        d0, d1, d2, d3, d4 = five_dots(values, o, x, i, count)
                        q = (a * synapses + j) * PASS
                        sums[q] += d0
                        sums[q + 1] += d1
                        sums[q + 2] += d2
                        sums[q + 3] += d3
                        sums[q + 4] += d4


@called
def five_dots(y, o, x, i, count):
    """Σ_t y[t] · x[t + q] for q = 0 … 4, two steps at a time; rows begin at o and i."""
    zero, one = splat(y.dtype.type(0)), splat(y.dtype.type(1))
    d0, d1, d2, d3, d4 = zero, zero, zero, zero, zero
    e0, e1, e2, e3, e4 = zero, zero, zero, zero, zero
    v0, v1 = load(x, i), load(x, i + LANES)
    v2, v3 = load(x, i + 2 * LANES), load(x, i + 3 * LANES)
    for _ in range((count + 1) // 2):
        v4, v5 = load(x, i + 4 * LANES), load(x, i + 5 * LANES)
        w = load(y, o)
        d0, d1, d2 = fma(w, v0, d0), fma(w, v1, d1), fma(w, v2, d2)
        d3, d4 = fma(w, v3, d3), fma(w, v4, d4)
        w = load(y, o + LANES)
        e0, e1, e2 = fma(w, v1, e0), fma(w, v2, e1), fma(w, v3, e2)
        e3, e4 = fma(w, v4, e3), fma(w, v5, e4)
        v0, v1, v2, v3 = v2, v3, v4, v5
        o += 2 * LANES
        i += 2 * LANES
    return (
        total(fma(one, d0, e0)),
        total(fma(one, d1, e1)),
        total(fma(one, d2, e2)),
        total(fma(one, d3, e3)),
        total(fma(one, d4, e4)),
    )


@called
def one_dot(y, o, x, i, count):
    """Σ_t y[t] · x[t], four steps at a time; rows begin at o and i."""
    zero, one = splat(y.dtype.type(0)), splat(y.dtype.type(1))
    d0, d1, d2, d3 = zero, zero, zero, zero
    for _ in range((count + 3) // 4):
        d0 = fma(load(y, o), load(x, i), d0)
        d1 = fma(load(y, o + LANES), load(x, i + LANES), d1)
        d2 = fma(load(y, o + 2 * LANES), load(x, i + 2 * LANES), d2)
        d3 = fma(load(y, o + 3 * LANES), load(x, i + 3 * LANES), d3)
        o += 4 * LANES
        i += 4 * LANES
    return total(fma(one, fma(one, d0, d1), fma(one, d2, d3)))
