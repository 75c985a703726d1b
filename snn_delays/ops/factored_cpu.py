"""The loops of ``ops/factored.py``, compiled by numba and run in parallel.

A task takes ``BLOCK`` channels of ``LANES`` samples to rows of [channel, step · LANES], in which a
shift by one step is a shift by one vector, as in ``ops/taps_cpu.py``. Rows have silence at both
ends, as long as the longest shift, and stay in the cache until all sums over them are made.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from snn_delays.loop import loop
from snn_delays.ops.taps_cpu import PASS, five_dots, one_dot
from snn_delays.ops.vectors import LANES, TILE, add_five_taps, add_one_tap, load_tile, store

BLOCK = 16  # channels: one cache line of float32s


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
    steps, batch, _ = out.shape
    channels, kernels, parts, taps = coefficients.shape
    into, of = out.shape[2] // channels, source.shape[2] // channels
    blocks, groups = (channels + BLOCK - 1) // BLOCK, (batch + LANES - 1) // LANES
    pad = longest + PASS
    made = (steps + TILE - 1) // TILE * TILE
    length = (made + 2 * pad) | 1  # in odd steps rows do not share sets of the cache
    c, shifts = coefficients.reshape(-1), shift.reshape(-1)
    for task in prange(blocks * groups):
        first, sample = task % blocks * BLOCK, task // blocks * LANES
        count, used = min(BLOCK, channels - first), min(LANES, batch - sample)
        rows = np.zeros((BLOCK * length + 1) * LANES, out.dtype)
        # A vector that crosses cache lines costs two: begin where a line does.
        rows = rows[-(rows.ctypes.data // rows.itemsize) % LANES :]
        sums = np.zeros(BLOCK * made * LANES, out.dtype)
        for k in range(kernels):
            if k == 0 or of > 1:
                _to_rows(rows, length, pad, source, sample, used, first + k * channels, count)
            if into > 1:
                sums[:] = 0
            for i in range(count):
                at = ((first + i) * kernels + k) * parts
                for t in range(0, made, TILE):
                    o = (i * made + t) * LANES
                    y = load_tile(sums, o)
                    for j in range(at, at + parts):
                        s = (i * length + pad + t + shifts[j]) * LANES
                        if taps == 1:
                            y = add_one_tap(y, c, j, rows, s)
                        else:
                            y = add_five_taps(y, c, j * PASS, rows, s)
                    store(sums, o, y)
            if k == kernels - 1 or into > 1:
                column = first + (k * channels if into > 1 else 0)
                for t in range(steps):
                    for lane in range(used):
                        numbers = out[t, sample + lane]
                        for i in range(count):
                            numbers[column + i] = sums[(i * made + t) * LANES + lane]


@loop(parallel=True)
def correlated(out: NDArray, y: NDArray, source: NDArray, shift: NDArray, longest: int) -> None:
    """out[c, k, j, q] = Σ_t Σ_n y[t, n, a·C + c] · source[t + shift[c, k, j] + q, n, b·C + c].

    Shape:
        as in ``filtered``, with ``y`` in the place of its ``out``; out ``[C, K, J, 1 or PASS]``.
    """
    steps, batch, _ = y.shape
    channels, kernels, parts, taps = out.shape
    into, of = y.shape[2] // channels, source.shape[2] // channels
    pad = longest + PASS
    length = (steps + 4 + 2 * pad) | 1
    result, shifts = out.reshape(-1), shift.reshape(-1)
    for block in prange((channels + BLOCK - 1) // BLOCK):
        first = block * BLOCK
        count = min(BLOCK, channels - first)
        rows = np.zeros((BLOCK * length + 1) * LANES, out.dtype)
        rows = rows[-(rows.ctypes.data // rows.itemsize) % LANES :]
        others = np.zeros(BLOCK * length * LANES, out.dtype)
        for sample in range(0, batch, LANES):
            used = min(LANES, batch - sample)
            if used < LANES:
                rows[:], others[:] = 0, 0
            for k in range(kernels):
                if k == 0 or of > 1:
                    _to_rows(rows, length, pad, source, sample, used, first + k * channels, count)
                if k == 0 or into > 1:
                    _to_rows(others, length, 0, y, sample, used, first + k * channels, count)
                for i in range(count):
                    at = ((first + i) * kernels + k) * parts
                    for j in range(at, at + parts):
                        o, s = i * length * LANES, (i * length + pad + shifts[j]) * LANES
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
def _to_rows(rows, length, pad, source, sample, used, column, count):
    """Channels from ``column`` on of samples from ``sample`` on, as rows."""
    for t in range(source.shape[0]):
        for lane in range(used):
            numbers = source[t, sample + lane]
            for i in range(count):
                rows[(i * length + pad + t) * LANES + lane] = numbers[column + i]
