"""Networks for images of the package timm, with learnable spacings."""

from __future__ import annotations

import importlib
import logging
from typing import Any, Literal

from spikingjelly.activation_based import layer
from torch import nn

from snn_delays.arguments import real_number, shown, whole_number
from snn_delays.dcls.convolution import DclsConv2d
from snn_delays.dcls.replace import replace_convs
from snn_delays.dcls.selection import Select
from snn_delays.errors import UsageError, one_line
from snn_delays.ops.spacings import Spacing

_log = logging.getLogger("snn_delays")


def timm_network(
    name: str,
    *,
    n_classes: int,
    n_channels: int = 3,
    kernel_size: int | None = None,
    extent: int = 17,
    kernel_count: int | None = None,
    same_parameters: bool = False,
    interpolation: Spacing = "bilinear",
    sigma: float | None = None,
    share_positions: Literal["stage"] | None = "stage",
    weight_std: float | None = None,
    drop_path: float = 0.0,
) -> nn.Module:
    """A network of timm's whose convolutions ``replace_convs`` has swapped, untrained.

    Args:
        name: of a model of timm, such as ``"convnext_tiny"`` or ``"resnet50"``.
        n_classes: number of classes.
        n_channels: of the images.
        kernel_size: swap the square convolutions of that size; ``None`` is all depthwise ones.
        extent, kernel_count, same_parameters, interpolation, sigma, share_positions: as for
            ``replace_convs``.
        weight_std: standard deviation of a normal distribution, cut off at ± 2, of which the
            swapped weights are drawn, with biases of 0; ``None`` leaves them as ``DclsConv2d`` and
            timm draw them.
        drop_path: largest probability of a residual branch to be left out in training.

    Shape:
        ``[T, N, channels, H, W] → [T, N, n_classes]``: every step is an image of its own.

    Raises:
        UsageError: timm is not installed or has no such model; settings that fit none of its
            convolutions.
    """
    timm = _timm()
    if not timm.is_model(name):
        near = timm.list_models(f"*{name[:6]}*")[:5]
        raise UsageError(f"timm_network: timm has no model {shown(name)}; near are {shown(near)}.")
    settings = {"num_classes": whole_number("timm_network: n_classes", n_classes, 1)}
    settings["in_chans"] = whole_number("timm_network: n_channels", n_channels, 1)
    drop_path = real_number("timm_network: drop_path", drop_path, 0, below=1)
    net = timm.create_model(
        name, **settings, **({"drop_path_rate": drop_path} if drop_path else {})
    )
    select: Select = "depthwise"
    if kernel_size is not None:
        select = lambda _, conv: set(conv.kernel_size) == {kernel_size}  # noqa: E731
    report = replace_convs(
        net,
        select,
        extent=extent,
        kernel_count=kernel_count,
        interpolation=interpolation,
        sigma=sigma,
        share_positions=share_positions,
        same_parameters=same_parameters,
    )
    _log.info(
        f"{name}: {len(report.layers)} convolutions with learnable spacings, "
        f"{report.parameters_before:,} parameters became {report.parameters_after:,}."
    )
    if weight_std is not None:
        std = real_number("timm_network: weight_std", weight_std, above=0)
        for own in net.modules():
            if isinstance(own, DclsConv2d):
                nn.init.trunc_normal_(own.weight, std=std)
                if own.bias is not None:
                    nn.init.zeros_(own.bias)
    return layer.SeqToANNContainer(net)


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:  # torchvision that does not fit torch
        raise UsageError(
            f"timm_network: timm cannot be imported ({one_line(error)}). Install it with: pip "
            "install 'snn-delays[images]', and a torchvision of the same build as torch."
        ) from error
