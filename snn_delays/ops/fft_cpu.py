"""The transforms of ``ops/fft.py``, compiled by numba and run in parallel.

A strip has ``LANES`` columns of a sequence, and stays in the first-level cache through every pass.
A task takes some beside each other, since rows are far apart in memory. Passes are Stockham's, of
any radix: what they read in strides they write in order, so that nothing has to be sorted.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from snn_delays.loops.loop import called, loop, pasted
from snn_delays.ops.vectors import (
    LANES,
    aligned,
    fma,
    load,
    load_left,
    splat,
    store,
    store_left,
    times,
)

ROWS = 2560  # of them in all, so that they stay in the second-level cache


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
    """out[k, i] = mix[i, 0] · Re X[k] + mix[i, 1] · Im X[k], X[k] = Σ_n x[n] · z_kⁿ.

    Shape:
        out ``[K, 3, columns]``, x ``[T, columns]``, mix ``[3, 2]``; fold ``[M, 3]`` with M · K ≥ T,
        twist ``[K, 3]``, radices and table as of ``Transform``.
    """
    steps, columns = x.shape
    points = out.shape[0]
    y, source = out.reshape(-1), x.reshape(-1)
    size, strips = _size(points), (columns + LANES - 1) // LANES
    each = 4 * size + LANES
    beside = max(1, ROWS // points)
    for task in prange((strips + beside - 1) // beside):
        work, zero = buffer(beside * each, source), beside * each
        begin, count = task * beside, min(beside, strips - task * beside)
        for p in range(points):
            for i in range(count):
                first, place = (begin + i) * LANES, i * each + p * LANES
                re = im = load(work, zero)
                for m in range((steps - p + points - 1) // points):
                    s = (p + m * points) * columns + first
                    value = load_left(source, s, columns - first)
                    re = fma(splat(fold[m, 0]), value, re)
                    im = fma(splat(fold[m, 1]), value, im)
                store(work, place, re)
                store(work, place + size, im)
                _turn(work, place, size, zero, twist, p)
        at = 0
        for i in range(count):
            at = _passes(work, i * each, zero, points, radices, table) - i * each
        for k in range(points):
            for i in range(count):
                first, place = (begin + i) * LANES, at + i * each + k * LANES
                a, b = load(work, place), load(work, place + size)
                for j in range(3):
                    value = fma(splat(mix[j, 0]), a, load(work, zero))
                    value = fma(splat(mix[j, 1]), b, value)
                    o = (3 * k + j) * columns + first
                    store_left(y, o, columns - first, value)


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
        out ``[T, columns]``, spectrum ``[K, 3, columns]``; ``twist`` and ``table`` are those of
        ``to_spectrum``, conjugated, ``fold`` is as it is there.
    """
    steps, columns = out.shape
    points = spectrum.shape[0]
    y, source = out.reshape(-1), spectrum.reshape(-1)
    size, strips = _size(points), (columns + LANES - 1) // LANES
    each = 4 * size + LANES
    beside = max(1, ROWS // points)
    for task in prange((strips + beside - 1) // beside):
        work, zero = buffer(beside * each, source), beside * each
        begin, count = task * beside, min(beside, strips - task * beside)
        for k in range(points):
            for i in range(count):
                first, place = (begin + i) * LANES, i * each + k * LANES
                a = b = load(work, zero)
                for j in range(3):
                    s = (3 * k + j) * columns + first
                    value = load_left(source, s, columns - first)
                    a, b = fma(splat(mix[j, 0]), value, a), fma(splat(mix[j, 1]), value, b)
                store(work, place, a)
                store(work, place + size, b)
        at, one = 0, splat(fold[0, 0])
        for i in range(count):
            at = _passes(work, i * each, zero, points, radices, table) - i * each
        for p in range(points):
            for i in range(count):
                first, place = (begin + i) * LANES, at + i * each + p * LANES
                _turn(work, place, size, zero, twist, p)
                a, b = load(work, place), load(work, place + size)
                rows, o = (steps - p + points - 1) // points, p * columns + first
                step, left = points * columns, columns - first
                _unfold(y, o, step, left, rows, more, fold, a, b, one)


@pasted
def _size(points):
    """Numbers of a strip's real or imaginary parts: an odd number of vectors, since those that are
    powers of two apart share few lines of the caches."""
    return (points | 1) * LANES


@pasted
def _unfold(y, o, step, left, rows, more, fold, a, b, one):
    """Rows of a strip that are one coefficient."""
    for m in range(rows):
        value = fma(splat(fold[m, 0]), a, times(splat(fold[m, 1]), b))
        if more:
            value = fma(one, load_left(y, o, left), value)
        store_left(y, o, left, value)
        o += step


@called
def buffer(size, like):
    """Room for so many numbers and a row of zeros; begins where a cache line does."""
    room = aligned(np.empty(size + 2 * LANES, like.dtype))
    room[size:] = 0
    return room


@pasted
def _turn(work, place, size, nothing, twist, n):
    """Number n times its twist, in place."""
    a, b, zero = load(work, place), load(work, place + size), load(work, nothing)
    c, d, minus_d = splat(twist[n, 0]), splat(twist[n, 1]), splat(twist[n, 2])
    store(work, place, fma(minus_d, b, fma(c, a, zero)))
    store(work, place + size, fma(d, a, fma(c, b, zero)))


@called
def _passes(work, source, zero, points, radices, table):
    """The discrete Fourier transform of what stands at ``source``; where its result is: there, or
    behind it."""
    size = _size(points)
    target = source + 2 * size
    n, stride, at = points, 1, 0
    for radix in radices:
        n //= radix
        if radix == 4:
            _four(work, source, target, size, n, stride, table, at)
        else:
            _any(work, source, target, size, zero, n, stride, radix, table, at)
        at += n * radix * radix
        stride *= radix
        source, target = target, source
    return source


@pasted
def _any(work, source, target, size, zero, n, stride, radix, table, at):
    """A pass of any radix, as it is written: radix² products."""
    for p in range(n):
        for j in range(radix):
            row = at + (p * radix + j) * radix
            for q in range(stride):
                re = im = load(work, zero)
                for k in range(radix):
                    s = source + (q + stride * (p + n * k)) * LANES
                    a, b = load(work, s), load(work, s + size)
                    c, d, minus_d = table[row + k, 0], table[row + k, 1], table[row + k, 2]
                    re = fma(splat(minus_d), b, fma(splat(c), a, re))
                    im = fma(splat(d), a, fma(splat(c), b, im))
                t = target + (q + stride * (p * radix + j)) * LANES
                store(work, t, re)
                store(work, t + size, im)


@pasted
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
            u0, v0, u2, v2 = (
                fma(one, a2, a0),
                fma(one, b2, b0),
                fma(minus, a2, a0),
                fma(minus, b2, b0),
            )
            u1, v1, u3, v3 = (
                fma(one, a3, a1),
                fma(one, b3, b1),
                fma(minus, a3, a1),
                fma(minus, b3, b1),
            )
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
