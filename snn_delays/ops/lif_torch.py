"""``ops/lif.py`` as a loop over its equations in torch: for what follows torch alone.

Tracers, exporters and ``torch.func`` see every operation, and a gradient can be differentiated
again. The numbers are those of the compiled sweep.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Firing(NamedTuple):
    """When a neuron fires, what it falls back to, and what stands in for the step's slope.

    Args:
        soft: the reset subtracts the threshold; v_reset is 0 then.
        sigmoid: surrogate α·s·(1−s), s = sigmoid(α·u); else ATan's (α/2) / (1 + (π/2·α·u)²).
    """

    v_threshold: float
    v_reset: float
    soft: bool
    detach_reset: bool
    sigmoid: bool
    alpha: float


def scan(
    x: Tensor, v: Tensor, beta: float | Tensor, gain: float | Tensor, firing: Firing
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes, the potentials h that fired them, and those after the reset.

    Shape:
        x ``[T, ...]``, v ``[...]`` → spikes, h and v ``[T, ...]``.
    """
    rest = firing.v_reset
    found = []
    for current in x.unbind(0):
        h = rest + beta * (v - rest) + gain * current
        spikes = fire(h, firing)
        v = after_reset(h, spikes, firing)
        found.append((spikes, h, v))
    spikes, h, v = (torch.stack(steps) for steps in zip(*found, strict=True))
    return spikes, h, v


def fire(h: Tensor, firing: Firing) -> Tensor:
    """1 where h ≥ v_threshold, else 0, with the surrogate's slope."""
    above = h - firing.v_threshold
    spikes = (above >= 0).to(h.dtype)
    if firing.sigmoid:
        smooth = torch.sigmoid(firing.alpha * above)
    else:
        smooth = torch.atan(math.pi / 2 * firing.alpha * above) / math.pi
    return spikes + (smooth - smooth.detach())


def after_reset(h: Tensor, spikes: Tensor, firing: Firing) -> Tensor:
    """v from h and the spikes."""
    if firing.detach_reset:
        spikes = spikes.detach()
    if firing.soft:
        return h - firing.v_threshold * spikes
    return (1 - spikes) * h + spikes * firing.v_reset


def gradients(
    gspikes: Tensor | None, gh: Tensor | None, h: Tensor, beta: float | Tensor, firing: Firing
) -> tuple[Tensor, Tensor]:
    """∂L/∂h of every step and ∂L/∂v of the first, with a graph to all arguments.

    Shape:
        gspikes, gh, h ``[T, M]`` → ``[T, M]``, ``[M]``.
    """
    slope = surrogate_slope(h - firing.v_threshold, firing)
    spikes = fire(h, firing)
    if firing.soft:
        passed = torch.ones_like(h)
        moved = -firing.v_threshold * slope
    else:
        passed = 1 - (spikes.detach() if firing.detach_reset else spikes)
        moved = (firing.v_reset - h) * slope
    through_reset = passed if firing.detach_reset else passed + moved
    arriving = torch.zeros_like(h) if gh is None else gh
    if gspikes is not None:
        arriving = arriving + gspikes * slope
    found: list[Tensor] = []
    gv = torch.zeros_like(h[0])
    backwards = (reversed(steps.unbind(0)) for steps in (arriving, through_reset))
    for come, through in zip(*backwards, strict=True):
        found.append(come + gv * through)
        gv = beta * found[-1]
    return torch.stack(found[::-1]), gv


def surrogate_slope(above: Tensor, firing: Firing) -> Tensor:
    """The slope that stands in for the step's, at h − v_threshold."""
    if firing.sigmoid:
        s = torch.sigmoid(firing.alpha * above)
        return firing.alpha * s * (1 - s)
    return firing.alpha / 2 / (1 + (math.pi / 2 * firing.alpha * above) ** 2)
