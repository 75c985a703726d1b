"""The network of ``conf/model/conv.yaml``: convolutions with delays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from snn_delays.arguments import choice
from snn_delays.cli.settings import list_of
from snn_delays.convolutional import DelayConvSNN, patches, separable
from snn_delays.errors import UsageError
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.network import plain_synapses
from snn_delays.neurons import LeakyReadout


def delay_conv_snn(
    *,
    frame: tuple[int, ...],
    n_classes: int,
    neuron: Callable[[], nn.Module],
    delays: str,
    widths: list[int],
    max_delays: list[int],
    last_max_delay: int,
    kernel_size: int,
    strides: list[int],
    patch: int,
    pool: bool,
    tau: float,
    dropout: float,
    batch_norm: bool,
    granularity: Any,
    kernel_count: int,
    interpolation: Any,
    sigma_learned: bool,
    first_delays: Any,
    readout: Any,
    tail: int | None,
    method: Any,
) -> DelayConvSNN:
    """A stem, a stage of separable convolutions for each width, and a readout."""
    choice("model.delays", delays, ("learned", "fixed", "none"))
    of_each = {"widths": widths, "max_delays": max_delays, "strides": strides}
    for name, given in of_each.items():
        if len(widths) != len(list_of(f"model.{name}", given, "[32,64,128]")):
            raise UsageError(
                f"model.{name} must be one for each of {len(widths)} widths, got {given!r}."
            )
    space = max(len(frame) - 1, 1)
    common = {"kernel_count": kernel_count, "interpolation": interpolation}
    common |= {"sigma_learned": sigma_learned, "first_delays": first_delays}
    shape: dict[str, Any] = {"kernel_size": kernel_size, "space": space}
    own = {**common, **shape, "granularity": granularity, "method": method}
    plain = delays == "none"
    net = DelayConvSNN(
        frame,
        n_classes,
        widths,
        [
            partial(separable, max_delay=0, stride=stride, **shape)
            if plain
            else partial(separable, max_delay=longest, stride=stride, **own)
            for longest, stride in zip(max_delays, strides, strict=True)
        ],
        stem=partial(patches, size=patch, space=space),
        pool=pool,
        last=plain_synapses
        if plain or not last_max_delay
        else partial(DelayLayer, max_delay=last_max_delay, **common),
        neuron=neuron,
        norm="batch" if batch_norm else None,
        dropout=dropout,
        output=partial(LeakyReadout, tau),
        readout=readout,
        tail=tail,
    )
    if delays == "fixed":
        for delay in net.delay_parameters():
            delay.requires_grad_(False)
    return net
