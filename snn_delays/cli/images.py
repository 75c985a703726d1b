"""The networks of ``conf/model/convnext.yaml`` and ``resnet.yaml``."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from snn_delays.arguments import choice
from snn_delays.cli.settings import list_of
from snn_delays.image_networks import (
    ChannelNorm,
    ConvNeXtBlock,
    Convolution,
    ImageNetwork,
    ResNetBlock,
    dilated,
    learned_spacings,
    standard,
)


def convnext(
    *,
    frame: tuple[int, ...],
    n_classes: int,
    widths: list[int],
    depths: list[int],
    patch: int,
    expansion: int,
    drop_path: float,
    share_positions: Any,
    **of_convolution: Any,
) -> ImageNetwork:
    """Stages of depthwise convolutions and MLPs."""
    return ImageNetwork(
        *(frame, n_classes, list_of("model.widths", widths, "[16,32]")),
        list_of("model.depths", depths, "[2,2]"),
        partial(ConvNeXtBlock, expansion=expansion, drop_path=drop_path),
        _convolution(**of_convolution),
        norm=ChannelNorm,
        patch=patch,
        share_positions=share_positions,
    )


def resnet(
    *,
    frame: tuple[int, ...],
    n_classes: int,
    widths: list[int],
    depths: list[int],
    patch: int,
    share_positions: Any,
    **of_convolution: Any,
) -> ImageNetwork:
    """Stages of pairs of convolutions over all channels."""
    return ImageNetwork(
        *(frame, n_classes, list_of("model.widths", widths, "[16,32]")),
        list_of("model.depths", depths, "[2,2]"),
        ResNetBlock,
        _convolution(**of_convolution),
        norm=nn.BatchNorm2d,
        patch=patch,
        share_positions=share_positions,
    )


def _convolution(
    *,
    convolution: str,
    kernel_size: int,
    dilation: int,
    kernel_count: int,
    extent: int,
    first_spread: float,
    interpolation: Any,
    sigma_learned: Any,
    method: Any,
) -> Convolution:
    """The one that is called so."""
    spread = {"interpolation": interpolation, "sigma_learned": sigma_learned, "method": method}
    made = {
        "standard": partial(standard, kernel_size),
        "dilated": partial(dilated, kernel_size, dilation),
        "dcls": partial(learned_spacings, kernel_count, extent, first_spread, **spread),
    }
    return made[choice("model.convolution", convolution, tuple(made))]()
