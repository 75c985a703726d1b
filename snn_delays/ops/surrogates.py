"""Surrogates: slopes that stand in for a spike's own, which is 0 wherever it has one.

With u = h − v_threshold and a steepness α:

    atan      (α/2) / (1 + (π/2·α·u)²)              Fang et al. (2021, arXiv:2007.05785)
    sigmoid   α·s·(1 − s),  s = 1 / (1 + exp(−α·u))
    boxcar    α where |u| < 1 / (2α)                Bittar & Garner (2022, Front. Neurosci. 16)
    triangle  max(α − α²·|u|, 0)                    Bellec et al. (2018, arXiv:1803.09574)
    slayer    (α/2)·exp(−α·|u|)                     Shrestha & Orchard (2018, arXiv:1810.08646)

Each is a class of SpikingJelly's; compiled loops know them by their place in the list.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from spikingjelly.activation_based import surrogate
from torch import Tensor

from snn_delays.arguments import choice, real_number

SURROGATES: dict[str, type[surrogate.SurrogateFunctionBase]] = {
    "atan": surrogate.ATan,
    "sigmoid": surrogate.Sigmoid,
    "boxcar": surrogate.Rect,
    "triangle": surrogate.PiecewiseQuadratic,
    "slayer": surrogate.PiecewiseExp,
}
_CLASSES = tuple(SURROGATES.values())
CLASSES = tuple(one.__name__ for one in _CLASSES)


def made(owner: str, name: str, alpha: float) -> surrogate.SurrogateFunctionBase:
    """SpikingJelly's surrogate of that name.

    Raises:
        UsageError: an unknown name, or an alpha that is not above 0.
    """
    kind = SURROGATES[choice(f"{owner}: surrogate", name, tuple(SURROGATES))]
    return kind(alpha=real_number(f"{owner}: surrogate_alpha", alpha, above=0))


def index(function: Any) -> int | None:
    """The place of a surrogate function in the list; None if it is not there, or does not spike."""
    known = type(function) in _CLASSES and function.spiking
    return _CLASSES.index(type(function)) if known else None


def smooth(u: Tensor, kind: int, alpha: float) -> Tensor:
    """A function whose derivative is the slope, for gradients of any order."""
    x = alpha * u
    if kind == 0:
        return torch.atan(math.pi / 2 * x) / math.pi
    if kind == 1:
        return torch.sigmoid(x)
    if kind == 2:
        return x.clamp(-0.5, 0.5)
    if kind == 3:
        inside = x.clamp(-1, 1)
        return inside - inside.abs() * inside / 2
    below, above = torch.exp(x.clamp(max=0)) / 2, 1 - torch.exp(-x.clamp(min=0)) / 2
    return torch.where(x < 0, below, above)


def spikes_of(h: Tensor, v_threshold: float, kind: int, alpha: float) -> Tensor:
    """1 where h ≥ v_threshold, else 0, with the surrogate's slope."""
    u = h - v_threshold
    soft = smooth(u, kind, alpha)
    return (u >= 0).to(h.dtype) + (soft - soft.detach())
