"""Layers as plain arrays: synapses with their delays rounded, and normalisation folded in.

Normalisation has no place on a chip, so its running statistics move into weights and bias:

    γ · (y − mean) / √(var + eps) + β   with   y = Σ w·x + b
    = Σ (s·w)·x + (β + s·(b − mean)),        s = γ / √(var + eps)

in float64, and only the result is rounded to float32.
"""

from __future__ import annotations

import numpy as np
import torch
from spikingjelly.activation_based import layer as sj_layer
from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from snn_delays.deploy.signals import Float64, Synapses
from snn_delays.errors import UsageError
from snn_delays.layers.delay_layer import DelayLayer

# By exact type: a subclass may well compute something else.
_LINEAR = (nn.Linear, sj_layer.Linear)
_NORMS = (nn.BatchNorm1d, sj_layer.BatchNorm1d)


def is_synapses(module: nn.Module) -> bool:
    """Whether it is a layer of synapses from what it is given."""
    if isinstance(module, DelayLayer):
        return module.neuron is None
    return type_before_parametrizations(module) in _LINEAR


def is_norm(module: nn.Module) -> bool:
    """Whether ``norm_constants`` takes it."""
    return type_before_parametrizations(module) in _NORMS


def synapses_of_layer(module: nn.Module) -> Synapses:
    """The synapses of a DelayLayer or Linear layer."""
    if getattr(module, "weight", module) is None:  # what a hook makes is not copied
        raise UsageError(
            "has weights that a hook makes. Use torch.nn.utils.parametrizations, or prune.remove."
        )
    if isinstance(module, DelayLayer):
        weight = float64(module.acting_weight())
        delay = module.integer_delays().detach().cpu().numpy()
        max_delay = module.max_delay
    elif isinstance(module, nn.Linear) and is_synapses(module):
        weight, delay, max_delay = float64(module.weight)[:, :, None], np.zeros(1, np.int64), 0
    else:
        raise UsageError(
            "connections must be a DelayLayer or a Linear layer to become a delay table, "
            f"got {type(module).__name__}."
        )
    bias = np.zeros(len(weight)) if module.bias is None else float64(module.bias)
    return Synapses(weight, np.broadcast_to(delay, weight.shape), bias, max_delay)


def votes(size: int, voters: int) -> Synapses:
    """Means over groups of neighbouring channels, as SpikingJelly's ``VotingLayer`` takes them."""
    if size % voters:
        raise UsageError(f"takes votes of {voters} channels each, got {size} channels.")
    weight = np.repeat(np.eye(size // voters), voters, axis=1)[:, :, None] / voters
    return Synapses(weight, np.zeros(weight.shape, np.int64), np.zeros(size // voters), 0)


def norm_constants(norm: nn.Module) -> tuple[Float64, Float64, Float64]:
    """s, mean and β of a normalisation, one per channel each."""
    if not isinstance(norm, nn.BatchNorm1d) or not is_norm(norm):
        raise UsageError(
            "normalisation must be BatchNorm1d or Identity to fold into weights, "
            f"got {type(norm).__name__}."
        )
    if norm.running_mean is None or norm.running_var is None:
        raise UsageError(
            "BatchNorm without running statistics depends on its batch and cannot be folded. "
            "Train with track_running_stats=True."
        )
    scale = 1 / np.sqrt(float64(norm.running_var) + norm.eps)
    shift = np.zeros_like(scale)
    if norm.affine:
        scale = scale * float64(norm.weight)
        shift = float64(norm.bias)
    return scale, float64(norm.running_mean), shift


def float64(tensor: Tensor) -> Float64:
    """A tensor as an array of doubles."""
    return tensor.detach().to("cpu", torch.float64).numpy()
