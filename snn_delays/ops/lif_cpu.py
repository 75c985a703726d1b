"""The loops of ``ops/lif.py``, compiled by numba: one sweep over time, neurons side by side."""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from snn_delays.interpolation import TINY
from snn_delays.loops.loop import loop, pasted
from snn_delays.ops.surrogates_cpu import slopes

# Neurons of a block: their state stays in the first-level cache for the whole sweep.
BLOCK = 512


@pasted
def step(h, fired, v, x, beta, scale, threshold, rest, soft, one, zero, tiny):
    """One step of a row of neurons: h and spikes (1 or 0) of currents scale · x, and v after it."""
    for m in range(len(v)):
        potential = rest + beta * (v[m] - rest) + scale * x[m]
        spike = one if potential >= threshold else zero
        potential = potential if abs(potential) > tiny else zero
        h[m] = potential
        fired[m] = spike
        if soft:
            v[m] = potential - spike * threshold
        else:
            v[m] = rest if spike != zero else potential


@pasted
def through_reset(g, gv, h, slope, threshold, rest, soft, detach_reset, one, zero):
    """g = ∂L/∂h of a row of neurons, as far as it comes through v after the reset."""
    if soft and detach_reset:
        for m in range(len(g)):
            g[m] = gv[m]
    elif soft:
        for m in range(len(g)):
            g[m] = gv[m] * (one - threshold * slope[m])
    elif detach_reset:
        for m in range(len(g)):
            g[m] = zero if h[m] >= threshold else gv[m]
    else:
        for m in range(len(g)):
            through = zero if h[m] >= threshold else one
            g[m] = gv[m] * (through + (rest - h[m]) * slope[m])


@loop(parallel=True)
def forward(
    spikes: NDArray,
    h: NDArray,
    v_last: NDArray,
    x: NDArray,
    v_first: NDArray,
    beta: float,
    gain: float,
    v_threshold: float,
    v_reset: float,
    soft: bool,
) -> None:
    """Arrays ``[T, M]``, v_first and v_last ``[M]``; see ``ops/lif.py`` for the equations."""
    steps, cells = x.shape
    blocks = (cells + BLOCK - 1) // BLOCK
    kind = x.dtype.type
    beta, scale, threshold, rest = kind(beta), kind(gain), kind(v_threshold), kind(v_reset)
    one, zero, tiny = kind(1), kind(0), kind(TINY)
    for block in prange(blocks):
        first = block * BLOCK
        count = min(cells - first, BLOCK)
        v = v_first[first : first + count].copy()
        for t in range(steps):
            xt = x[t, first : first + count]
            ht = h[t, first : first + count]
            st = spikes[t, first : first + count]
            step(ht, st, v, xt, beta, scale, threshold, rest, soft, one, zero, tiny)
        # Whole-array assignments would take two seconds more to compile.
        for m in range(count):
            v_last[first + m] = v[m]


@loop(parallel=True)
def backward(
    gx: NDArray,
    gv_first: NDArray,
    gspikes: NDArray,
    gh: NDArray,
    h: NDArray,
    beta: float,
    gain: float,
    v_threshold: float,
    v_reset: float,
    soft: bool,
    detach_reset: bool,
    surrogate: int,
    alpha: float,
) -> None:
    """Arrays ``[T, M]``, gspikes and gh perhaps ``[0, M]`` for none.

    gv_first ``[M]`` is ∂L/∂v after the last step, and becomes that before the first.
    """
    steps, cells = h.shape
    blocks = (cells + BLOCK - 1) // BLOCK
    kind = h.dtype.type
    beta, scale, threshold, rest = kind(beta), kind(gain), kind(v_threshold), kind(v_reset)
    one, zero, tiny = kind(1), kind(0), kind(TINY)
    for block in prange(blocks):
        first = block * BLOCK
        count = min(cells - first, BLOCK)
        gv = gv_first[first : first + count].copy()
        slope = np.empty(count, h.dtype)
        g = np.zeros(count, h.dtype)
        for step in range(steps):
            t = steps - 1 - step
            ht = h[t, first : first + count]
            gxt = gx[t, first : first + count]
            slopes(slope, ht, threshold, surrogate, alpha)
            # What comes through the reset, then from the spike, then from h itself.
            through_reset(g, gv, ht, slope, threshold, rest, soft, detach_reset, one, zero)
            if len(gspikes):
                gst = gspikes[t, first : first + count]
                for m in range(count):
                    g[m] += gst[m] * slope[m]
            if len(gh):
                ght = gh[t, first : first + count]
                for m in range(count):
                    g[m] += ght[m]
            for m in range(count):
                now = g[m] if abs(g[m]) > tiny else zero
                gxt[m] = scale * now
                gv[m] = beta * now
        for m in range(count):
            gv_first[first + m] = gv[m]
