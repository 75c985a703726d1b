"""The loops of ``ops/lif.py``, compiled by numba: one sweep over time, neurons side by side."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

# Neurons of a block: their state stays in the first-level cache for the whole sweep.
BLOCK = 512


@njit(parallel=True, cache=True)
def forward(
    spikes: NDArray,
    h: NDArray,
    x: NDArray,
    v_first: NDArray,
    decay: float,
    gain: float,
    v_threshold: float,
    v_reset: float,
    soft: bool,
) -> None:
    """All arrays ``[T, M]``, v_first ``[M]``; see ``ops/lif.py`` for the equations."""
    steps, cells = x.shape
    blocks = (cells + BLOCK - 1) // BLOCK
    kind = x.dtype.type
    beta, scale, threshold, rest = kind(decay), kind(gain), kind(v_threshold), kind(v_reset)
    one, zero = kind(1), kind(0)
    for block in prange(blocks):
        first = block * BLOCK
        count = min(cells - first, BLOCK)
        v = v_first[first : first + count].copy()
        for t in range(steps):
            xt = x[t, first : first + count]
            ht = h[t, first : first + count]
            st = spikes[t, first : first + count]
            for m in range(count):
                potential = rest + beta * (v[m] - rest) + scale * xt[m]
                fired = one if potential >= threshold else zero
                ht[m] = potential
                st[m] = fired
                if soft:
                    v[m] = potential - fired * threshold
                else:
                    v[m] = rest if fired != zero else potential


@njit(parallel=True, cache=True)
def backward(
    gx: NDArray,
    gv_first: NDArray,
    gspikes: NDArray,
    gh: NDArray,
    spikes: NDArray,
    h: NDArray,
    decay: float,
    gain: float,
    v_threshold: float,
    v_reset: float,
    soft: bool,
    detach_reset: bool,
    sigmoid: bool,
    alpha: float,
) -> None:
    """Arrays ``[T, M]``, gv_first ``[M]``; see ``ops/lif.py`` for the equations."""
    steps, cells = h.shape
    blocks = (cells + BLOCK - 1) // BLOCK
    kind = h.dtype.type
    beta, scale, threshold, rest = kind(decay), kind(gain), kind(v_threshold), kind(v_reset)
    one, steepness = kind(1), kind(alpha)
    half, bend = kind(alpha / 2), kind(math.pi / 2 * alpha)
    for block in prange(blocks):
        first = block * BLOCK
        count = min(cells - first, BLOCK)
        gv = np.zeros(count, h.dtype)
        for step in range(steps):
            t = steps - 1 - step
            ht = h[t, first : first + count]
            st = spikes[t, first : first + count]
            gst = gspikes[t, first : first + count]
            ght = gh[t, first : first + count]
            gxt = gx[t, first : first + count]
            for m in range(count):
                u = ht[m] - threshold
                if sigmoid:
                    s = one / (one + np.exp(-steepness * u))
                    slope = steepness * s * (one - s)
                else:
                    bent = bend * u
                    slope = half / (one + bent * bent)
                if soft:
                    through = one
                    if not detach_reset:
                        through -= threshold * slope
                else:
                    through = one - st[m]
                    if not detach_reset:
                        through += (rest - ht[m]) * slope
                g = ght[m] + gst[m] * slope + gv[m] * through
                gxt[m] = scale * g
                gv[m] = beta * g
        gv_first[first : first + count] = gv
