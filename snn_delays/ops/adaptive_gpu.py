"""The loops of ``ops/adaptive.py`` as kernels: a program sweeps over time for a block of neurons.

Called as ``ops/adaptive_cpu.py`` is, with tensors. Gradients of constants add up over time in
registers and over samples in one sum, always in the same order: equal runs give equal numbers.
"""

# Triton is not everywhere, and its language is not quite Python.
# pyright: reportMissingImports=false, reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from snn_delays.ops.launches import constants, launch
from snn_delays.ops.lif_gpu import after_reset
from snn_delays.ops.surrogates_gpu import slope


@triton.jit
def _cells(cells, c, size, there):
    alpha = tl.load(cells + c, mask=there, other=0.0)
    gain = tl.load(cells + size + c, mask=there, other=0.0)
    beta = tl.load(cells + 2 * size + c, mask=there, other=0.0)
    a = tl.load(cells + 3 * size + c, mask=there, other=0.0)
    b = tl.load(cells + 4 * size + c, mask=there, other=0.0)
    return alpha, gain, beta, a, b


@triton.jit(do_not_specialize=["steps"])
def _forward(
    spikes, h, w, v_last, x, v_first, w_first, cells, numbers, steps, many, size,
    SOFT: tl.constexpr, BEFORE: tl.constexpr, BLOCK: tl.constexpr, AHEAD: tl.constexpr,
):  # fmt: skip
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = m < many
    threshold, rest = tl.load(numbers), tl.load(numbers + 1)
    alpha, gain, beta, a, b = _cells(cells, m % size, size, there)
    v = tl.load(v_first + m, mask=there, other=0.0)
    drift = tl.load(w_first + m, mask=there, other=0.0)
    at = m.to(tl.int64)
    for _ in tl.range(steps, num_stages=AHEAD):
        current = tl.load(x + at, mask=there, other=0.0)
        potential = rest + alpha * (v - rest) + gain * (current - drift)
        fired, v = after_reset(potential, threshold, rest, SOFT)
        felt = potential if BEFORE else v
        spike = fired.to(potential.dtype)
        drift = beta * drift + a * (felt - rest) + b * spike
        tl.store(h + at, potential, mask=there)
        tl.store(spikes + at, spike, mask=there)
        tl.store(w + at, drift, mask=there)
        at += many
    tl.store(v_last + m, v, mask=there)


@triton.jit(do_not_specialize=["steps"])
def _backward(
    gx, gv_first, gw_first, gcells, gspikes, gv_last, gw_last, x, h, w, v_first, w_first, cells,
    numbers, steps, many, size,
    SOFT: tl.constexpr, BEFORE: tl.constexpr, DETACH: tl.constexpr, KIND: tl.constexpr,
    BLOCK: tl.constexpr, AHEAD: tl.constexpr,
):  # fmt: skip
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = m < many
    threshold, rest, sharpness = tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2)
    c = m % size
    alpha, gain, beta, a, b = _cells(cells, c, size, there)
    gv = tl.load(gv_last + m, mask=there, other=0.0)
    gw = tl.load(gw_last + m, mask=there, other=0.0)
    galpha, ggain, gbeta = tl.zeros_like(gv), tl.zeros_like(gv), tl.zeros_like(gv)
    ga, gb = tl.zeros_like(gv), tl.zeros_like(gv)
    first_v = tl.load(v_first + m, mask=there, other=0.0)
    first_w = tl.load(w_first + m, mask=there, other=0.0)
    at = m.to(tl.int64) + (steps - 1).to(tl.int64) * many
    for step in tl.range(steps, num_stages=AHEAD):
        earlier = there & (step < steps - 1)
        potential = tl.load(h + at, mask=there, other=0.0)
        current = tl.load(x + at, mask=there, other=0.0)
        gspike = tl.load(gspikes + at, mask=there, other=0.0)
        before = tl.load(h + at - many, mask=earlier, other=0.0)
        drift = tl.load(w + at - many, mask=earlier, other=0.0)
        drift = tl.where(earlier, drift, first_w)
        _, left = after_reset(before, threshold, rest, SOFT)
        v = tl.where(earlier, left, first_v)
        fired, after = after_reset(potential, threshold, rest, SOFT)
        bent = slope(potential - threshold, sharpness, KIND)
        spike = fired.to(potential.dtype)
        from_v = gv
        if not BEFORE:
            from_v += a * gw
        from_spike = gspike + b * gw
        if SOFT:
            by_v = from_v
            if not DETACH:
                from_spike -= from_v * threshold
        else:
            by_v = tl.where(fired, 0.0, from_v)
            if not DETACH:
                from_spike += from_v * (rest - potential)
        g = from_spike * bent + by_v
        if BEFORE:
            g += a * gw
            felt = potential
        else:
            felt = after
        ga += gw * (felt - rest)
        gb += gw * spike
        galpha += g * (v - rest)
        ggain += g * (current - drift)
        gbeta += gw * drift
        gw = beta * gw - gain * g
        gv = alpha * g
        tl.store(gx + at, gain * g, mask=there)
        at -= many
    tl.store(gv_first + m, gv, mask=there)
    tl.store(gw_first + m, gw, mask=there)
    own = gcells + (m // size).to(tl.int64) * 5 * size + c
    tl.store(own, galpha, mask=there)
    tl.store(own + size, ggain, mask=there)
    tl.store(own + 2 * size, gbeta, mask=there)
    tl.store(own + 3 * size, ga, mask=there)
    tl.store(own + 4 * size, gb, mask=there)


def forward(
    spikes: Tensor,
    h: Tensor,
    w: Tensor,
    v_last: Tensor,
    x: Tensor,
    v_first: Tensor,
    w_first: Tensor,
    cells: Tensor,
    v_threshold: float,
    v_reset: float,
    soft: bool,
    before: bool,
) -> None:
    """As ``adaptive_cpu.forward``."""
    steps, batch, size = x.shape
    numbers = constants((v_threshold, v_reset), x)
    launch(
        _forward, batch * size, spikes, h, w, v_last, x, v_first, w_first, cells, numbers,
        steps, batch * size, size, SOFT=soft, BEFORE=before,
    )  # fmt: skip


def backward(
    gx: Tensor,
    gv_first: Tensor,
    gw_first: Tensor,
    gcells: Tensor,
    gspikes: Tensor,
    gv_last: Tensor,
    gw_last: Tensor,
    x: Tensor,
    h: Tensor,
    w: Tensor,
    v_first: Tensor,
    w_first: Tensor,
    cells: Tensor,
    v_threshold: float,
    v_reset: float,
    soft: bool,
    before: bool,
    detach_reset: bool,
    surrogate: int,
    sharpness: float,
) -> None:
    """As ``adaptive_cpu.backward``."""
    steps, batch, size = x.shape
    numbers = constants((v_threshold, v_reset, sharpness), x)
    launch(
        _backward, batch * size, gx, gv_first, gw_first, gcells, gspikes, gv_last, gw_last,
        x, h, w, v_first, w_first, cells, numbers, steps, batch * size, size,
        SOFT=soft, BEFORE=before, DETACH=detach_reset, KIND=surrogate,
    )  # fmt: skip
