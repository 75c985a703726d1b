"""The loops of ``ops/convolution_taps.py``, compiled by numba and run in parallel.

A sample's map of one channel lies in rows, one per position, along time: a delay moves a tap along
its row, so that the few taps of a spike are one vector, whatever the delay. ``target`` ``[P, S]``
says which position of the output an input's position reaches by each of the kernel's, −1 for none.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from snn_delays.loops.loop import called, loop
from snn_delays.ops.vectors import (
    LANES,
    fma,
    load,
    load_apart,
    splat,
    store,
    store_apart,
    turned,
)

BLOCK = 64  # numbers that are passed over at once if all are zero


def by_place(x: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """What is not zero in x ``[T, N, M]``, by sample, then by place, then by step.

    Returns:
        start ``[N · M + 1]``, and of each spike, from start[n · M + m] up to the next one's, its
        step and value.
    """
    start = np.zeros(x.shape[1] * x.shape[2] + 1, np.int64)
    _count_by_place(start, x)
    np.cumsum(start, out=start)
    step, value = np.empty(start[-1], np.int64), np.empty(start[-1], x.dtype)
    _place_by_place(step, value, start, x)
    return start, step, value


@loop(parallel=True)
def _count_by_place(start: NDArray, x: NDArray) -> None:
    steps, batch, places = x.shape
    for n in prange(batch):
        first = n * places + 1
        for t in range(steps):
            for begin in range(0, places, BLOCK):
                stretch = x[t, n, begin : min(places, begin + BLOCK)]
                if _silent(stretch):
                    continue
                for m in range(len(stretch)):
                    start[first + begin + m] += stretch[m] != 0


@loop(parallel=True)
def _place_by_place(step: NDArray, value: NDArray, start: NDArray, x: NDArray) -> None:
    steps, batch, places = x.shape
    for n in prange(batch):
        at = start[n * places : (n + 1) * places].copy()
        for t in range(steps):
            for begin in range(0, places, BLOCK):
                stretch = x[t, n, begin : min(places, begin + BLOCK)]
                if _silent(stretch):
                    continue
                for m in range(len(stretch)):
                    if stretch[m] != 0:
                        i = at[begin + m]
                        step[i] = t
                        value[i] = stretch[m]
                        at[begin + m] = i + 1


@loop(parallel=True)
def scatter(
    out: NDArray,
    start: NDArray,
    step: NDArray,
    value: NDArray,
    target: NDArray,
    first: NDArray,
    coefficients: NDArray,
    workers: int,
) -> None:
    """out[t + first + q, n, o, p'] += coefficient[o, i, s, k, q] · value, of every spike.

    Shape:
        out ``[T, N, O, P']``, start, step, value as from ``by_place`` of ``[T, N, C · P]``; first
        ``[O, I, S, K]``; coefficients ``[O, I, S, K, W]``, W = 1 or a multiple of ``LANES``.
    """
    steps, batch, outputs, after = out.shape
    places, spots = target.shape
    _, own, _, count, width = coefficients.shape
    channels = (len(start) - 1) // (batch * places)
    per_group = outputs * own // channels
    c, shifts, reached = coefficients.reshape(-1), first.reshape(-1), target.reshape(-1)
    length = steps + width
    for worker in prange(workers):
        rows = np.empty(after * length, out.dtype)
        for task in range(worker, batch * outputs, workers):
            n, o = task // outputs, task % outputs
            rows[:] = 0
            for i in range(own):
                base = (n * channels + (o // per_group) * own + i) * places
                kernel = (o * own + i) * spots * count
                for p in range(places):
                    for e in range(start[base + p], start[base + p + 1]):
                        now, weight = step[e], value[e]
                        for r in range(p * spots, (p + 1) * spots):
                            row = reached[r] * length + now
                            if row < 0:
                                continue
                            synapse = kernel + (r - p * spots) * count
                            for j in range(synapse, synapse + count):
                                if now + shifts[j] >= steps:
                                    continue
                                at = row + shifts[j]
                                if width == 1:
                                    rows[at] += weight * c[j]
                                else:
                                    _add(rows, at, weight, c, j * width, width)
            _from_rows(out, n, o, rows, length)


@loop(parallel=True)
def gather(
    sums: NDArray,
    grad: NDArray,
    start: NDArray,
    step: NDArray,
    value: NDArray,
    target: NDArray,
    first: NDArray,
    workers: int,
) -> None:
    """sums[o, i, s, k, q] += value · grad[t + first + q, n, o, p'], of every spike.

    Shape:
        as in ``scatter``, ``grad`` as its ``out`` and ``sums`` as its coefficients.
    """
    steps, batch, outputs, after = grad.shape
    places, spots = target.shape
    _, own, _, count, width = sums.shape
    channels = (len(start) - 1) // (batch * places)
    per_group = outputs * own // channels
    found, shifts, reached = sums.reshape(-1), first.reshape(-1), target.reshape(-1)
    length = steps + width
    for worker in prange(workers):
        rows = np.zeros(after * length, grad.dtype)
        for o in range(worker, outputs, workers):
            for n in range(batch):
                _to_rows(rows, length, grad, n, o)
                for i in range(own):
                    base = (n * channels + (o // per_group) * own + i) * places
                    kernel = (o * own + i) * spots * count
                    for p in range(places):
                        for e in range(start[base + p], start[base + p + 1]):
                            now, weight = step[e], value[e]
                            for r in range(p * spots, (p + 1) * spots):
                                row = reached[r] * length + now
                                if row < 0:
                                    continue
                                synapse = kernel + (r - p * spots) * count
                                for j in range(synapse, synapse + count):
                                    if now + shifts[j] >= steps:
                                        continue
                                    at = row + shifts[j]
                                    if width == 1:
                                        found[j] += weight * rows[at]
                                    else:
                                        _add(found, j * width, weight, rows, at, width)


@loop(parallel=True)
def back(
    out: NDArray,
    grad: NDArray,
    target: NDArray,
    first: NDArray,
    coefficients: NDArray,
    most: int,
    block: int,
    workers: int,
) -> None:
    """out[t, n, c, p] = Σ_o Σ_s Σ_k Σ_q coefficient[o, i, s, k, q] · grad[t + first + q, n, o, p'].

    Args:
        most: the last tap that any coefficient has.
        block: channels that are made at a time.

    Shape:
        out ``[T, N, C, P]``; grad ``[T, N, O, P']``; first and coefficients as in ``scatter``, W
        any.
    """
    steps, batch, outputs, after = grad.shape
    places, spots = target.shape
    _, own, _, count, width = coefficients.shape
    groups = out.shape[2] // own
    per_group = outputs // groups
    c, shifts, reached = coefficients.reshape(-1), first.reshape(-1), target.reshape(-1)
    whole = (steps + LANES - 1) // LANES * LANES
    length = whole + most
    blocks = (own + block - 1) // block
    for worker in prange(workers):
        rows = np.zeros(after * length, grad.dtype)
        sums = np.empty(block * places * whole, grad.dtype)
        for task in range(worker, batch * groups * blocks, workers):
            n, g, b = task // (groups * blocks), task // blocks % groups, task % blocks
            since, until = b * block, min(own, (b + 1) * block)
            sums[:] = 0
            for o in range(g * per_group, (g + 1) * per_group):
                _to_rows(rows, length, grad, n, o)
                for i in range(since, until):
                    for p in range(places):
                        at = ((i - since) * places + p) * whole
                        for s in range(spots):
                            q = reached[p * spots + s]
                            if q < 0:
                                continue
                            for k in range(count):
                                j = ((o * own + i) * spots + s) * count + k
                                _add_taps(
                                    sums,
                                    at,
                                    whole,
                                    c,
                                    j * width,
                                    width,
                                    rows,
                                    q * length + shifts[j],
                                )
            for i in range(since, until):
                part = sums[(i - since) * places * whole : (i - since + 1) * places * whole]
                _from_rows(out, n, g * own + i, part, whole)


@called
def _silent(stretch):
    """Whether all are zero."""
    found = 0
    for value in stretch:
        found += value != 0
    return found == 0


@called
def _add(y, at, factor, x, begin, width):
    """y[at …] += factor · x[begin …], ``width`` numbers."""
    w = splat(factor)
    for v in range(0, width, LANES):
        store(y, at + v, fma(w, load(x, begin + v), load(y, at + v)))


@called
def _add_taps(y, at, whole, c, first, width, x, begin):
    """y[at + t] += Σ_q c[first + q] · x[begin + t + q], ``whole`` steps."""
    for t in range(0, whole, LANES):
        a = load(y, at + t)
        for q in range(width):
            a = fma(splat(c[first + q]), load(x, begin + t + q), a)
        store(y, at + t, a)


@called
def _from_rows(out, n, o, rows, length):
    """out[t, n, o, p] = rows[p · length + t]."""
    steps, batch, outputs, places = out.shape
    apart, begin, flat = batch * outputs * places, (n * outputs + o) * places, out.reshape(-1)
    if steps >= LANES and places >= LANES:
        for t in range(0, steps, LANES):
            t = min(t, steps - LANES)  # the last tile overlaps the one before
            for p in range(0, places, LANES):
                p = min(p, places - LANES)
                tile = turned(load_apart(rows, p * length + t, length))
                store_apart(flat, t * apart + begin + p, apart, tile)
    else:
        for t in range(steps):
            for p in range(places):
                flat[t * apart + begin + p] = rows[p * length + t]


@called
def _to_rows(rows, length, x, n, o):
    """rows[p · length + t] = x[t, n, o, p]."""
    steps, batch, outputs, places = x.shape
    apart, begin, flat = batch * outputs * places, (n * outputs + o) * places, x.reshape(-1)
    if steps >= LANES and places >= LANES:
        for t in range(0, steps, LANES):
            t = min(t, steps - LANES)
            for p in range(0, places, LANES):
                p = min(p, places - LANES)
                tile = turned(load_apart(flat, t * apart + begin + p, apart))
                store_apart(rows, p * length + t, length, tile)
    else:
        for t in range(steps):
            for p in range(places):
                rows[p * length + t] = flat[t * apart + begin + p]
