"""Learn synaptic delays in spiking neural networks; deploy them as integers.

Everything that an author of networks needs is named here; loaders are in ``snn_delays.data``,
the integer table in ``snn_delays.export``, the training loop in ``snn_delays.training``.
"""

from snn_delays import schedules
from snn_delays.errors import UsageError
from snn_delays.layers import DelayLayer, clamp_delays_, rounded, set_sigma
from snn_delays.losses import sum_softmax
from snn_delays.network import DelaySNN
from snn_delays.neurons import LIFNode

__all__ = [
    "DelayLayer",
    "DelaySNN",
    "LIFNode",
    "UsageError",
    "clamp_delays_",
    "rounded",
    "schedules",
    "set_sigma",
    "sum_softmax",
]
