"""The loops of ``ops/depthwise.py``, compiled by numba and run in parallel.

The plane of one channel of one sample stays in the first-level cache, with a margin of zeros around
it, while a tile of outputs, some rows high and one vector wide, is summed up in registers. A *part*
is one tap, or two or four taps one under the other, which share their rows: a bilinear element is
two parts. A part that meets nothing but the margin is skipped, so that the margin need not be
larger than a tile, however large the kernel is.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numba import prange
from numpy.typing import NDArray

from snn_delays.loops.loop import called, loop
from snn_delays.ops.vectors import (
    LANES,
    SHORT,
    TALL,
    add_dots,
    add_four_rows,
    add_one_row,
    add_two_rows,
    load,
    load_short,
    load_strip,
    load_tall,
    load_two,
    store,
    store_apart,
    total,
)

MARGIN = TALL + 2  # rows around a plane: a tile and the taps below it see a row of the plane yet
# Tasks that a call is divided into, at least: where channels are few, by samples too.
TASKS = 32


@loop(parallel=True)
def accumulate(
    out: NDArray,
    source: NDArray,
    bias: NDArray,
    down: NDArray,
    right: NDArray,
    coefficients: NDArray,
) -> None:
    """out[n, c, i, j] = bias + Σ_p Σ_q coefficients[c, p, q] · source[n, c, i + down + q, …].

    Shape:
        out ``[N, C, H, W]``, source ``[N, C, H', W']``, which is 0 outside; bias ``[C]``; down,
        right ``[C, P]``; coefficients ``[C, P, 1, 2 or 4]``. All contiguous.
    """
    batch, channels, height, width = out.shape
    slices = min(batch, (TASKS + channels - 1) // channels)
    rows, columns, factors = down.reshape(-1), right.reshape(-1), coefficients.reshape(-1)
    for task in prange(channels * slices):
        channel = task // slices
        plane = _plane(source)
        sums, first = np.full((2, TALL * LANES), bias[channel])
        for n in range(task % slices, batch, slices):
            _fill(plane, source[n, channel])
            image = out[n, channel]
            for i in range(0, height, TALL):
                tall = height - i > SHORT
                for j in range(0, width, LANES):
                    place = (channel, i, j)
                    if tall:
                        tile = load_tall(first, 0, LANES)
                        tile = _sum(
                            tile, TALL, place, plane, source, rows, columns, coefficients, factors
                        )
                        store_apart(sums, 0, LANES, tile)
                    else:
                        tile = load_short(first, 0, LANES)
                        tile = _sum(
                            tile, SHORT, place, plane, source, rows, columns, coefficients, factors
                        )
                        store_apart(sums, 0, LANES, tile)
                    for a in range(min(TALL, height - i)):
                        for b in range(min(LANES, width - j)):
                            image[i + a, j + b] = sums[a * LANES + b]


@loop(parallel=True)
def correlate(out: NDArray, y: NDArray, source: NDArray, down: NDArray, right: NDArray) -> None:
    """out[s, c, p, q] = Σ_n Σ_i Σ_j y[n, c, i, j] · source[n, c, i + down[c, p] + q, j + right].

    Shape:
        out ``[S, C, P, 1, 2 or 4]``, whose sum over slices is asked for; the others as in
        ``accumulate``, with ``y`` in the place of its ``out``.
    """
    batch, channels, height, width = y.shape
    slices, _, parts, taps = out.shape
    rows, columns = down.reshape(-1), right.reshape(-1)
    wide = (width + LANES - 1) // LANES * LANES
    for task in prange(channels * slices):
        channel = task // slices
        plane = _plane(source)
        image = np.zeros((height + TALL) * wide, y.dtype)
        sums = np.zeros(parts * taps * LANES, out.dtype)
        for n in range(task % slices, batch, slices):
            _fill(plane, source[n, channel])
            for i in range(height):
                for j in range(width):
                    image[i * wide + j] = y[n, channel, i, j]
            for i in range(0, height, TALL):
                tall = height - i > SHORT
                for j in range(0, width, LANES):
                    place = (channel, i, j)
                    if tall:
                        tile = load_tall(image, i * wide + j, wide)
                        _dots(sums, tile, TALL, place, plane, source, rows, columns, out)
                    else:
                        tile = load_short(image, i * wide + j, wide)
                        _dots(sums, tile, SHORT, place, plane, source, rows, columns, out)
        for p in range(parts):
            for q in range(taps):
                out[task % slices, channel, p, q] = total(load(sums, (p * taps + q) * LANES))


def slices(batch: int, channels: int) -> int:
    """Into how many sums ``correlate`` divides that over samples, whatever the thread count."""
    return max(1, min(batch, (TASKS + channels - 1) // max(1, channels)))


@called
def _plane(source):
    """Room for one plane: a margin of rows above and below, and a vector between rows."""
    height, width = source.shape[2:]
    stride = _stride(width)
    return np.zeros((height + 2 * MARGIN) * stride + 2 * LANES, source.dtype)


@partial(called, inline=True)
def _stride(width):
    return (width + 2 * LANES - 1) // LANES * LANES


@called
def _fill(plane, image):
    height, width = image.shape
    stride = _stride(width)
    for i in range(height):
        at = (MARGIN + i) * stride + LANES
        for j in range(width):
            plane[at + j] = image[i, j]


@partial(called, inline=True)
def _sum(tile, count, place, plane, source, rows, columns, coefficients, factors):
    """The tile of outputs from (i, j) on, by all parts of the channel."""
    channel, i, j = place
    height, width = source.shape[2:]
    parts, taps = coefficients.shape[1:]
    stride = _stride(width)
    # As unsigned numbers, a place before the margin is one far behind it.
    reach = np.uint64(count + taps - 2)
    last, most = np.uint64(height + count + taps - 2), np.uint64(width + LANES - 1)
    for p in range(channel * parts, (channel + 1) * parts):
        row, column = i + rows[p], j + columns[p]
        if np.uint64(row) + reach >= last or np.uint64(column) + np.uint64(LANES - 1) >= most:
            continue
        at = (MARGIN + row) * stride + LANES + column
        if taps == 1:
            tile = add_one_row(tile, factors, p, plane, at, stride)
        elif taps == 2:
            tile = add_two_rows(tile, factors, 2 * p, plane, at, stride)
        else:
            tile = add_four_rows(tile, factors, 4 * p, plane, at, stride)
    return tile


@partial(called, inline=True)
def _dots(sums, tile, count, place, plane, source, rows, columns, out):
    """Products of the tile at (i, j) with what all parts of the channel see from there."""
    channel, i, j = place
    height, width = source.shape[2:]
    parts, taps = out.shape[2:]
    stride = _stride(width)
    reach = np.uint64(count + taps - 2)
    last, most = np.uint64(height + count + taps - 2), np.uint64(width + LANES - 1)
    for p in range(parts):
        row, column = i + rows[channel * parts + p], j + columns[channel * parts + p]
        if np.uint64(row) + reach >= last or np.uint64(column) + np.uint64(LANES - 1) >= most:
            continue
        at = (MARGIN + row) * stride + LANES + column
        if taps == 1:
            o = p * LANES
            store(sums, o, add_dots(load(sums, o), tile, plane, at, stride))
        elif taps == 2:
            o = 2 * p * LANES
            store(sums, o, add_dots(load_two(sums, o), tile, plane, at, stride))
        else:
            o = 4 * p * LANES
            store(sums, o, add_dots(load_strip(sums, o), tile, plane, at, stride))
