"""Neurons that a second variable w makes adapt or resonate, over a whole sequence.

    h[t] = v_reset + alpha · (v[t−1] − v_reset) + gain · (I[t] − w[t−1])
    s[t] = 1 if h[t] ≥ v_threshold else 0
    v[t] = v_reset where s[t] = 1, h[t] elsewhere        (hard reset)
    v[t] = h[t] − v_threshold · s[t]                     (soft reset)
    w[t] = beta · w[t−1] + a · (u[t] − v_reset) + b · s[t],   u = h (before the reset) or v (after)

AdLIF, cAdLIF and SiLIF (gain = 1 − alpha, soft, before), SE-adLIF (gain = 1 − alpha, hard, after)
and, with a = b = 0, LIF. In their papers w[t] is what w[t−1] is here: made of the last step alone.

Backward, with the surrogate's slope σ'(h − v_threshold) in place of the step's and what is added
only where it applies,

    gv[t] = alpha · gh[t+1] + a · gw[t]                            (after)
    gs[t] = … + b · gw[t] + gv[t] · ∂v/∂s                          (unless the reset is detached)
    gh[t] = gs[t] · σ' + gv[t] · ∂v/∂h + a · gw[t]                 (before)
    gw[t−1] = beta · gw[t] − gain · gh[t]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_delays.ops.compiled import Loops
from snn_delays.ops.lif import Firing, after_reset
from snn_delays.ops.surrogates import spikes_of
from snn_delays.ops.twice import gradients, in_torch

# Where there are none, the loop in torch serves.
LOOPS = Loops(cpu="adaptive_cpu", cuda="adaptive_gpu")


class Cell(NamedTuple):
    """Neurons: their constants, and what they remember.

    Args:
        alpha, gain, beta, a, b: of each neuron ``[C]``, or one for all.
        v, w: ``[N, C]``.
        firing: when they fire, and what becomes of v.
        before: whether w feels h, before the reset, or v.
        adapts: whether there is any w at all.
    """

    alpha: Tensor
    gain: Tensor
    beta: Tensor
    a: Tensor
    b: Tensor
    v: Tensor
    w: Tensor
    firing: Firing
    before: bool = False
    adapts: bool = True


def covers(x: Tensor) -> bool:
    """Whether compiled loops take currents x ``[T, N, C]``."""
    return x.numel() > 0 and LOOPS.take(x)


def scan(
    x: Tensor, cell: Cell, fire: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes ``[T, N, C]``, and v and w ``[N, C]`` after the last step; the loop in torch alone.

    Args:
        fire: spikes of h − v_threshold; None takes the cell's surrogate.
    """
    alpha, gain, beta, a, b, v, w, firing, before, _ = cell
    found = []
    for current in x.unbind(0):
        h = firing.v_reset + alpha * (v - firing.v_reset) + gain * (current - w)
        if fire is None:
            spikes = spikes_of(h, firing.v_threshold, firing.surrogate, firing.alpha)
        else:
            spikes = fire(h - firing.v_threshold)
        v = after_reset(h, spikes, firing)
        w = beta * w + a * ((h if before else v) - firing.v_reset) + b * spikes
        found.append(spikes)
    return torch.stack(found), v, w


def sweep(x: Tensor, cell: Cell) -> tuple[Tensor, Tensor, Tensor]:
    """``scan`` in compiled loops, with gradients to x and to all tensors of the cell."""
    states = [one.to(x).expand(x.shape[1:]) for one in (cell.v, cell.w)]
    flat = [one.flatten(1) for one in states]
    tensors = (*constants_of(cell, x.shape[2:].numel(), x), *flat)
    spikes, *last = _Sweep.apply(x.flatten(2), *tensors, cell.firing, cell.before)  # pyright: ignore[reportGeneralTypeIssues]
    v, w = (one.view(x.shape[1:]) for one in last)
    return spikes.view(x.shape), v, w


def constants_of(cell: Cell, size: int, like: Tensor) -> list[Tensor]:
    """alpha, gain, beta, a and b ``[C]``, in the precision of ``like``."""
    return [one.to(like).expand(size) for one in cell[:5]]


class _Sweep(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
        *tensors, firing, before = rest
        cells, (v, w) = torch.stack(tensors[:5]), tensors[5:]
        spikes, h, drift = (x.new_empty(x.shape) for _ in range(3))
        v_last = torch.empty_like(v, memory_format=torch.contiguous_format)
        inputs = [one.detach().contiguous() for one in (x, v, w, cells)]
        LOOPS.call("forward", spikes, h, drift, v_last, *inputs, *firing[:3], before)
        ctx.firing, ctx.before = firing, before
        ctx.save_for_backward(h, drift, x, *tensors)
        return spikes, v_last, drift[-1].clone()

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        h, drift, x, *tensors = ctx.saved_tensors
        firing: Firing = ctx.firing
        if in_torch(grads[0]):
            return *_twice(x, tensors, firing, ctx.before, ctx.needs_input_grad, grads), None, None
        cells, (v, w) = torch.stack(tensors[:5]), tensors[5:]
        gx, gcells = x.new_empty(x.shape), x.new_zeros(len(v), *cells.shape)
        states = [torch.empty_like(v, memory_format=torch.contiguous_format) for _ in range(2)]
        inputs = [one.detach().contiguous() for one in (*grads, x, h, drift, v, w, cells)]
        settings = (*firing[:3], ctx.before, *firing[3:])
        LOOPS.call("backward", gx, *states, gcells, *inputs, *settings)
        return gx, *gcells.sum(0).unbind(0), *states, None, None


def _twice(
    x: Tensor, tensors: list[Tensor], firing: Firing, before: bool, needed: Any, grads: Any
) -> tuple[Tensor | None, ...]:
    """The gradients in torch, with a graph to all that they depend on."""

    def weighted(x: Tensor, *tensors: Tensor) -> Tensor:
        found = scan(x, Cell(*tensors, firing, before))  # pyright: ignore[reportArgumentType, reportCallIssue]
        return torch.stack([(one * g).sum() for one, g in zip(found, grads, strict=True)]).sum()

    one = torch.ones((), dtype=x.dtype)
    return gradients(weighted, (x, *tensors), needed[: 1 + len(tensors)], one)
