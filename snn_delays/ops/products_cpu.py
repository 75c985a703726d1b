"""Many matrix products at once, compiled by numba and run in parallel.

Each of them is too small to be shared out between threads, and libraries take half of the width of
some processors' registers.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from numba import prange
from numpy.typing import NDArray

from snn_delays.loops.loop import called, loop
from snn_delays.ops.outer_cpu import (
    HIGH,
    WIDE,
    load_high,
    load_high_wide,
    load_one,
    load_wide,
    outer_high,
    outer_high_wide,
    outer_one,
    outer_wide,
    store_high,
    store_low,
    zeros_high,
    zeros_high_wide,
    zeros_one,
    zeros_wide,
)
from snn_delays.ops.vectors import LANES

# What a task computes: a part of b stays in the second-level cache, one of a in the first.
ROWS, COLUMNS = 8 * HIGH, 8 * WIDE * LANES


def _tile(load: Any, zeros: Any, add_outer: Any, store: Any) -> Any:
    """How a tile of one size is computed, by what is made for that size."""

    @partial(called, inline=True)
    def compute(y, o, left, at, steps, right, place, depth, width, more):
        tile = load(y, o, width) if more else zeros(y)
        for k in range(depth):
            tile = add_outer(tile, left, at + k * steps[2], steps[1], right, place + k * width)
        store(y, o, width, tile)

    return compute


tile_high_wide = _tile(load_high_wide, zeros_high_wide, outer_high_wide, store_high)
tile_high = _tile(load_high, zeros_high, outer_high, store_high)
tile_wide = _tile(load_wide, zeros_wide, outer_wide, store_low)
tile_one = _tile(load_one, zeros_one, outer_one, store_low)


@loop(parallel=True)
def multiply(out: NDArray, a: NDArray, steps: tuple[int, int, int], b: NDArray, more: bool) -> None:
    """out[r, m, n] = Σ_k a[r · steps[0] + m · steps[1] + k · steps[2]] · b[r, k, n].

    Added to ``out`` if there is ``more`` in it, for which N has to be a multiple of LANES.

    Shape:
        out ``[R, M, N]``, a ``[…]`` in one row, b ``[R, K, N]``; N ≥ LANES.
    """
    count, height, width = out.shape
    y, left, right = out.reshape(-1), a.reshape(-1), b.reshape(-1)
    down, across = (height + ROWS - 1) // ROWS, (width + COLUMNS - 1) // COLUMNS
    for task in prange(count * down * across):
        r, rest = task // (down * across), task % (down * across)
        top, first = rest // across * ROWS, rest % across * COLUMNS
        bottom, end = min(height, top + ROWS), min(width, first + COLUMNS)
        n = first
        while n < end:
            wide = n + WIDE * LANES <= end
            # The last vector begins where it still fits: what two compute is the same.
            n = n if wide else min(n, width - LANES)
            m = top
            while m < bottom:
                high = m + HIGH <= bottom
                at, o = r * steps[0] + m * steps[1], (r * height + m) * width + n
                place = r * b.shape[1] * width + n
                if high and wide:
                    tile_high_wide(y, o, left, at, steps, right, place, b.shape[1], width, more)
                elif high:
                    tile_high(y, o, left, at, steps, right, place, b.shape[1], width, more)
                elif wide:
                    tile_wide(y, o, left, at, steps, right, place, b.shape[1], width, more)
                else:
                    tile_one(y, o, left, at, steps, right, place, b.shape[1], width, more)
                m += HIGH if high else 1
            n += WIDE * LANES if wide else LANES
