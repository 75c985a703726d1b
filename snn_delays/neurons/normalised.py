"""Neurons behind a batch normalisation: both in one sweep where that saves memory."""

from __future__ import annotations

from typing import Any

import torch
from spikingjelly.activation_based import layer
from torch import Tensor, nn

from snn_delays.eager import readable
from snn_delays.ops.normalised import Norm


def fired(norm: nn.Module, node: nn.Module, x: Tensor) -> Tensor:
    """``node(norm(x))``, of currents x ``[T, N, C]`` or of one step.

    With gradients, on the CPU, a SpikingJelly ``BatchNorm1d`` and neurons that can
    (``Swept.covers``) keep x alone for the backward pass. Modules that someone hooks run one by
    one.
    """
    covers: Any = getattr(node, "covers", None)
    if covers is None or not torch.is_grad_enabled() or not readable(x):
        return node(norm(x))
    if type(norm) is not layer.BatchNorm1d:
        return node(norm(x))
    settings = _settings(norm)
    if settings is None or _hooked(norm) or _hooked(node) or not covers(x, settings):
        return node(norm(x))
    if settings.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    return node(x, norm=settings)


def _settings(norm: layer.BatchNorm1d) -> Norm | None:
    """What a normalisation does; None for one that has no constants, an average of all, or running
    statistics that rest in training."""
    constants = norm.weight, norm.bias, norm.running_mean, norm.running_var
    if norm.step_mode != "m" or norm.momentum is None or any(one is None for one in constants):
        return None
    if norm.training and not norm.track_running_stats:
        return None
    return Norm(*constants, norm.training, norm.momentum, norm.eps)  # pyright: ignore[reportArgumentType]


def _hooked(module: nn.Module) -> bool:
    own = (module._forward_hooks, module._forward_pre_hooks)
    back = (module._backward_hooks, module._backward_pre_hooks)
    return any((*own, *back)) or bool(nn.modules.module._has_any_global_hook())
