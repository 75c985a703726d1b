"""The integer delay table: its files, its simulator, what chips can take of it; no torch.

More of each is named in ``table.models``, ``table.simulator``, ``table.formats``, ``table.chips``.
"""

from snn_delays.table.chips import load_chip, violations
from snn_delays.table.cost import table_cost
from snn_delays.table.equality import same_network
from snn_delays.table.formats import FORMATS, write_verified
from snn_delays.table.hdf5 import read_table, write_table
from snn_delays.table.models import MODELS
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection
from snn_delays.table.simulator import (
    Simulation,
    Simulator,
    events_in_flight,
    predict,
    scores,
    simulate,
    synaptic_operations,
)
from snn_delays.table.simulator.trials import write_sample
from snn_delays.table.table import DelayTable

__all__ = [
    "FORMATS",
    "MODELS",
    "DelayTable",
    "Population",
    "Projection",
    "Simulation",
    "Simulator",
    "events_in_flight",
    "load_chip",
    "predict",
    "read_table",
    "same_network",
    "scores",
    "simulate",
    "synaptic_operations",
    "table_cost",
    "violations",
    "write_sample",
    "write_table",
    "write_verified",
]
