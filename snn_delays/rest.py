"""Delays at rest: an optimiser's step leaves them where they are, whatever its momentum or decay.

Where it acts as an integer a delay has a gradient of 0, by which plain gradient descent leaves it
alone. Momentum of wider kernels and decay would still move it, so its value is put back after the
step. Only the optimiser's own change is undone: what anyone else writes to a delay stays.
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

from snn_delays.eager import readable

# What an optimiser changes of a layer's delays → the layer that used it last at rest.
_layers: Any = WeakIdKeyDictionary()
_kept: weakref.WeakKeyDictionary[torch.optim.Optimizer, list[tuple[Tensor, Tensor]]] = (
    weakref.WeakKeyDictionary()
)


def rest_if_integer(layer: Any) -> None:
    """Keep delays from optimisers' steps while they rest, if this pass acts with integers."""
    if not torch.is_grad_enabled():
        return
    for delay in layer.stored_places():
        if delay is None or not delay.requires_grad or not readable(delay, layer._sigma):
            continue
        if layer.at_rest:
            _layers[delay] = weakref.ref(layer)


def _before(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    if len(_layers):
        own = [delay for group in optimizer.param_groups for delay in group["params"]]
        layers = [(delay, _layers[delay]()) for delay in own if delay in _layers]
        _kept[optimizer] = [
            (delay, delay.detach().clone())
            for delay, layer in layers
            if layer is not None and layer.at_rest
        ]


@torch.no_grad()
def _after(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for delay, value in _kept.pop(optimizer, ()):
        delay.copy_(value)


register_optimizer_step_pre_hook(_before)
register_optimizer_step_post_hook(_after)
