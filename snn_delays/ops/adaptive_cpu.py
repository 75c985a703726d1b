"""The loops of ``ops/adaptive.py``, compiled by numba: a step of a row of neurons, and sweeps."""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from snn_delays.interpolation import TINY
from snn_delays.loops.loop import loop, pasted
from snn_delays.ops.surrogates_cpu import slopes


@pasted
def step_forward(
    h: NDArray,
    spikes: NDArray,
    v: NDArray,
    w: NDArray,
    current: NDArray,
    cells: NDArray,
    threshold: float,
    rest: float,
    soft: bool,
    before: bool,
) -> None:
    """One step of a row of neurons: h and spikes of it; v and w go from those of the last step to
    those of this one.

    Shape:
        all ``[M]``, but cells ``[5, M]``: alpha, gain, beta, a and b.
    """
    alpha, gain, beta, a, b = cells[0], cells[1], cells[2], cells[3], cells[4]
    one, zero, tiny = h.dtype.type(1), h.dtype.type(0), h.dtype.type(TINY)
    for m in range(len(h)):
        potential = rest + alpha[m] * (v[m] - rest) + gain[m] * (current[m] - w[m])
        potential = potential if abs(potential) > tiny else zero
        fired = one if potential >= threshold else zero
        h[m] = potential
        spikes[m] = fired
        left = rest if fired != zero else potential
        v[m] = potential - fired * threshold if soft else left
    for m in range(len(h)):
        felt = h[m] if before else v[m]
        drift = beta[m] * w[m] + a[m] * (felt - rest) + b[m] * spikes[m]
        w[m] = drift if abs(drift) > tiny else zero


@pasted
def step_backward(
    gh: NDArray,
    gv: NDArray,
    gw: NDArray,
    gcells: NDArray,
    slope: NDArray,
    gspikes: NDArray,
    h: NDArray,
    v: NDArray,
    w: NDArray,
    current: NDArray,
    cells: NDArray,
    threshold: float,
    rest: float,
    soft: bool,
    before: bool,
    detach_reset: bool,
    surrogate: int,
    sharpness: float,
) -> None:
    """gh from what comes of the later steps, gspikes, gv and gw; these become those of the step
    before. To gcells is added.

    Shape:
        as in ``step_forward``; v, w those before the step; ``slope`` to work with.
    """
    alpha, gain, beta, a, b = cells[0], cells[1], cells[2], cells[3], cells[4]
    one, zero, tiny = h.dtype.type(1), h.dtype.type(0), h.dtype.type(TINY)
    slopes(slope, h, threshold, surrogate, sharpness)
    for m in range(len(h)):
        fired = one if h[m] >= threshold else zero
        left = rest if fired != zero else h[m]
        after = h[m] - fired * threshold if soft else left
        from_v = gv[m] + (zero if before else a[m] * gw[m])
        by_reset = -threshold if soft else rest - h[m]
        from_spike = gspikes[m] + b[m] * gw[m] + (zero if detach_reset else from_v * by_reset)
        g = from_spike * slope[m] + from_v * (one if soft else one - fired)
        g += a[m] * gw[m] if before else zero
        gh[m] = g if abs(g) > tiny else zero
        gcells[3, m] += gw[m] * ((h[m] if before else after) - rest)
        gcells[4, m] += gw[m] * fired
    for m in range(len(h)):
        gcells[0, m] += gh[m] * (v[m] - rest)
        gcells[1, m] += gh[m] * (current[m] - w[m])
        gcells[2, m] += gw[m] * w[m]
        gw[m] = beta[m] * gw[m] - gain[m] * gh[m]
        gv[m] = alpha[m] * gh[m]


@loop(parallel=True)
def forward(
    spikes: NDArray,
    h: NDArray,
    w: NDArray,
    v_last: NDArray,
    x: NDArray,
    v_first: NDArray,
    w_first: NDArray,
    cells: NDArray,
    v_threshold: float,
    v_reset: float,
    soft: bool,
    before: bool,
) -> None:
    """Arrays ``[T, N, C]``, v_first, v_last and w_first ``[N, C]``, cells ``[5, C]``."""
    steps, batch, _ = x.shape
    kind = x.dtype.type
    threshold, rest = kind(v_threshold), kind(v_reset)
    for n in prange(batch):
        v, drift = v_first[n].copy(), w_first[n].copy()
        for t in range(steps):
            step_forward(
                h[t, n], spikes[t, n], v, drift, x[t, n], cells, threshold, rest, soft, before
            )
            w[t, n] = drift
        v_last[n] = v


@loop(parallel=True)
def backward(
    gx: NDArray,
    gv_first: NDArray,
    gw_first: NDArray,
    gcells: NDArray,
    gspikes: NDArray,
    gv_last: NDArray,
    gw_last: NDArray,
    x: NDArray,
    h: NDArray,
    w: NDArray,
    v_first: NDArray,
    w_first: NDArray,
    cells: NDArray,
    v_threshold: float,
    v_reset: float,
    soft: bool,
    before: bool,
    detach_reset: bool,
    surrogate: int,
    sharpness: float,
) -> None:
    """As ``forward``; gcells ``[N, 5, C]``, of each sample."""
    steps, batch, size = x.shape
    kind = x.dtype.type
    threshold, rest = kind(v_threshold), kind(v_reset)
    for n in prange(batch):
        gv, gw = gv_last[n].copy(), gw_last[n].copy()
        gh, slope, v = np.empty(size, x.dtype), np.empty(size, x.dtype), np.empty(size, x.dtype)
        gain = cells[1]
        for step in range(steps):
            t = steps - 1 - step
            if t:
                after_reset(v, h[t - 1, n], threshold, rest, soft)
            else:
                v[:] = v_first[n]
            step_backward(
                gh, gv, gw, gcells[n], slope, gspikes[t, n], h[t, n], v,
                w[t - 1, n] if t else w_first[n], x[t, n], cells, threshold, rest, soft, before,
                detach_reset, surrogate, sharpness,
            )  # fmt: skip
            for c in range(size):
                gx[t, n, c] = gain[c] * gh[c]
        gv_first[n], gw_first[n] = gv, gw


@pasted
def after_reset(v: NDArray, h: NDArray, threshold: float, rest: float, soft: bool) -> None:
    """v of a row of neurons from h."""
    zero = h.dtype.type(0)
    for m in range(len(h)):
        fired = h[m] >= threshold
        if soft:
            v[m] = h[m] - (threshold if fired else zero)
        else:
            v[m] = rest if fired else h[m]
