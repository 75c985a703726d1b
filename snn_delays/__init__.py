"""Learn synaptic delays in spiking neural networks; deploy them as integers.

Everything that an author of networks needs is named here; loaders are in ``snn_delays.data``, the
integer table in ``snn_delays.table``, export and import in ``snn_delays.deploy``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snn_delays import callbacks, schedules
    from snn_delays.errors import UsageError
    from snn_delays.layers import (
        DelayConv1d,
        DelayConv2d,
        DelayLayer,
        RecurrentDelayLayer,
        clamp_delays_,
        parameter_groups,
        rounded,
        set_sigma,
        synapses_of,
    )
    from snn_delays.losses import sum_softmax
    from snn_delays.network import DelaySNN
    from snn_delays.neurons import LIFNode
    from snn_delays.training import fit

__all__ = [
    "DelayConv1d",
    "DelayConv2d",
    "DelayLayer",
    "DelaySNN",
    "LIFNode",
    "RecurrentDelayLayer",
    "UsageError",
    "callbacks",
    "clamp_delays_",
    "fit",
    "parameter_groups",
    "rounded",
    "schedules",
    "set_sigma",
    "sum_softmax",
    "synapses_of",
]

# Where these are. Loaded when asked for: the table needs no torch, and commands set up their
# process before torch comes.
_MODULES = (
    "errors",
    "schedules",
    "losses",
    "neurons",
    "layers",
    "network",
    "callbacks",
    "training",
)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"snn_delays.{name}")
    for module in map(__getattr__, _MODULES if name in __all__ else ()):
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
