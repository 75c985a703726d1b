"""Kernels whose elements stand at learned places, in one to three dimensions.

    K[out, in, a, b, c] = Σ_k w[out, in, k] · g(a − p₀[out, in, k]) · g(b − p₁[…]) · g(c − p₂[…])

An axis that is not learned is dense: each of its places has elements of its own, ``weight`` is then
``[out, in, *dense extents, k]``, and so are the places on the other axes. The factor g of each axis
is that of ``interpolation.py``, and adds up to 1 over the extent.

Reference:
    Khalfaoui-Hassani, Pellegrini, Masquelier, "Dilated convolution with learnable spacings" (2021,
    arXiv:2112.03740) and "… beyond bilinear interpolation" (2023, arXiv:2306.00817).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.interpolation import at_least_single, interpolate

Spacing = Literal["bilinear", "triangle", "gaussian"]
SPACINGS: tuple[str, ...] = get_args(Spacing)
WHAT = "positions"  # as messages call them
_AXES = "abc"


def spreads(
    position: Float[Tensor, "learned out in *rest"],
    sigmas: Sequence[float | Tensor],
    extents: Sequence[int],
    interpolation: str,
) -> list[Float[Tensor, "out in *rest taps"]]:
    """The factor g of each learned axis, over its whole extent.

    Args:
        position: elements from the centre of the extent, which is (extent − 1) / 2.
        sigmas: the width of each learned axis: a number, or a tensor that broadcasts to
            ``position[axis]``. ``"bilinear"``, a triangle of width 0, has none.
        extents: of the learned axes alone.
    """
    found = []
    for places, sigma, extent in zip(position, sigmas, extents, strict=True):
        kind = "triangle" if interpolation == "bilinear" else interpolation
        if interpolation == "bilinear":
            sigma = 0.0
        elif isinstance(sigma, Tensor) and sigma.dim():
            sigma = sigma.unsqueeze(-1)
        found.append(interpolate(places + (extent - 1) / 2, sigma, extent - 1, kind, WHAT))
    return found


def dense_kernel(
    weight: Float[Tensor, "out in *rest"],
    position: Float[Tensor, "learned out in *rest"],
    sigmas: Sequence[float | Tensor],
    extent: Sequence[int],
    learned_axes: Sequence[int],
    interpolation: str,
) -> Float[Tensor, "out in *extent"]:
    """The kernel as ``torch.nn.functional``'s convolutions take it.

    Args:
        weight: ``[out, in / groups, *extents of the axes that are not learned, k]``.
        position, sigmas, interpolation: as for ``spreads``.
        extent: of every axis, as torch orders them.
        learned_axes: rising.
    """
    wide = at_least_single(weight.dtype)  # distances and their squares exceed half precision
    sizes = [extent[axis] for axis in learned_axes]
    widths = [one.to(wide) if isinstance(one, Tensor) else one for one in sigmas]
    factors = spreads(position.to(wide), widths, sizes, interpolation)
    dense = "".join(_AXES[axis] for axis in range(len(extent)) if axis not in learned_axes)
    element = names = f"oi{dense}k"
    kernel = weight.to(wide)
    for axis, factor in zip(learned_axes, factors, strict=True):
        result = f"{names}{_AXES[axis]}"
        if axis == learned_axes[-1]:  # the elements are added up with the last factor
            result = result.replace("k", "")
        kernel = torch.einsum(f"{names},{element}{_AXES[axis]}->{result}", kernel, factor)
        names = result
    order = "oi" + _AXES[: len(extent)]
    return kernel.permute([names.index(one) for one in order]).contiguous().to(weight.dtype)
