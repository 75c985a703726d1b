"""The loops of ``ops/lif.py`` as kernels: a program sweeps over time for a block of neurons.

Called as ``ops/lif_cpu.py`` is, with tensors. What has become tiny is not set to 0 here: on GPUs it
costs no time.
"""

# Triton is not everywhere, and its language is not quite Python.
# pyright: reportMissingImports=false, reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from snn_delays.ops.launches import constants, launch
from snn_delays.ops.surrogates_gpu import slope


@triton.jit
def after_reset(potential, threshold, rest, SOFT: tl.constexpr):
    """Whether neurons fire, and v once they have."""
    fired = potential >= threshold
    if SOFT:
        v = tl.where(fired, potential - threshold, potential)
    else:
        v = tl.where(fired, rest, potential)
    return fired, v


@triton.jit(do_not_specialize=["steps"])
def _forward(
    spikes, h, v_last, x, v_first, numbers, steps, cells,
    SOFT: tl.constexpr, BLOCK: tl.constexpr, AHEAD: tl.constexpr,
):  # fmt: skip
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = m < cells
    beta, gain = tl.load(numbers), tl.load(numbers + 1)
    threshold, rest = tl.load(numbers + 2), tl.load(numbers + 3)
    v = tl.load(v_first + m, mask=there, other=0.0)
    at = m.to(tl.int64)
    for _ in tl.range(steps, num_stages=AHEAD):
        current = tl.load(x + at, mask=there, other=0.0)
        potential = rest + beta * (v - rest) + gain * current
        fired, v = after_reset(potential, threshold, rest, SOFT)
        tl.store(h + at, potential, mask=there)
        tl.store(spikes + at, fired.to(potential.dtype), mask=there)
        at += cells
    tl.store(v_last + m, v, mask=there)


@triton.jit(do_not_specialize=["steps"])
def _backward(
    gx, gv_first, gspikes, gh, h, numbers, steps, cells,
    FROM_SPIKES: tl.constexpr, FROM_H: tl.constexpr, SOFT: tl.constexpr, DETACH: tl.constexpr,
    KIND: tl.constexpr, BLOCK: tl.constexpr, AHEAD: tl.constexpr,
):  # fmt: skip
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = m < cells
    beta, gain = tl.load(numbers), tl.load(numbers + 1)
    threshold, rest, alpha = tl.load(numbers + 2), tl.load(numbers + 3), tl.load(numbers + 4)
    gv = tl.load(gv_first + m, mask=there, other=0.0)
    at = m.to(tl.int64) + (steps - 1).to(tl.int64) * cells
    for _ in tl.range(steps, num_stages=AHEAD):
        potential = tl.load(h + at, mask=there, other=0.0)
        bent = slope(potential - threshold, alpha, KIND)
        # What comes through the reset, then from the spike, then from h itself.
        if SOFT:
            g = gv
            if not DETACH:
                g = gv * (1.0 - threshold * bent)
        else:
            g = tl.where(potential >= threshold, 0.0, gv)
            if not DETACH:
                g += gv * (rest - potential) * bent
        if FROM_SPIKES:
            g += tl.load(gspikes + at, mask=there, other=0.0) * bent
        if FROM_H:
            g += tl.load(gh + at, mask=there, other=0.0)
        tl.store(gx + at, gain * g, mask=there)
        gv = beta * g
        at -= cells
    tl.store(gv_first + m, gv, mask=there)


def forward(
    spikes: Tensor,
    h: Tensor,
    v_last: Tensor,
    x: Tensor,
    v_first: Tensor,
    beta: float | Tensor,
    gain: float | Tensor,
    v_threshold: float,
    v_reset: float,
    soft: bool,
) -> None:
    """As ``lif_cpu.forward``; beta and gain may lie on the GPU."""
    steps, cells = x.shape
    numbers = constants((beta, gain, v_threshold, v_reset), x)
    launch(_forward, cells, spikes, h, v_last, x, v_first, numbers, steps, cells, SOFT=soft)


def backward(
    gx: Tensor,
    gv_first: Tensor,
    gspikes: Tensor,
    gh: Tensor,
    h: Tensor,
    beta: float | Tensor,
    gain: float | Tensor,
    v_threshold: float,
    v_reset: float,
    soft: bool,
    detach_reset: bool,
    surrogate: int,
    alpha: float,
) -> None:
    """As ``lif_cpu.backward``."""
    steps, cells = h.shape
    numbers = constants((beta, gain, v_threshold, v_reset, alpha), h)
    launch(
        _backward, cells, gx, gv_first, gspikes, gh, h, numbers, steps, cells,
        FROM_SPIKES=len(gspikes) > 0, FROM_H=len(gh) > 0, SOFT=soft, DETACH=detach_reset,
        KIND=surrogate,
    )  # fmt: skip
