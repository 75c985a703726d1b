"""Losses of the network itself, for ``fit(regulariser=…)`` or a loop of one's own to add."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from snn_delays.arguments import real, settle, whole
from snn_delays.layers.delayed import Delayed
from snn_delays.layers.networks import delay_layers
from snn_delays.layers.sparsity import few_delays, there

_STRENGTH = real(0)


@dataclass(frozen=True)
class SmallDelays:
    """strength · mean delay, in steps, of the synapses that there are.

    Args:
        strength: per step, >= 0.
        weighted: whether the mean is weighted by |weight|, which feels nothing of it.
    """

    strength: float
    weighted: bool = False

    def __post_init__(self) -> None:
        settle(self, "SmallDelays: ", strength=_STRENGTH)

    def __call__(self, net: nn.Module) -> Float[Tensor, ""] | float:
        share = [self._share(layer) for layer in delay_layers(net)]
        total = sum(float(one.sum()) for one in share) or 1.0
        sums = [
            (layer.delay * one).sum() for layer, one in zip(delay_layers(net), share, strict=True)
        ]
        return self.strength * sum(sums, 0.0) / total

    def _share(self, layer: Delayed) -> Tensor:
        """How much each delay counts: of shared ones, that of all who share it."""
        counts = layer.acting_weight().detach().abs() if self.weighted else there(layer)
        return counts.to(layer.delay.dtype).sum_to_size(layer.delay.shape)


@dataclass(frozen=True)
class ClusteredDelays:
    """strength · mean (d − c)², c the nearest of the few best centres: see ``few_delays``.

    Args:
        strength: per step², >= 0.
        count, per: how many centres each ``"layer"``, ``"post"`` or ``"pre"`` neuron has.
    """

    strength: float
    count: int
    per: str = "layer"

    def __post_init__(self) -> None:
        settle(self, "ClusteredDelays: ", strength=_STRENGTH, count=whole(1))

    def __call__(self, net: nn.Module) -> Float[Tensor, ""] | float:
        layers = delay_layers(net)
        number = sum(layer.delay.numel() for layer in layers) or 1
        far = [(layer.delay - few_delays(layer, self.count, self.per)) ** 2 for layer in layers]
        return self.strength * sum((one.sum() for one in far), 0.0) / number
