"""Training that already meets what a chip will do: integer delays, weights on a coarse grid.

Forward, every delay is rounded and every weight is scale · n, |n| <= 2^(bits − 1) − 1. Backward,
rounding counts as the identity (straight through): weights learn as if they were free, delays
feel the slope of their interpolation kernel, and the scale learns too.

Reference:
    Bengio, Léonard, Courville (2013, arXiv:1308.3432) for the straight-through gradient;
    Esser et al., "Learned step size quantization" (2020, arXiv:1902.08153) for the scale's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snn_delays.arguments import choice
from snn_delays.deploy.connections import Connection, connections
from snn_delays.deploy.fold import norm_constants, synapses_of_layer
from snn_delays.deploy.parts import torch_model_of
from snn_delays.deploy.quantise import SCALES, Scale, least_error_scale, require_bits
from snn_delays.deploy.trace import trace
from snn_delays.errors import UsageError
from snn_delays.layers.delayed import Delayed
from snn_delays.layers.memory import Net, fresh_copy
from snn_delays.layers.networks import delay_layers
from snn_delays.modules.ranged import stored
from snn_delays.table.models import MODELS


def folded(net: Net, max_delay: int | None = None) -> Net:
    """A copy of ``net`` with normalisation inside weights and biases.

    Of ``DelaySNN`` it is built like one with ``bias=True`` and no normalisation. Its delays are
    still real.

    Args:
        net: any network that ``trace`` takes, normalisation right behind its synapses.
        max_delay: a smaller range to bring all delays into; layers of a smaller one keep theirs.

    Raises:
        UsageError: a connection or normalisation that cannot be folded, a larger range than the
            network's.
    """
    copied = fresh_copy(net)
    longest = max((layer.max_delay for layer in delay_layers(net)), default=0)
    if max_delay is not None and not 0 < max_delay <= longest:
        raise UsageError(
            f"max_delay must be from 1 to the network's {longest} steps, got {max_delay!r}."
        )
    found = connections(copied)
    for synapses, norm, *_ in found:
        layer = copied.get_submodule(synapses)
        whole = synapses_of_layer(layer)
        if norm is not None:
            _require_own(copied, synapses, found)
            scale, mean, shift = norm_constants(copied.get_submodule(norm))
            whole = whole._replace(
                weight=whole.weight * scale.reshape(-1, *[1] * (whole.weight.ndim - 1)),
                bias=shift + scale * (whole.bias - mean),
            )
            copied.set_submodule(norm, nn.Identity())
        weight: Any = layer.weight
        with torch.no_grad():
            weight.copy_(torch.from_numpy(whole.weight).view_as(weight))
        layer.bias = nn.Parameter(torch.from_numpy(whole.bias).to(weight))
        if max_delay is not None and isinstance(layer, Delayed):
            layer.max_delay = min(max_delay, layer.max_delay)
            layer.clamp_()
    if max_delay is not None and hasattr(copied, "max_delay"):
        setattr(copied, "max_delay", max_delay)  # noqa: B010
    return copied


def _require_own(net: nn.Module, name: str, found: list[Connection]) -> None:
    """Refuse to fold normalisation into weights that are computed, or act elsewhere too."""
    if parametrize.is_parametrized(net.get_submodule(name), "weight"):
        raise UsageError(
            f"{name} has weights that a parametrisation makes, which cannot take up normalisation. "
            "Call torch.nn.utils.parametrize.remove_parametrizations first."
        )
    weight = stored(net.get_submodule(name), "weight")
    weights = [stored(net.get_submodule(one.synapses), "weight") for one in found]
    norms = [one.norm for one in found if one.norm]
    if sum(one is weight for one in weights) > 1 or len(norms) > len(set(norms)):
        raise UsageError(
            f"{name} has weights or a normalisation that another layer or call has, too. To fold "
            "one into the other give each its own."
        )


def make_quantisation_aware_(net: Net, bits: int, scale: Scale = "population") -> Net:
    """Let ``net``, which must not normalise, train and act with rounded delays and weights.

    Changed in place and returned. Its state dict holds the free weights and the scales.

    Args:
        bits: 2 (ternary) … 16, as in ``quantised``.
        scale: one per ``"population"`` or per ``"neuron"``; a readout that never spikes always has
            one. Layers into one population share theirs.

    Raises:
        UsageError: bits or scale out of range, or a network with normalisation.
    """
    require_bits(bits)
    choice("scale", scale, SCALES)
    levels = 2 ** (bits - 1) - 1
    found = connections(net)
    if any(one.norm is not None for one in found):
        raise UsageError("normalisation must be folded before weights are quantised.")
    if chained := next((one for one in found if one.through), None):
        raise UsageError(
            f"{chained.synapses} leads through {', '.join(chained.through)} to its neurons: "
            "products of weights on a grid are on none. Quantise after training: bits=…"
        )
    for group in _by_population(found):
        layers: dict[str, Any] = {}
        for one in group:
            layers[one.synapses] = layer = net.get_submodule(one.synapses)
            if isinstance(layer, Delayed):
                layer.rounding = "straight_through"
        by_neuron = scale == "neuron" and all(_spikes(net, one) for one in group)
        rows = torch.cat([layer.weight.detach().flatten(1) for layer in layers.values()], 1)
        first_scale = QuantisedWeight(rows, levels, by_neuron=by_neuron).log_scale
        for layer in layers.values():
            quantised = QuantisedWeight(rows, levels, by_neuron=by_neuron)
            quantised.log_scale = first_scale
            parametrize.register_parametrization(layer, "weight", quantised)
    return net


def _by_population(found: list[Connection]) -> list[list[Connection]]:
    """Layers of synapses that lead into the same populations, whose weights share a scale."""
    groups: list[tuple[set[str], list[Connection]]] = []
    for one in found:
        targets, together = set(one.targets) or {""}, [one]
        for group in [group for group in groups if group[0] & targets]:
            groups.remove(group)
            targets, together = targets | group[0], group[1] + together
        groups.append((targets, together))
    return [together for _, together in groups]


def _spikes(net: nn.Module, one: Connection) -> bool:
    """Whether the neurons that it leads to spike."""
    models = [torch_model_of(net.get_submodule(target)) for target in one.targets]
    return bool(models) and all(MODELS[model.model].spiking for model in models if model)


def trained_scales(net: nn.Module) -> dict[str, NDArray[np.float64]] | None:
    """By population, the scales that a quantisation-aware network was trained with, ``[1]`` or
    ``[size]``; None for any other."""
    if trained_bits(net) is None:
        return None
    traced = trace(net)
    names = {node: name for name, node in traced.nodes.items()}
    scales: dict[str, NDArray[np.float64]] = {}
    for one in connections(net):
        for module in net.get_submodule(one.synapses).modules():
            if isinstance(module, QuantisedWeight):
                scale = module.log_scale.detach().exp().flatten().cpu().double().numpy()
                # What leads to no neurons leads to the readout that the table has for them.
                of = [names[target] for target in one.targets] or [traced.populations[-1].name]
                scales |= {name: scale * traced.gains[name] for name in of}
    for one in traced.projections:
        scale = scales.get(one.target, np.full(1, np.nan))
        number = one.weight / scale[one.post if scale.size > 1 else 0]
        if not np.abs(number - number.round()).max(initial=0.0) < 1e-3:
            raise UsageError(
                f"the weights of projection {one.name} are no whole multiples of the scale that "
                "they were trained with: something multiplies them behind their layer. Move that "
                "into the layer, or quantise after training: bits=…"
            )
    return scales


def trained_bits(net: nn.Module) -> int | None:
    """Bits of the weights of a quantisation-aware network; None for any other."""
    levels = {module.levels for module in net.modules() if isinstance(module, QuantisedWeight)}
    return max(levels).bit_length() + 1 if levels else None


class QuantisedWeight(nn.Module):
    """w → scale · clamp(round(w / scale), −L, L), with gradients for w and log scale.

    Args:
        weight: to start from, ``[post, …]``: the scale of least squared error.
        levels: L.
        by_neuron: one scale per row instead of one in all.

    Shape:
        ``[post, …]`` → the same.
    """

    def __init__(self, weight: Tensor, levels: int, *, by_neuron: bool) -> None:
        super().__init__()
        self.levels = levels
        rows = weight.detach().flatten(1).double().cpu().numpy()
        scale = least_error_scale(rows if by_neuron else rows.reshape(1, -1), levels)
        # Its logarithm: a step of Adam, which has the learning rate's size whatever the gradient's,
        # is then a share of the scale, which stays positive. So the gradient needs no factor, as
        # the paper's has; but no decay of weights either, which would pull the scale towards 1.
        self.log_scale = nn.Parameter(torch.from_numpy(np.log(scale)).to(weight).flatten())

    def forward(self, weight: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        scale = self.log_scale.exp().view(-1, *[1] * (weight.dim() - 1))
        number = (weight / scale).clamp(-self.levels, self.levels)
        return scale * (number + (number.round() - number).detach())
