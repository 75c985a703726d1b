"""Modules with delays, to stand between neurons."""

from snn_delays.layers.delay_conv import DelayConv1d, DelayConv2d
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.layers.groups import parameter_groups
from snn_delays.layers.networks import (
    clamp_delays_,
    delay_layers,
    rounded,
    set_rounding,
    set_sigma,
    synapses_of,
)
from snn_delays.layers.recurrent import RecurrentDelayLayer

__all__ = [
    "DelayConv1d",
    "DelayConv2d",
    "DelayLayer",
    "RecurrentDelayLayer",
    "clamp_delays_",
    "delay_layers",
    "parameter_groups",
    "rounded",
    "set_rounding",
    "set_sigma",
    "synapses_of",
]
