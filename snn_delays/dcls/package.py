"""Modules of the published DCLS package as ours, with the same numbers.

The package (0.1.1) places an element at index P + extent // 2. Of which axis a row of P is depends
on the version: ``_ROWS``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snn_delays.arguments import choice
from snn_delays.dcls.convolution import DclsConv1d, DclsConv2d, DclsConv3d
from snn_delays.dcls.selection import swap_
from snn_delays.errors import UsageError
from snn_delays.interpolation import DCLS_OFFSET

_CLASSES: dict[int, Any] = {1: DclsConv1d, 2: DclsConv2d, 3: DclsConv3d}
# By version, the row of P of each learned axis in torch's order; v0 turns the last two of three.
_ROWS = {"v0": {1: [0], 2: [0, 1], 3: [0, 2, 1]}, "v1": {1: [0], 2: [1, 0], 3: [2, 1, 0]}}
# By class of the package, how many axes its convolution has.
_DIMENSIONS = {"Dcls1d": 1, "Dcls2d": 2, "Dcls3d": 3, "Dcls3_1d": 3, "Dcls2dK1d": 2}
# Theirs is the width of a triangle that is learned from 0; the logarithm of 0 is none.
_NO_WIDTH = 1e-6


def is_of_package(module: nn.Module) -> bool:
    """Whether a module is one of the package's convolutions."""
    kind = type(module)
    return kind.__name__ in _DIMENSIONS and kind.__module__.startswith("DCLS.")


@torch.no_grad()
def from_dcls(module: nn.Module) -> DclsConv1d | DclsConv2d | DclsConv3d:
    """A convolution of ours that computes what one of the package does; the latter stays as it is.

    σ is learned of each element where the package learns it (SIG), else fixed for each axis.

    Args:
        module: a Dcls1d, Dcls2d, Dcls3d, Dcls3_1d or Dcls2dK1d of DCLS 0.1.1, of any version.

    Raises:
        UsageError: another module, an unknown version, or elements beyond the extent, where the
            package's kernel is one that no position within can give.
    """
    if not is_of_package(module):
        raise UsageError(
            f"from_dcls: needs a {', '.join(_DIMENSIONS)} of the package DCLS, got "
            f"{type(module).__name__}."
        )
    theirs: Any = module
    n, version = _DIMENSIONS[type(module).__name__], theirs.version
    kinds = {"v0": "bilinear", "v1": "bilinear", "max": "triangle", "gauss": "gaussian"}
    choice("from_dcls: version", version, tuple(kinds))
    sizes, dense = list(theirs.dilated_kernel_size), list(getattr(theirs, "dense_kernel_size", ()))
    extent, axes = [*dense, *sizes], list(range(len(dense), n))
    if type(module).__name__ == "Dcls2dK1d":  # a kernel of one axis, the other is flat
        axes = [theirs.flat_dim]
        extent = [1, *sizes] if theirs.flat_dim else [*sizes, 1]
    # Their row of P for each of our axes. Its middle is that of the row, not of the axis.
    rows = _ROWS.get(version, _ROWS["v1"])[len(axes)]
    shape = list(theirs.weight.shape)
    if type(module).__name__ == "Dcls2dK1d":
        shape.insert(2, 1)
    weight = theirs.weight.detach().reshape(shape).clone()
    places = []
    for axis, row in zip(axes, rows, strict=True):
        index = theirs.P.detach()[row].reshape(shape) + sizes[row] // 2
        index, weight = _inside(index, extent[axis], weight, version)
        places.append(index - (extent[axis] - 1) / 2)
    sig: Any = theirs.SIG
    widths = None if sig is None else sig.detach()[rows].abs().reshape(-1, *shape)
    learns = sig is not None and bool(sig.requires_grad)
    fixed = widths is None or not (learns or _varies(widths))
    ours: Any = _CLASSES[n](
        *(theirs.in_channels, theirs.out_channels, theirs.kernel_count),
        extent=extent,
        learned_axes=axes,
        interpolation=kinds[version],
        sigma_learned=False if fixed else "element",
        stride=theirs.stride,
        padding=theirs.padding,
        groups=theirs.groups,
        bias=theirs.bias is not None,
        padding_mode=theirs.padding_mode,
    )
    ours.to(theirs.weight)
    ours.weight.copy_(weight)
    ours.position.copy_(torch.stack(places))
    if widths is not None:
        widths = widths.double() + (DCLS_OFFSET if version == "gauss" else 0.0)
        if fixed:
            ours.sigma = [float(one.flatten()[0]) for one in widths]
        else:
            ours.log_sigma.copy_(widths.clamp(min=_NO_WIDTH).log())
            ours.log_sigma.requires_grad_(learns)
    if ours.bias is not None:
        ours.bias.copy_(theirs.bias)
    for mine, of_theirs in ((ours.weight, theirs.weight), (ours.position, theirs.P)):
        mine.requires_grad_(of_theirs.requires_grad)
    if ours.bias is not None:
        ours.bias.requires_grad_(theirs.bias.requires_grad)
    return ours.train(theirs.training)


def replace_dcls(model: nn.Module) -> list[str]:
    """Swap the package's convolutions inside a model for ours, in place; gives their names.

    A module that stands in several places is swapped in all, and stays one.

    Raises:
        UsageError: as ``from_dcls``, with the name of the module; the model is then as before.
    """
    found: dict[nn.Module, nn.Module] = {}
    for name, module in model.named_modules():
        if is_of_package(module):
            try:
                found[module] = from_dcls(module)
            except UsageError as error:
                raise UsageError(f"{name or 'the model itself'}: {error}") from error
    if model in found:
        raise UsageError("replace_dcls: the model is itself such a module. Use from_dcls(model).")
    return swap_(model, found)


def _inside(index: Tensor, extent: int, weight: Tensor, version: str) -> tuple[Tensor, Tensor]:
    """Elements beyond the extent brought to its end, with the weight that they have there."""
    last = extent - 1
    beyond = (index - index.clamp(0, last)).abs()
    if version in ("v0", "v1"):
        # v0 leaves out the tap that is missing, v1 gives all weight to the last until it is none.
        share = (1 - beyond).clamp(min=0) if version == "v0" else (beyond < 1).to(weight)
        return index.clamp(0, last), weight * share
    if (beyond > 1e-6).any():
        raise UsageError(
            f"from_dcls: {int((beyond > 1e-6).sum()):,} of {index.numel():,} elements lie up to "
            f"{float(beyond.max()):.2g} beyond the extent of {extent}, where version {version} has "
            "a kernel of its own. Clamp P first: index P + extent // 2 within 0 … extent − 1."
        )
    return index.clamp(0, last), weight


def _varies(widths: Tensor) -> bool:
    flat = widths.flatten(1)
    return bool((flat != flat[:, :1]).any())
