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
from snn_delays.ops.vectors import LANES, fma, load, splat, store

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
        for p in range(n):
            for j in range(radix):
                row = at + (p * radix + j) * radix
                for q in range(stride):
                    re = im = load(work, 4 * size)
                    for k in range(radix):
                        s = source + (q + stride * (p + n * k)) * LANES
                        a, b = load(work, s), load(work, s + size)
                        c, d, minus_d = table[row + k]
                        re = fma(splat(minus_d), b, fma(splat(c), a, re))
                        im = fma(splat(d), a, fma(splat(c), b, im))
                    t = target + (q + stride * (p * radix + j)) * LANES
                    store(work, t, re)
                    store(work, t + size, im)
        at += n * radix * radix
        stride *= radix
        source, target = target, source
    return source
