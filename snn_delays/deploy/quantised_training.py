"""Training that already meets what a chip will do: integer delays, weights on a coarse grid.

Forward, every delay is rounded and every weight is scale · n, |n| <= 2^(bits − 1) − 1. Backward,
rounding counts as the identity (straight through): weights learn as if they were free, delays
feel the slope of their interpolation kernel, and the scale learns too.

Reference:
    Bengio, Léonard, Courville (2013, arXiv:1308.3432) for the straight-through gradient;
    Esser et al., "Learned step size quantization" (2020, arXiv:1902.08153) for the scale's.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snn_delays.deploy.integer import folded_contacts
from snn_delays.deploy.quantise import BITS, SCALES, Scale, least_error_scale
from snn_delays.errors import UsageError
from snn_delays.interpolation import dense_kernel
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.layers.memory import fresh_copy
from snn_delays.network import Block, DelaySNN


def folded(net: DelaySNN, max_delay: int | None = None) -> DelaySNN:
    """A copy of ``net`` with normalisation inside weights and biases.

    It is built like a ``DelaySNN`` without norm, its synapses with biases; delays are still real.

    Args:
        max_delay: a smaller range to bring all delays into.

    Raises:
        UsageError: a connection or normalisation that cannot be folded, a larger range than the
            network's.
    """
    if max_delay is not None and not 0 < max_delay <= net.max_delay:
        raise UsageError(
            f"finetune.max_delay must be from 1 to the network's {net.max_delay} steps, "
            f"got {max_delay!r}."
        )
    copied = fresh_copy(net)
    for block in copied.blocks:
        assert isinstance(block, Block)
        contacts = folded_contacts(block)
        weight = block.synapses.weight
        assert isinstance(weight, nn.Parameter)
        with torch.no_grad():
            weight.copy_(torch.from_numpy(contacts.weight).view_as(weight))
        block.synapses.bias = nn.Parameter(torch.from_numpy(contacts.bias).to(weight))
        block.norm = nn.Identity()
        if max_delay is not None and isinstance(block.synapses, DelayLayer):
            block.synapses.max_delay = max_delay
            block.synapses.clamp_delays_()
    copied.max_delay = net.max_delay if max_delay is None else max_delay
    return copied


def make_quantisation_aware_(net: DelaySNN, bits: int, scale: Scale = "layer") -> DelaySNN:
    """Let ``net``, which must not normalise, train and act with rounded delays and weights.

    Changed in place and returned. Its state dict holds the free weights and the scales.

    Args:
        bits: 2 (ternary) … 16, as in ``quantised``.
        scale: one per ``"layer"`` or per ``"neuron"``; the readout always has one.

    Raises:
        UsageError: bits or scale out of range, a network with normalisation.
    """
    if bits not in BITS:
        raise UsageError(f"bits must be a whole number from 2 (ternary) to 16, got {bits!r}.")
    if scale not in SCALES:
        raise UsageError(f"scale must be one of {', '.join(SCALES)}, got {scale!r}.")
    levels = 2 ** (bits - 1) - 1
    for index, block in enumerate(net.blocks):
        assert isinstance(block, Block)
        if not isinstance(block.norm, nn.Identity):
            raise UsageError("normalisation must be folded before weights are quantised.")
        if isinstance(block.synapses, DelayLayer):
            block.synapses = StraightThroughDelayLayer.of(block.synapses)
        by_neuron = scale == "neuron" and index < len(net.blocks) - 1
        weight = block.synapses.weight
        assert isinstance(weight, Tensor)
        parametrize.register_parametrization(
            block.synapses, "weight", QuantisedWeight(weight, levels, by_neuron=by_neuron)
        )
    return net


def trained_scales(net: DelaySNN) -> list[NDArray[np.float64]] | None:
    """The scales that a quantisation-aware network was trained with; None for any other."""
    found = [module for module in net.modules() if isinstance(module, QuantisedWeight)]
    scales = [one.log_scale.detach().exp().flatten().cpu().double().numpy() for one in found]
    return scales or None


def trained_bits(net: DelaySNN) -> int | None:
    """Bits of the weights of a quantisation-aware network; None for any other."""
    levels = {module.levels for module in net.modules() if isinstance(module, QuantisedWeight)}
    return max(levels).bit_length() + 1 if levels else None


class QuantisedWeight(nn.Module):
    """w → scale · clamp(round(w / scale), −L, L), with gradients for w and log scale.

    Args:
        weight: to start from: the scale of least squared error.
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
        shape = (-1, *[1] * (weight.dim() - 1))
        # Its logarithm: a step of Adam, which has the learning rate's size whatever the gradient's,
        # is then a share of the scale, which stays positive. So the gradient needs no factor, as
        # the paper's has; but no decay of weights either, which would pull the scale towards 1.
        self.log_scale = nn.Parameter(torch.from_numpy(np.log(scale)).to(weight).view(shape))

    def forward(self, weight: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        scale = self.log_scale.exp()
        number = (weight / scale).clamp(-self.levels, self.levels)
        return scale * (number + (number.round() - number).detach())


class StraightThroughDelayLayer(DelayLayer):
    """A ``DelayLayer`` that acts with rounded delays and moves them by the slope at width σ."""

    @classmethod
    def of(cls, layer: DelayLayer) -> StraightThroughDelayLayer:
        """The same synapses, parameters shared."""
        copied = cls(
            layer.in_features,
            layer.out_features,
            layer.max_delay,
            kernel_count=layer.kernel_count,
            granularity=layer.granularity,
            interpolation=layer.interpolation,
            sigma=layer.sigma,
            bias=layer.bias is not None,
            step_mode="s" if layer.step_mode == "s" else "m",
            method=layer.method,
        )
        copied.weight, copied.delay, copied.bias = layer.weight, layer.delay, layer.bias
        copied.present = layer.present
        return copied.train(layer.training)

    def _acting(self) -> tuple[Tensor, float]:
        # At rest the delays themselves, which act as rounded, for their gradient of 0.
        delay = self.delay if self.sigma == 0 else self.delay.detach().round()
        return delay.clamp(0, self.max_delay), 0.0

    def _convolve(self, x: Float[Tensor, "time batch pre"]) -> Float[Tensor, "time batch post"]:
        weight = self.acting_weight()
        y, self.method_used = self._convolved(x, weight, *self._acting())
        if not self._moves():
            return y
        slope, method = self._convolved(x.detach(), weight.detach(), self.delay, self.sigma)
        if method != self.method_used:
            self.method_used += f", its slopes by {method}"
        return y + (slope - slope.detach())

    def _kernel(self, weight: Tensor) -> Float[Tensor, "post pre taps"]:
        kernel, limits = super()._kernel(weight), (self.max_delay, self.interpolation)
        if not self._moves():
            return kernel
        slope = dense_kernel(weight.detach(), self.delay, self.sigma, *limits)
        return kernel + (slope - slope.detach())

    def _moves(self) -> bool:
        """Whether the delays' slopes are asked for; σ = 0 asks for none."""
        return torch.is_grad_enabled() and self.delay.requires_grad and self.sigma > 0
