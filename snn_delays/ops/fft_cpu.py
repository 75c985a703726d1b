"""The transforms of ``ops/fft.py``, compiled by numba and run in parallel.

A task takes ``LANES`` columns of a sequence, all that one cache line holds, through every pass
while they stay in the first-level cache. Passes are Stockham's, of any radix: what they read in
strides they write in order, so that nothing has to be sorted at the end.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from snn_delays.loop import called, loop, pasted
from snn_delays.ops.vectors import LANES, fma, load, splat, store, times

STRIPS = 8  # of a task, which share its buffer


@loop(parallel=True)
def to_spectrum(
    out: NDArray,
    x: NDArray,
    mix: NDArray,
    fold: NDArray,
    twist: NDArray,
    radices: NDArray,
    table: NDArray,
) -> None:
    """out[i, k] = mix[i, 0] · Re X[k] + mix[i, 1] · Im X[k], X[k] = Σ_n x[n] · z_kⁿ.

    Shape:
        out ``[3, K, columns]``, x ``[T, columns]``, mix ``[3, 2]``; fold ``[M, 3]`` with M · K ≥ T,
        twist ``[K, 3]``, radices and table as of ``Transform``.
    """
    steps, columns = x.shape
    points = out.shape[1]
    y, source = out.reshape(-1), x.reshape(-1)
    strips = (columns + LANES - 1) // LANES
    for task in prange((strips + STRIPS - 1) // STRIPS):
        work = _buffer(points, x)
        size = points * LANES
        for strip in range(task * STRIPS, min(strips, (task + 1) * STRIPS)):
            first = strip * LANES
            left = columns - first
            for p in range(points):
                re = im = load(work, 4 * size)
                for m in range((steps - p + points - 1) // points):
                    s = (p + m * points) * columns + first
                    value = _row(source, s, work, 4 * size + LANES, left)
                    re = fma(splat(fold[m, 0]), value, re)
                    im = fma(splat(fold[m, 1]), value, im)
                store(work, p * LANES, re)
                store(work, size + p * LANES, im)
                _turn(work, p * LANES, size, twist, p)
            at = _passes(work, points, radices, table)
            for k in range(points):
                a, b = load(work, at + k * LANES), load(work, at + size + k * LANES)
                for i in range(3):
                    value = fma(splat(mix[i, 0]), a, load(work, 4 * size))
                    value = fma(splat(mix[i, 1]), b, value)
                    o = (i * points + k) * columns + first
                    _give(y, o, value, work, 4 * size + LANES, left)


@loop(parallel=True)
def from_spectrum(
    out: NDArray,
    more: bool,
    spectrum: NDArray,
    mix: NDArray,
    fold: NDArray,
    twist: NDArray,
    radices: NDArray,
    table: NDArray,
) -> None:
    """The adjoint of ``to_spectrum``, added to ``out`` if there is ``more`` in it.

    Shape:
        out ``[T, columns]``, spectrum ``[3, K, columns]``; ``twist`` and ``table`` are those of
        ``to_spectrum``, conjugated, ``fold`` is as it is there.
    """
    steps, columns = out.shape
    points = spectrum.shape[1]
    y, source = out.reshape(-1), spectrum.reshape(-1)
    strips = (columns + LANES - 1) // LANES
    for task in prange((strips + STRIPS - 1) // STRIPS):
        work = _buffer(points, out)
        size = points * LANES
        for strip in range(task * STRIPS, min(strips, (task + 1) * STRIPS)):
            first = strip * LANES
            left = columns - first
            for k in range(points):
                a = b = load(work, 4 * size)
                for i in range(3):
                    s = (i * points + k) * columns + first
                    value = _row(source, s, work, 4 * size + LANES, left)
                    a, b = fma(splat(mix[i, 0]), value, a), fma(splat(mix[i, 1]), value, b)
                store(work, k * LANES, a)
                store(work, size + k * LANES, b)
            at = _passes(work, points, radices, table)
            for p in range(points):
                _turn(work, at + p * LANES, size, twist, p)
                a, b = load(work, at + p * LANES), load(work, at + size + p * LANES)
                for m in range((steps - p + points - 1) // points):
                    o = (p + m * points) * columns + first
                    value = load(work, 4 * size)
                    if more:
                        value = _row(y, o, work, 4 * size + LANES, left)
                    value = fma(splat(fold[m, 0]), a, fma(splat(fold[m, 1]), b, value))
                    _give(y, o, value, work, 4 * size + LANES, left)


@loop
def _buffer(points, like):
    """Room for two complex sequences of a strip's columns, a row of zeros and one more; begins
    where a cache line does."""
    room = np.zeros((4 * points + 3) * LANES, like.dtype)
    return room[-(room.ctypes.data // room.itemsize) % LANES :]


@pasted
def _row(source, index, work, place, left):
    """A strip's row, by way of a row of ``work`` where it has fewer columns than lanes."""
    if left >= LANES:
        value = load(source, index)
    else:
        for lane in range(LANES):
            work[place + lane] = source[index + lane] if lane < left else 0
        value = load(work, place)
    return value


@pasted
def _give(y, index, value, work, place, left):
    """A strip's row, as far as there are columns, by way of a row of ``work``."""
    if left >= LANES:
        store(y, index, value)
    else:
        store(work, place, value)
        for lane in range(left):
            y[index + lane] = work[place + lane]


@pasted
def _turn(work, place, size, twist, n):
    """Number n times its twist, in place."""
    a, b, zero = load(work, place), load(work, place + size), load(work, 4 * size)
    c, d, minus_d = splat(twist[n, 0]), splat(twist[n, 1]), splat(twist[n, 2])
    store(work, place, fma(minus_d, b, fma(c, a, zero)))
    store(work, place + size, fma(d, a, fma(c, b, zero)))


@called
def _passes(work, points, radices, table):
    """The discrete Fourier transform of what stands first in ``work``; where its result is."""
    size = points * LANES
    source, target = 0, 2 * size
    n, stride, at = points, 1, 0
    for radix in radices:
        n //= radix
        if radix == 4:
            _four(work, source, target, size, n, stride, table, at)
        else:
            _any(work, source, target, size, n, stride, radix, table, at)
        at += n * radix * radix
        stride *= radix
        source, target = target, source
    return source


@called
def _any(work, source, target, size, n, stride, radix, table, at):
    """A pass of any radix, as it is written: radix² products."""
    for p in range(n):
        for j in range(radix):
            row = at + (p * radix + j) * radix
            for q in range(stride):
                re = im = load(work, 4 * size)
                for k in range(radix):
                    s = source + (q + stride * (p + n * k)) * LANES
                    a, b = load(work, s), load(work, s + size)
                    c, d, minus_d = table[row + k, 0], table[row + k, 1], table[row + k, 2]
                    re = fma(splat(minus_d), b, fma(splat(c), a, re))
                    im = fma(splat(d), a, fma(splat(c), b, im))
                t = target + (q + stride * (p * radix + j)) * LANES
                store(work, t, re)
                store(work, t + size, im)


@called
def _four(work, source, target, size, n, stride, table, at):
    """A pass of radix 4, whose own products are with 1, −1, i and −i."""
    one = splat(table[at, 0])
    minus = splat(table[at + 6, 0])  # (−i)² or i²
    turn, back = splat(table[at + 5, 1]), splat(table[at + 5, 2])  # of −i or i
    for p in range(n):
        row = at + 16 * p
        c1, d1, e1 = splat(table[row + 4, 0]), splat(table[row + 4, 1]), splat(table[row + 4, 2])
        c2, d2, e2 = splat(table[row + 8, 0]), splat(table[row + 8, 1]), splat(table[row + 8, 2])
        c3, d3, e3 = splat(table[row + 12, 0]), splat(table[row + 12, 1]), splat(table[row + 12, 2])
        for q in range(stride):
            s, step = source + (q + stride * p) * LANES, stride * n * LANES
            a0, b0 = load(work, s), load(work, s + size)
            a1, b1 = load(work, s + step), load(work, s + step + size)
            a2, b2 = load(work, s + 2 * step), load(work, s + 2 * step + size)
            a3, b3 = load(work, s + 3 * step), load(work, s + 3 * step + size)
            u0, v0, u2, v2 = fma(one, a2, a0), fma(one, b2, b0), fma(minus, a2, a0), fma(minus, b2, b0)
            u1, v1, u3, v3 = fma(one, a3, a1), fma(one, b3, b1), fma(minus, a3, a1), fma(minus, b3, b1)
            t, step = target + (q + 4 * stride * p) * LANES, stride * LANES
            store(work, t, fma(one, u1, u0))
            store(work, t + size, fma(one, v1, v0))
            re, im = fma(back, v3, u2), fma(turn, u3, v2)
            store(work, t + step, fma(e1, im, times(c1, re)))
            store(work, t + step + size, fma(d1, re, times(c1, im)))
            re, im = fma(minus, u1, u0), fma(minus, v1, v0)
            store(work, t + 2 * step, fma(e2, im, times(c2, re)))
            store(work, t + 2 * step + size, fma(d2, re, times(c2, im)))
            re, im = fma(turn, v3, u2), fma(back, u3, v2)
            store(work, t + 3 * step, fma(e3, im, times(c3, re)))
            store(work, t + 3 * step + size, fma(d3, re, times(c3, im)))
