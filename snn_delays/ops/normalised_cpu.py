"""The loops of ``ops/normalised.py``, compiled by numba: neurons side by side, steps one after the
other."""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from snn_delays.interpolation import TINY
from snn_delays.loops.loop import loop, pasted
from snn_delays.ops.lif_cpu import step, through_reset
from snn_delays.ops.surrogates_cpu import slopes

# Neurons of a block: what is kept of them stays in the cache for the whole sweep.
BLOCK = 1024


@pasted
def _of_neurons(constants, count):
    """Of each neuron of a block the constant of its channel."""
    found, channels = np.empty(count, constants.dtype), len(constants)
    for n in range(count // channels):
        for c in range(channels):
            found[n * channels + c] = constants[c]
    return found


@loop(parallel=True)
def forward(
    out: NDArray,
    counts: NDArray,
    starts: NDArray,
    v_last: NDArray,
    x: NDArray,
    v_first: NDArray,
    scale: NDArray,
    shift: NDArray,
    drop: NDArray,
    steps_kept: int,
    beta: float,
    v_threshold: float,
    v_reset: float,
    soft: bool,
) -> None:
    """Neurons of currents scale · x + shift; where one fires, out is ``drop``, elsewhere 0.

    Shape:
        of M neurons, N samples of C channels: x, out ``[T, M]``; v_first, v_last, drop ``[M]``;
        scale, shift ``[C]``; counts ``[T, N]``, spikes of each sample, or ``[0, N]``; starts
        ``[⌈T / steps_kept⌉, M]``, v before every so many steps, or ``[0, M]``.
    """
    steps, cells = x.shape
    channels = len(scale)
    size = max(1, BLOCK // channels) * channels
    kind = x.dtype.type
    beta, threshold, rest = kind(beta), kind(v_threshold), kind(v_reset)
    one, zero, tiny = kind(1), kind(0), kind(TINY)
    for block in prange((cells + size - 1) // size):
        first = block * size
        last = min(cells, first + size)
        count = last - first
        v = v_first[first:last].copy()
        of_drop = drop[first:last]
        scales, shifts = _of_neurons(scale, count), _of_neurons(shift, count)
        u, fired = np.empty(count, x.dtype), np.empty(count, x.dtype)
        for t in range(steps):
            if len(starts) and t % steps_kept == 0:
                kept = starts[t // steps_kept, first:last]
                for m in range(count):
                    kept[m] = v[m]
            xt, to = x[t, first:last], out[t, first:last]
            for m in range(count):
                u[m] = scales[m] * xt[m] + shifts[m]
            # No potential is needed any more: it takes the place of the current.
            step(u, fired, v, u, beta, one, threshold, rest, soft, one, zero, tiny)
            for m in range(count):
                to[m] = fired[m] * of_drop[m]
            if len(counts):
                for n in range(count // channels):
                    total = 0
                    for c in range(n * channels, (n + 1) * channels):
                        total += int(fired[c] != zero)
                    counts[t, first // channels + n] = total
        for m in range(count):
            v_last[first + m] = v[m]


@loop(parallel=True)
def backward(
    gu: NDArray,
    gv: NDArray,
    sums: NDArray,
    gout: NDArray,
    x: NDArray,
    starts: NDArray,
    mean: NDArray,
    scale: NDArray,
    shift: NDArray,
    drop: NDArray,
    steps_kept: int,
    beta: float,
    v_threshold: float,
    v_reset: float,
    soft: bool,
    detach_reset: bool,
    surrogate: int,
    alpha: float,
) -> None:
    """The gradient of scale · x + shift; gv ``[M]``, that of v after the last step, becomes that
    before the first, and sums ``[2, M]`` are those over time of gu and of gu · (x − mean).

    Shape:
        as in ``forward``; mean ``[C]``.
    """
    steps, cells = x.shape
    channels = len(scale)
    size = max(1, BLOCK // channels) * channels
    kind = x.dtype.type
    beta, threshold, rest = kind(beta), kind(v_threshold), kind(v_reset)
    one, zero, tiny = kind(1), kind(0), kind(TINY)
    for block in prange((cells + size - 1) // size):
        first = block * size
        last = min(cells, first + size)
        count = last - first
        of_drop, gvb = drop[first:last], gv[first:last]
        level, along = sums[0, first:last], sums[1, first:last]
        scales, shifts = _of_neurons(scale, count), _of_neurons(shift, count)
        means = _of_neurons(mean, count)
        for m in range(count):
            level[m] = zero
            along[m] = zero
        potentials = np.empty((steps_kept, count), x.dtype)
        v, u, fired = np.empty(count, x.dtype), np.empty(count, x.dtype), np.empty(count, x.dtype)
        g, slope = np.empty(count, x.dtype), np.empty(count, x.dtype)
        for part in range(len(starts)):
            start = (len(starts) - 1 - part) * steps_kept
            stop = min(steps, start + steps_kept)
            kept = starts[start // steps_kept, first:last]
            for m in range(count):
                v[m] = kept[m]
            for t in range(start, stop):
                xt, ht = x[t, first:last], potentials[t - start]
                for m in range(count):
                    u[m] = scales[m] * xt[m] + shifts[m]
                step(ht, fired, v, u, beta, one, threshold, rest, soft, one, zero, tiny)
            for back in range(stop - start):
                t = stop - 1 - back
                ht, xt = potentials[t - start], x[t, first:last]
                got, to = gout[t, first:last], gu[t, first:last]
                slopes(slope, ht, threshold, surrogate, alpha)
                # What comes through the reset, then from the spike.
                through_reset(g, gvb, ht, slope, threshold, rest, soft, detach_reset, one, zero)
                for m in range(count):
                    g[m] += got[m] * of_drop[m] * slope[m]
                for m in range(count):
                    now = g[m] if abs(g[m]) > tiny else zero
                    to[m] = now
                    gvb[m] = beta * now
                for m in range(count):
                    level[m] += to[m]
                for m in range(count):
                    along[m] += to[m] * (xt[m] - means[m])


@loop(parallel=True)
def finish(gx: NDArray, x: NDArray, of_gx: NDArray, of_x: NDArray, level: NDArray) -> None:
    """gx = of_gx · gx + of_x · x + level: ``[M, C]``, factors ``[C]``."""
    rows, channels = gx.shape
    for block in prange((rows + 63) // 64):
        for m in range(block * 64, min(rows, block * 64 + 64)):
            to, xm = gx[m], x[m]
            for c in range(channels):
                to[c] = of_gx[c] * to[c] + of_x[c] * xm[c] + level[c]
