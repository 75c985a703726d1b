"""Losses of the network itself, for ``fit(regulariser=…)`` or a loop of one's own to add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from snn_delays.arguments import real, settle, whole
from snn_delays.errors import UsageError
from snn_delays.layers.delayed import Delayed
from snn_delays.layers.networks import delay_layers
from snn_delays.layers.sparsity import few_delays, there
from snn_delays.modules.ranged import Spread

_STRENGTH = real(0)
# How many distances along one axis are held at a time.
_AT_ONCE = 2**22


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
        if not share:
            return 0.0
        total = torch.stack([one.sum() for one in share]).sum()  # not read: a GPU makes none wait
        sums = [
            (layer.delay * one).sum() for layer, one in zip(delay_layers(net), share, strict=True)
        ]
        return self.strength * sum(sums, 0.0) / torch.where(total == 0, 1, total)

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


@dataclass(frozen=True)
class Repulsion:
    """strength · ``repulsive_loss``: keeps elements of DCLS's kernels from one another.

    Args:
        strength: >= 0; 1 as published, from the 21st of 300 epochs on.
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        settle(self, "Repulsion: ", strength=_STRENGTH)

    def __call__(self, net: nn.Module) -> Float[Tensor, ""]:
        return self.strength * repulsive_loss(net)


def repulsive_loss(net: nn.Module) -> Float[Tensor, ""]:
    """How much the elements of one kernel stand within one element of each other.

        L = (mean over tensors of positions, of kernels, of pairs i < j: max(0, 1 − ‖pᵢ − pⱼ‖))²

    Distances are in elements, along all learned axes. The square is of the mean, as in the
    published code of ConvNeXt-dcls. Positions that several layers share count once; kernels of one
    element have no pairs and do not count. Two elements at the very same place do not feel each
    other: there is no direction to part in.

    Args:
        net: with layers that learn positions, such as ``DclsConv2d``.

    Raises:
        UsageError: a network without positions.

    Reference:
        Khalfaoui-Hassani, Pellegrini, Masquelier (2021, arXiv:2112.03740).
    """
    positions: dict[int, Tensor] = {}
    for module in net.modules():
        if isinstance(module, Spread) and module.moves == "positions":
            layer: Any = module
            owner = next((one for one in layer.stored_places() if one is not None), layer)
            positions.setdefault(id(owner), layer.position)
    if not positions:
        raise UsageError(
            "repulsive_loss: needs a network with learned positions, such as those of DclsConv2d, "
            f"got {type(net).__name__} with none."
        )
    overlaps = [_overlap(one) for one in positions.values() if one.shape[-1] > 1]
    if not overlaps:
        return next(iter(positions.values())).new_zeros(())
    return torch.stack([one.to(overlaps[0].device) for one in overlaps]).mean() ** 2


def _overlap(position: Float[Tensor, "axes *shape k"]) -> Float[Tensor, ""]:
    """The mean of max(0, 1 − distance) over all pairs within a kernel."""
    axes, k = position.shape[0], position.shape[-1]
    kernels = position.reshape(axes, -1, k)
    pairs = torch.combinations(torch.arange(k, device=position.device)).t()
    few = max(_AT_ONCE // pairs.shape[1], 1)
    parts = kernels.split(few, dim=1)
    if len(parts) == 1:
        total = _near(kernels, pairs)
    else:  # distances of each part are computed again for its gradient, rather than kept
        again: Any = {"use_reentrant": False, "preserve_rng_state": False}  # nothing is drawn
        total = sum(
            (checkpoint(_near, one, pairs, **again) for one in parts),
            position.new_zeros(()),
        )
    return total / (kernels.shape[1] * pairs.shape[1])


def _near(kernels: Float[Tensor, "axes n k"], pairs: Tensor) -> Float[Tensor, ""]:
    """Σ max(0, 1 − distance) over the pairs of each kernel."""
    first, second = pairs
    squared = (kernels[..., first] - kernels[..., second]).square().sum(0)
    apart = squared > 0  # a square root has no slope at 0
    distance = torch.where(apart, squared, 1).sqrt()
    return torch.where(apart, (1 - distance).clamp(min=0), 1.0).sum()
