"""The coefficients of ``ops/lowrank_blocks.py``, compiled by numba and run in parallel.

A square of ``LANES`` neurons post and pre at a time: polynomials of their delays, weights and sums
stay in the first-level cache. Shapes of even and of odd polynomials are apart, so that half of the
products by coefficients are left out.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from snn_delays.loops.loop import called, loop, pasted
from snn_delays.ops.vectors import (
    LANES,
    add_one_tap,
    fma,
    load,
    load_apart,
    load_left,
    load_square,
    splat,
    store,
    store_apart,
    store_left,
    turned,
)

SQUARE = LANES * LANES  # numbers
CHUNK = 16  # squares of a task
# What a task keeps beside its sums: weights, u, two results, zeros, and one to hand over.
W, U, SUM, SLOPE_SUM, ZERO, HAND = range(6)
KEPT = 6


@loop(parallel=True)
def mix(
    out: NDArray,
    weight: NDArray,
    u: NDArray,
    series: NDArray,
    even: int,
    numbers: NDArray,
    columns: bool,
) -> None:
    """out[r] = Σ_k weight[k] · Σ_m series[r, m] · T_m(u[k]).

    Shape:
        weight, u ``[K, post, pre]``, series ``[rank, terms]``, the first ``even`` with T_0, T_2, …
        alone and the others with T_1, T_3, …; out ``[rank, post, pre]``, or ``[pre, rank, post]``
        if ``columns``; numbers −1, 0, 1, 2, … terms.
    """
    kernels, post, pre = weight.shape
    rank, terms = series.shape
    down, across = (post + LANES - 1) // LANES, (pre + CHUNK * LANES - 1) // (CHUNK * LANES)
    y, c = out.reshape(-1), series.reshape(-1)
    values, places = weight.reshape(-1), u.reshape(-1)
    step = rank * post if columns else pre
    for task in prange(down * across):
        o, chunk = task // across * LANES, task % across * CHUNK * LANES
        work = np.zeros((KEPT + terms) * SQUARE, out.dtype)
        sums = KEPT * SQUARE
        high = min(LANES, post - o)
        for i in range(chunk, min(pre, chunk + CHUNK * LANES), LANES):
            wide = min(LANES, pre - i)
            for k in range(kernels):
                at = (k * post + o) * pre + i
                _take(work, W, values, at, pre, high, wide, columns)
                _take(work, U, places, at, pre, high, wide, columns)
                _series(work, sums, numbers, terms, k == 0)
            for r in range(rank):
                tile = load_square(work, ZERO * SQUARE)
                for m in range(0 if r < even else 1, terms, 2):
                    tile = add_one_tap(tile, c, r * terms + m, work, sums + m * SQUARE)
                at = (i * rank + r) * post + o if columns else (r * post + o) * pre + i
                if high == LANES and wide == LANES:
                    store_apart(y, at, step, tile)
                else:
                    store(work, HAND * SQUARE, tile)
                    rows, left = (wide, high) if columns else (high, wide)
                    _copy(y, at, step, work, HAND * SQUARE, LANES, rows, left)


@loop(parallel=True)
def unmix(
    gweight: NDArray,
    gu: NDArray,
    grad: NDArray,
    weight: NDArray,
    u: NDArray,
    series: NDArray,
    even: int,
    numbers: NDArray,
    columns: bool,
) -> None:
    """The gradients of ``weight`` and u from ``grad``, that of ``mix``'s ``out``.

    Shape:
        as of ``mix``, but series ``[terms, rank]``.
    """
    kernels, post, pre = weight.shape
    terms, rank = series.shape
    down, across = (post + LANES - 1) // LANES, (pre + CHUNK * LANES - 1) // (CHUNK * LANES)
    y, c = grad.reshape(-1), series.reshape(-1)
    values, places = weight.reshape(-1), u.reshape(-1)
    to_weight, to_u = gweight.reshape(-1), gu.reshape(-1)
    step = rank * post if columns else pre
    for task in prange(down * across):
        o, chunk = task // across * LANES, task % across * CHUNK * LANES
        work = np.zeros((KEPT + terms + rank) * SQUARE, grad.dtype)
        sums, ours = KEPT * SQUARE, (KEPT + terms) * SQUARE
        high = min(LANES, post - o)
        for i in range(chunk, min(pre, chunk + CHUNK * LANES), LANES):
            wide = min(LANES, pre - i)
            for r in range(rank):
                at = (i * rank + r) * post + o if columns else (r * post + o) * pre + i
                if high == LANES and wide == LANES:
                    store(work, ours + r * SQUARE, load_apart(y, at, step))
                else:
                    rows, left = (wide, high) if columns else (high, wide)
                    _copy(work, ours + r * SQUARE, LANES, y, at, step, rows, left)
            for m in range(terms):
                tile = load_square(work, ZERO * SQUARE)
                for r in range(even) if m % 2 == 0 else range(even, rank):
                    tile = add_one_tap(tile, c, m * rank + r, work, ours + r * SQUARE)
                store(work, sums + m * SQUARE, tile)
            for k in range(kernels):
                at = (k * post + o) * pre + i
                _take(work, W, values, at, pre, high, wide, columns)
                _take(work, U, places, at, pre, high, wide, columns)
                _sums(work, sums, numbers, terms)
                _give(to_weight, at, pre, work, SUM, high, wide, columns)
                _give(to_u, at, pre, work, SLOPE_SUM, high, wide, columns)


@called
def _take(work, number, source, at, step, high, wide, columns):
    """A square of rows post, turned if ``columns``; zeros beyond the last."""
    to = number * SQUARE
    if high == LANES and wide == LANES:
        tile = load_apart(source, at, step)
    else:
        for a in range(LANES):
            store(work, to + a * LANES, load_left(source, at + a * step, wide if a < high else 0))
        tile = load_square(work, to)
    store(work, to, turned(tile) if columns else tile)


@called
def _give(out, at, step, work, number, high, wide, columns):
    """The reverse."""
    of = number * SQUARE
    tile = load_square(work, of)
    if columns:
        tile = turned(tile)
    if high == LANES and wide == LANES:
        store_apart(out, at, step, tile)
    else:
        store(work, HAND * SQUARE, tile)
        _copy(out, at, step, work, HAND * SQUARE, LANES, high, wide)


@pasted
def _copy(out, to, out_step, source, at, step, rows, left):
    """The first ``left`` numbers of each of some rows."""
    for a in range(rows):
        store_left(out, to + a * out_step, left, load_left(source, at + a * step, left))


@pasted
def _series(work, sums, numbers, terms, first):
    """sums[m] = w · T_m(u), added up over k."""
    zero, minus, two = splat(numbers[1]), splat(numbers[0]), splat(numbers[3])
    for n in range(0, SQUARE, LANES):
        last, u = load(work, W * SQUARE + n), load(work, U * SQUARE + n)
        now, twice = fma(last, u, zero), fma(two, u, zero)
        at = sums + n
        for _ in range(terms):
            store(work, at, last if first else fma(minus, fma(minus, last, zero), load(work, at)))
            last, now = now, fma(twice, now, fma(minus, last, zero))
            at += SQUARE


@pasted
def _sums(work, sums, numbers, terms):
    """Σ_m sums[m] · T_m(u), and w · Σ_m sums[m] · T'_m(u), where T'_m = m · U_{m − 1}."""
    zero, minus, two = splat(numbers[1]), splat(numbers[0]), splat(numbers[3])
    for n in range(0, SQUARE, LANES):
        u = load(work, U * SQUARE + n)
        twice = fma(two, u, zero)
        last, now = splat(numbers[2]), u
        of_last, of_now = zero, splat(numbers[2])
        total, slope = load(work, sums + n), zero
        at = sums + n
        for m in range(1, terms):
            at += SQUARE
            one = load(work, at)
            total = fma(one, now, total)
            slope = fma(fma(one, splat(numbers[m + 1]), zero), of_now, slope)
            last, now = now, fma(twice, now, fma(minus, last, zero))
            of_last, of_now = of_now, fma(twice, of_now, fma(minus, of_last, zero))
        store(work, SUM * SQUARE + n, total)
        store(work, SLOPE_SUM * SQUARE + n, fma(slope, load(work, W * SQUARE + n), zero))
