"""Neurons between a batch normalisation and a dropout: all in one sweep where that is possible."""

from __future__ import annotations

from typing import Any

import torch
from spikingjelly.activation_based import layer
from torch import Tensor, nn

from snn_delays.modules.bypass import must_be_called, steps_as
from snn_delays.modules.eager import readable
from snn_delays.neurons.swept import Tell
from snn_delays.ops.normalised import Norm


class Counting:
    """A forward hook of neurons that needs to know no more than how many fire.

    Args:
        tell: is told so, of sequences ``[T, N, …]``.
    """

    def __init__(self, tell: Tell) -> None:
        self.tell = tell

    def __call__(self, node: nn.Module, inputs: Any, fired: Any) -> None:
        if isinstance(fired, Tensor) and fired.dim() >= 3:
            fired = fired.detach().flatten(2)
            self.tell(fired.sum(2, dtype=torch.float32), fired.shape[2])


def passed(norm: nn.Module, node: nn.Module, dropout: nn.Module, x: Tensor) -> Tensor:
    """``dropout(node(norm(x)))``, of currents x ``[T, N, C]`` or of one step.

    On the CPU, a SpikingJelly ``BatchNorm1d``, neurons that can (``Swept.covers``) and a
    ``layer.Dropout`` make one sweep, and keep x alone for the backward pass. Modules that someone
    hooks run one by one, but for those of which spikes are counted.
    """
    settings = _settings(norm, node, x)
    if settings is None:
        return dropout(node(norm(x)))
    if settings.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)  # pyright: ignore[reportCallIssue]
    hooks: Any = list(node._forward_hooks.values())

    def tell(counts: Tensor, neurons: int) -> None:
        for hook in hooks:
            hook.tell(counts, neurons)

    drop = _mask(dropout, x)
    # Not as a call, since the hooks are no call's.
    y = node.forward(x, norm=settings, drop=drop, tell=tell if hooks else None)
    return dropout(y) if drop is None else y


def _settings(norm: nn.Module, node: nn.Module, x: Tensor) -> Norm | None:
    """What the normalisation does; None where it and the neurons run one after the other."""
    covers: Any = getattr(node, "covers", None)
    if covers is None or type(norm) is not layer.BatchNorm1d:
        return None
    if not readable(x):
        return None
    constants = norm.weight, norm.bias, norm.running_mean, norm.running_var
    if norm.step_mode != "m" or norm.momentum is None or any(one is None for one in constants):
        return None  # no constants, or an average of all
    if norm.training and not norm.track_running_stats:
        return None  # statistics that rest
    found = Norm(*constants, norm.training, norm.momentum, norm.eps)  # pyright: ignore[reportArgumentType]
    seen = must_be_called(norm) or must_be_called(node, but=(Counting,))
    return None if seen or not covers(x, found) else found


def _mask(dropout: nn.Module, x: Tensor) -> Tensor | None:
    """What the dropout makes of a spike of each neuron; None where it has to run itself."""
    if type(dropout) is not layer.Dropout or dropout.step_mode != "m" or not dropout.training:
        return None
    if must_be_called(dropout) or not steps_as(dropout, layer.Dropout):
        return None
    if dropout.mask is None:
        dropout.mask = dropout.create_mask(x[0])
    mask: Any = dropout.mask
    return mask if mask.shape == x.shape[1:] and mask.dtype == x.dtype else None
