"""The neurons between delay layers: SpikingJelly's, quick on the CPU, and a leaky readout."""

from snn_delays.neurons.lif import LIFNode, lif
from snn_delays.neurons.parametric_lif import ParametricLIFNode
from snn_delays.neurons.readout import LeakyReadout

__all__ = ["LIFNode", "LeakyReadout", "ParametricLIFNode", "lif"]
