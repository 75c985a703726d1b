"""Layers as plain arrays: synapses with their delays rounded, and normalisation folded in.

Normalisation has no place on a chip, so its running statistics move into weights and bias:

    γ · (y − mean) / √(var + eps) + β   with   y = Σ w·x + b
    = Σ (s·w)·x + (β + s·(b − mean)),        s = γ / √(var + eps)

in float64, and only the result is rounded to float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import layer as sj_layer
from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from snn_delays.deploy.signals import Float64, Synapses
from snn_delays.deploy.wiring import Frame
from snn_delays.errors import UsageError
from snn_delays.layers.delayed import Delayed
from snn_delays.ops.convolution_dense import Geometry

# By exact type: a subclass may well compute something else.
_LINEAR = (nn.Linear, sj_layer.Linear)
_CONVS = (nn.Conv1d, sj_layer.Conv1d, nn.Conv2d, sj_layer.Conv2d)
_NORMS = (nn.BatchNorm1d, sj_layer.BatchNorm1d, nn.BatchNorm2d, sj_layer.BatchNorm2d)
_POOLS = (nn.AvgPool1d, sj_layer.AvgPool1d, nn.AvgPool2d, sj_layer.AvgPool2d)
_GLOBAL_POOLS = (
    *(nn.AdaptiveAvgPool1d, sj_layer.AdaptiveAvgPool1d),
    *(nn.AdaptiveAvgPool2d, sj_layer.AdaptiveAvgPool2d),
)


def is_synapses(module: nn.Module) -> bool:
    """Whether it is a layer of synapses from what it is given."""
    if isinstance(module, Delayed):
        return module.neuron is None
    return type_before_parametrizations(module) in (*_LINEAR, *_CONVS)


def is_pool(module: nn.Module) -> bool:
    """Whether ``pooled`` takes it."""
    return type(module) in (*_POOLS, *_GLOBAL_POOLS)


def is_norm(module: nn.Module) -> bool:
    """Whether ``norm_constants`` takes it."""
    return type_before_parametrizations(module) in _NORMS


def synapses_of_layer(module: nn.Module) -> Synapses:
    """The synapses of a layer with delays, a Linear or a convolution."""
    if getattr(module, "weight", module) is None:  # what a hook makes is not copied
        raise UsageError(
            "has weights that a hook makes. Use torch.nn.utils.parametrizations, or prune.remove."
        )
    geometry = None
    if isinstance(module, Delayed):
        weight = float64(module.acting_weight())
        delay = module.integer_delays().detach().cpu().numpy()
        max_delay, geometry = module.max_delay, module.geometry
    elif isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d) and is_synapses(module):
        weight, delay, max_delay = float64(module.weight)[..., None], np.zeros(1, np.int64), 0
        if not isinstance(module, nn.Linear):
            geometry = _geometry(module)
    else:
        raise UsageError(
            "connections must be a layer with delays, a Linear or a convolution to become a delay "
            f"table, got {type(module).__name__}."
        )
    bias = np.zeros(len(weight)) if module.bias is None else float64(module.bias)
    return Synapses(weight, np.broadcast_to(delay, weight.shape), bias, max_delay, geometry)


def _geometry(module: nn.Conv1d | nn.Conv2d) -> Geometry:
    """How a plain convolution goes over its maps."""
    if module.padding_mode != "zeros":
        raise UsageError(
            f"pads with padding_mode={module.padding_mode!r}; a table has zeros there, as nothing "
            "is. Use padding_mode='zeros'."
        )
    if isinstance(module.padding, str):
        raise UsageError(f"pads with padding={module.padding!r}. Give a number per axis.")
    return Geometry(module.stride, module.padding, module.dilation, module.groups)


def pooled(module: nn.Module, frame: Frame) -> Synapses:
    """Means over windows of each map, as average pooling takes them.

    Raises:
        UsageError: channels that are no maps; windows that reach beyond the map, or whose mean has
            another divisor; adaptive pooling to more than one mean.
    """
    channels, *space = frame
    own: Any = module
    dims = 1 if isinstance(own, nn.AvgPool1d | nn.AdaptiveAvgPool1d) else 2
    if len(space) != dims:
        raise UsageError(f"takes maps with {dims} axes of space, got {list(frame)}.")

    def per_axis(value: Any) -> tuple[int, ...]:
        return tuple(value) if isinstance(value, tuple) else (value,) * dims

    if type(module) in _GLOBAL_POOLS:
        if set(per_axis(own.output_size)) != {1}:
            raise UsageError(f"pools to {own.output_size}; only to 1, the mean, can be.")
        size = stride = tuple(space)
    else:
        size, stride = per_axis(own.kernel_size), per_axis(own.stride)
        plain = set(per_axis(own.padding)) == {0} and not own.ceil_mode
        if not plain or getattr(own, "divisor_override", None) is not None:
            raise UsageError("pools beyond its maps. Use padding=0, ceil_mode=False, no divisor.")
    weight = np.full((channels, 1, *size, 1), 1 / np.prod(size))
    geometry = Geometry(stride, (0,) * dims, (1,) * dims, channels)
    return Synapses(weight, np.zeros(weight.shape, np.int64), np.zeros(channels), 0, geometry)


def votes(size: int, voters: int) -> Synapses:
    """Means over groups of neighbouring channels, as SpikingJelly's ``VotingLayer`` takes them."""
    if size % voters:
        raise UsageError(f"takes votes of {voters} channels each, got {size} channels.")
    weight = np.repeat(np.eye(size // voters), voters, axis=1)[:, :, None] / voters
    return Synapses(weight, np.zeros(weight.shape, np.int64), np.zeros(size // voters), 0)


def norm_constants(norm: nn.Module) -> tuple[Float64, Float64, Float64]:
    """s, mean and β of a normalisation, one per channel each."""
    if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) or not is_norm(norm):
        raise UsageError(
            "normalisation must be BatchNorm1d, BatchNorm2d or Identity to fold into weights, "
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
