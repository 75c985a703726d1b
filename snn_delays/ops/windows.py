"""The few taps of each element of a large kernel: a window, and where it begins.

    K[o] = Σ_k w[o, k] · g(rows − r[o, k]) ⊗ g(columns − c[o, k])

The factor g of an axis is that of ``interpolation.py``. But for a few taps it is 0, or below
rounding: 2 taps are left for a bilinear element, 5 for a Gaussian at σ = 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from snn_delays.errors import UsageError
from snn_delays.interpolation import gaussian, inside, nearest, triangle
from snn_delays.ops import taps
from snn_delays.ops.spacings import WHAT

# First tap of every element's window along one axis, [out, k], and its taps' shares [out, k, taps].
Spread = tuple[Tensor, Tensor]


def spread(
    position: Float[Tensor, "out k"],
    sigma: float | Float[Tensor, "#out #k"],
    extent: int,
    interpolation: str,
) -> Spread:
    """Windows along a learned axis.

    Args:
        position: taps from the first one of the extent; beyond it, those of the nearest end count.
        sigma: in taps; not used by ``"bilinear"``.
        interpolation: ``"bilinear"``, ``"triangle"`` or ``"gaussian"``.

    Raises:
        UsageError: positions or widths that are NaN or infinite.
    """
    position = inside(position, extent - 1, WHAT)
    if interpolation == "bilinear":
        sigma = 0.0
    widest = float(sigma.detach().max()) if isinstance(sigma, Tensor) else sigma
    if not math.isfinite(widest):
        raise UsageError(
            "A width sigma is NaN or infinite. Go back to a state from before, and lower the "
            "learning rate of sigma."
        )
    place = position.detach()
    if interpolation in ("bilinear", "triangle"):
        half = math.ceil(1 + widest)
        size, first = 2 * half, place.floor().int() - half + 1
        # Where the triangle ends on a tap, that tap has a gradient: half of one side's.
        if ((place == place.floor()) & (place > 0) & (place < extent - 1)).any():
            size, first = size + 1, first - 1
    else:
        size = taps.width(widest, extent, "gaussian", place.dtype)
        first = place.round().int() - size // 2
    size = min(size, extent)
    first = first.clamp(0, extent - size)
    places = first.unsqueeze(-1) + torch.arange(size, dtype=place.dtype, device=place.device)
    if isinstance(sigma, Tensor):
        sigma = sigma.unsqueeze(-1)
    if interpolation in ("bilinear", "triangle"):
        return first, triangle(position, sigma, places)
    if not isinstance(sigma, Tensor) and sigma == 0:
        return first, nearest(position, places)
    return first, gaussian(position, sigma, places)


def fixed(place: Int[Tensor, "out k"], dtype: torch.dtype) -> Spread:
    """Windows along an axis that is not learned: each element's own tap."""
    return place.int(), torch.ones(*place.shape, 1, dtype=dtype, device=place.device)


def coefficients(
    weight: Float[Tensor, "out k"], rows: Spread, columns: Spread
) -> tuple[Float[Tensor, "out k rows columns"], Int[Tensor, "out k 2"]]:
    """What ``depthwise.convolve`` takes: the taps of each window, and its first tap."""
    window = rows[1].unsqueeze(-1) * columns[1].unsqueeze(-2)
    return weight[..., None, None] * window, torch.stack([rows[0], columns[0]], dim=-1)


def of_elements(
    weight: Float[Tensor, "out 1 *rest"],
    position: Float[Tensor, "axes out 1 *rest"],
    sigmas: Sequence[float | Tensor],
    extent: Sequence[int],
    learned_axes: Sequence[int],
    interpolation: str,
) -> tuple[Float[Tensor, "out k rows columns"], Int[Tensor, "out k 2"]]:
    """``coefficients`` of a depthwise kernel of one or two axes, some of them learned.

    Args:
        weight: ``[out, 1, *extents of the axes that are not learned, k]``.
        position: for each learned axis, taps from the centre of the extent.
        sigmas: of each learned axis, a number or broadcastable to ``weight``.
    """
    shape = weight.shape[2:]
    others = [axis for axis in range(len(extent)) if axis not in learned_axes]
    sides: list[Spread] = []
    for axis, size in enumerate(extent):
        if axis in learned_axes:
            number = list(learned_axes).index(axis)
            sigma = sigmas[number]
            if isinstance(sigma, Tensor):
                sigma = sigma.expand_as(weight).flatten(1)
            places = position[number].flatten(1) + (size - 1) / 2
            sides.append(spread(places, sigma, size, interpolation))
        else:
            at = [1] * len(shape)
            at[others.index(axis)] = size
            place = torch.arange(size, device=weight.device).view(at).expand(shape).flatten()
            sides.append(fixed(place.expand(len(weight), -1), weight.dtype))
    if len(sides) == 1:
        place = torch.zeros(weight.flatten(1).shape, dtype=torch.int32, device=weight.device)
        sides.insert(0, fixed(place, weight.dtype))
    return coefficients(weight.flatten(1), sides[0], sides[1])
