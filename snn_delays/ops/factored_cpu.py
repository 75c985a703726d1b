"""The loops of ``ops/factored.py``, compiled by numba and run in parallel.

A task takes ``BLOCK`` channels of ``LANES`` samples to rows of [channel, step · LANES], in which a
shift by one step is a shift by one vector, as in ``ops/taps_cpu.py``. Rows have silence at both
ends, as long as the longest shift, and stay in the cache until all sums over them are made.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from snn_delays.loops.loop import loop
from snn_delays.ops.taps_cpu import PASS, five_dots, one_dot
from snn_delays.ops.vectors import (
    LANES,
    TILE,
    add_five_taps,
    add_one_tap,
    aligned,
    load_apart,
    load_tile,
    store,
    store_apart,
    turned,
)

BLOCK = LANES  # channels, so that a step of them is a square, and is turned round in registers
SLICES = 4  # in which samples are shared out at most


@loop(parallel=True)
def filtered(
    out: NDArray, source: NDArray, shift: NDArray, coefficients: NDArray, longest: int
) -> None:
    """out[t, n, a·C + c] = Σ_b Σ_j Σ_q coefficients[c, k, j, q] · source[t + shift[c, k, j] + q, n,
    b·C + c], k = a + b.

    Shape:
        out ``[T, N, A·C]``, source ``[T, N, B·C]``; A = 1 and B = K, or the other way round;
        shift ``[C, K, J]``, between −longest and longest; coefficients ``[C, K, J, 1 or PASS]``.
    """
    steps, batch, wide = out.shape
    channels, kernels, parts, taps = coefficients.shape
    into, of = wide // channels, source.shape[2] // channels
    pad = longest + PASS
    length = (steps + TILE + 2 * pad) | 1  # in odd steps rows do not share sets of the cache
    tasks, slices = _tasks(channels, batch)
    y, x = out.reshape(-1), source.reshape(-1)
    c, shifts = coefficients.reshape(-1), shift.reshape(-1)
    for task in prange(tasks):
        first = task // slices * BLOCK
        count = min(BLOCK, channels - first)
        rows = _empty_rows(of * length, source)
        sums, zeros = np.zeros((2, BLOCK * TILE * LANES), out.dtype)
        for sample in range(task % slices * LANES, batch, slices * LANES):
            used = min(LANES, batch - sample)
            for b in range(of):
                at = b * BLOCK * length * LANES
                _to_rows(
                    rows, at, length, pad, x, source.shape, sample, b * channels + first, count
                )
            for a in range(into):
                column = a * channels + first
                for t in range(0, steps, TILE):
                    for i in range(count):
                        tile = load_tile(zeros, 0)
                        for b in range(of):
                            at = ((first + i) * kernels + a + b) * parts
                            row = (b * BLOCK + i) * length + pad + t
                            for j in range(at, at + parts):
                                s = (row + shifts[j]) * LANES
                                if taps == 1:
                                    tile = add_one_tap(tile, c, j, rows, s)
                                else:
                                    tile = add_five_taps(tile, c, j * PASS, rows, s)
                        store(sums, i * TILE * LANES, tile)
                    for u in range(min(TILE, steps - t)):
                        o = ((t + u) * batch + sample) * wide + column
                        if used == LANES and count == BLOCK:
                            tile = load_apart(sums, u * LANES, TILE * LANES)
                            store_apart(y, o, wide, turned(tile))
                        else:
                            for lane in range(used):
                                for i in range(count):
                                    y[o + lane * wide + i] = sums[(i * TILE + u) * LANES + lane]


@loop(parallel=True)
def correlated(out: NDArray, y: NDArray, source: NDArray, shift: NDArray, longest: int) -> None:
    """out[c, k, j, q] = Σ_t Σ_n y[t, n, a·C + c] · source[t + shift[c, k, j] + q, n, b·C + c].

    Shape:
        as in ``filtered``, with ``y`` in the place of its ``out``; out ``[C, K, J, 1 or PASS]``.
    """
    steps, batch, wide = y.shape
    channels, kernels, parts, taps = out.shape
    into, of = wide // channels, source.shape[2] // channels
    pad = longest + PASS
    length = (steps + TILE + 2 * pad) | 1
    result, shifts = out.reshape(-1), shift.reshape(-1)
    x, values = source.reshape(-1), y.reshape(-1)
    for block in prange((channels + BLOCK - 1) // BLOCK):
        first = block * BLOCK
        count = min(BLOCK, channels - first)
        rows, others = _empty_rows(length, source), _empty_rows(length, y)
        for sample in range(0, batch, LANES):
            for k in range(kernels):
                column = k * channels + first
                if k == 0 or of > 1:
                    _to_rows(rows, 0, length, pad, x, source.shape, sample, column, count)
                if k == 0 or into > 1:
                    _to_rows(others, 0, length, pad, values, y.shape, sample, column, count)
                for i in range(count):
                    at = ((first + i) * kernels + k) * parts
                    o = (i * length + pad) * LANES
                    for j in range(at, at + parts):
                        s = o + shifts[j] * LANES
                        if taps == 1:
                            result[j] += one_dot(others, o, rows, s, steps)
                        else:
                            d0, d1, d2, d3, d4 = five_dots(others, o, rows, s, steps)
                            q = j * PASS
                            result[q] += d0
                            result[q + 1] += d1
                            result[q + 2] += d2
                            result[q + 3] += d3
                            result[q + 4] += d4


@loop
def _tasks(channels, batch):
    """How many tasks there are, and how many of them share the samples of one block of channels."""
    slices = min(SLICES, (batch + LANES - 1) // LANES)
    return (channels + BLOCK - 1) // BLOCK * slices, slices


@loop
def _empty_rows(steps, like):
    """Silent rows of a block."""
    return aligned(np.zeros((BLOCK * steps + 1) * LANES, like.dtype))


@loop
def _to_rows(rows, at, length, pad, x, shape, sample, column, count):
    """``count`` channels from ``column`` on, of samples from ``sample`` on, as rows from ``at``."""
    steps, batch, wide = shape
    used = min(LANES, batch - sample)
    for t in range(steps):
        s, r = (t * batch + sample) * wide + column, at + (pad + t) * LANES
        if used == LANES and count == BLOCK:
            store_apart(rows, r, length * LANES, turned(load_apart(x, s, wide)))
        else:
            for i in range(count):
                for lane in range(LANES):
                    here = lane < used
                    rows[r + i * length * LANES + lane] = x[s + lane * wide + i] if here else 0
