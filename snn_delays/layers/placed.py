"""Weights of a convolution that learn where in space they stand, beside when."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from snn_delays.modules.ranged import Spread
from snn_delays.ops.spacings import spreads


class Placed(Spread, nn.Module):
    """Spreads each element of a kernel over the places around its own, as DCLS does.

        weight[o, i, s, k] = w[o, i, k] · Π_axes g(s − p[o, i, k])

    with g bilinear. A parametrisation of ``weight``; the elements keep their delays.

    Args:
        elements: shape of w, ``[out, in / groups, *1, k]``, with a 1 for each axis of space.
        extent: of the kernel in space.

    Shape:
        ``position`` ``[axes, *elements]``: places from the middle of the extent, at first
        N(0, 0.5) as published.

    Reference:
        Khalfaoui-Hassani, Pellegrini, Masquelier (2021, arXiv:2112.03740).
    """

    moves = "positions"

    def __init__(self, elements: tuple[int, ...], extent: tuple[int, ...]) -> None:
        super().__init__()
        self.extent = extent
        self.position = nn.Parameter(torch.empty(len(extent), *elements))
        nn.init.normal_(self.position, 0.0, 0.5)
        self.clamp_()

    def forward(self, weight: Float[Tensor, "out in *places k"]) -> Tensor:
        axes = len(self.extent)
        flat = self.position.flatten(3)  # [axes, out, in, k]
        widths = [0.0] * axes
        for axis, factor in enumerate(spreads(flat, widths, self.extent, "bilinear")):
            shape = [*factor.shape[:2], *[1] * axes, factor.shape[2]]
            shape[2 + axis] = self.extent[axis]
            weight = weight * factor.movedim(-1, 2).reshape(shape)
        return weight

    @property
    def at_rest(self) -> bool:
        return False

    def learned_widths(self) -> list[nn.Parameter]:
        return []

    def schedule_sigma(self, sigma: float) -> None:
        """Bilinear elements have no width."""

    @property
    def ranges(self) -> dict[str, list[tuple[float, float]]]:
        return {"position": [(-(extent - 1) / 2, (extent - 1) / 2) for extent in self.extent]}
