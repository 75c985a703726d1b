"""Delays at rest: an optimiser's step leaves them where they are, whatever its momentum or decay.

Where it acts as an integer a delay has a gradient of 0, by which plain gradient descent leaves it
alone. Momentum of wider kernels and decay would still move it, so its value is put back after the
step. Only the optimiser's own change is undone: what anyone else writes to a delay stays.

Layers may share a delay: it rests if it does so in all that used it since its last step. Of what
compiled graphs, tracers and transforms use nothing is seen: there all layers that have it count.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.weak import WeakIdKeyDictionary

from snn_delays.modules.eager import has_numbers, readable


class _Passes:
    """Which layers used a delay: the last at rest, and since its last step those that were not."""

    def __init__(self) -> None:
        self.resting: weakref.ref[Any] | None = None
        self.moving: weakref.WeakSet[Any] = weakref.WeakSet()

    def layers(self) -> list[Any]:
        resting = None if self.resting is None else self.resting()
        return [*self.moving, *([] if resting is None else [resting])]


# Of what an optimiser changes of a layer's delays.
_passes: Any = WeakIdKeyDictionary()
# Layers that no pass has been seen of since their σ was set, or they were made.
_unseen: weakref.WeakSet[Any] = weakref.WeakSet()
_kept: weakref.WeakKeyDictionary[torch.optim.Optimizer, list[tuple[Tensor, Tensor]]] = (
    weakref.WeakKeyDictionary()
)


def not_seen_yet(layer: Any) -> None:
    """Take note of a layer that is new, or whose σ is, before any pass."""
    _unseen.add(layer)


def rest_if_integer(layer: Any) -> None:
    """Keep delays from optimisers' steps while they rest, if this pass acts with integers."""
    if not torch.is_grad_enabled():
        return
    for delay in layer.stored_places():
        if delay is None or not delay.requires_grad or not readable(delay, layer._sigma):
            continue
        if (passes := _passes.get(delay)) is None:
            passes = _passes[delay] = _Passes()
        if layer.at_rest:
            passes.resting = weakref.ref(layer)
        else:
            passes.moving.add(layer)
        _unseen.discard(layer)


def _before(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    holders: dict[int, list[Any]] = {}
    for layer in list(_unseen):
        # A mode that only watches, such as a counter of operations, leaves numbers to be read.
        known = has_numbers(layer._sigma) and not torch.compiler.is_compiling()
        for delay in layer.stored_places() if known else ():
            holders.setdefault(id(delay), []).append(layer)
    found: list[Tensor] = []
    for delay in (one for group in optimizer.param_groups for one in group["params"]):
        passes = _passes.get(delay)
        layers = [] if passes is None else passes.layers()
        layers = layers or holders.get(id(delay), [])
        if layers and all(layer.at_rest for layer in layers):
            found.append(delay)
        if passes is not None:
            passes.moving.clear()
    if found:
        _kept[optimizer] = [(delay, delay.detach().clone()) for delay in found]


@torch.no_grad()
def _after(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for delay, value in _kept.pop(optimizer, ()):
        delay.copy_(value)


register_optimizer_step_pre_hook(_before)
register_optimizer_step_post_hook(_after)
