"""The neurons between delay layers: SpikingJelly's, quick on CPUs and GPUs, and a leaky readout."""

from importlib import import_module

from snn_delays.neurons.adlif import (
    AdaptiveNode,
    AdLIFNode,
    CAdLIFNode,
    SEAdLIFNode,
    SiLIFNode,
)
from snn_delays.neurons.described import TorchModel
from snn_delays.neurons.li import LeakyReadout
from snn_delays.neurons.lif import LIFNode, ParametricLIFNode, lif
from snn_delays.neurons.plif import PLIFNode
from snn_delays.table.models import NAMES

# The torch side of every model of the table, by the float model's name.
TORCH_MODELS: dict[str, TorchModel] = {
    found.model: found
    for found in (import_module(f"snn_delays.neurons.{name}").TORCH for name in NAMES)
}

__all__ = [
    "TORCH_MODELS",
    "AdLIFNode",
    "AdaptiveNode",
    "CAdLIFNode",
    "LIFNode",
    "LeakyReadout",
    "PLIFNode",
    "ParametricLIFNode",
    "SEAdLIFNode",
    "SiLIFNode",
    "TorchModel",
    "lif",
]
