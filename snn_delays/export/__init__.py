"""A trained network as a table of integer delays, and proof that the table acts the same."""

from snn_delays.export.activity import synaptic_operations
from snn_delays.export.adapt import AdaptedDelays, adapt_delays
from snn_delays.export.chips import CHIPS, ChipProfile, load_chip
from snn_delays.export.cost import InFlight, LayerCost, events_in_flight, table_cost
from snn_delays.export.csv import write_csv
from snn_delays.export.hdf5 import read_table, write_table
from snn_delays.export.integer import integer_table
from snn_delays.export.simulation import Simulation, predict, scores
from snn_delays.export.simulator import Simulator, simulate
from snn_delays.export.table import DelayTable
from snn_delays.export.verify import Agreement, compare
from snn_delays.export.violations import unknowns, violations

__all__ = [
    "CHIPS",
    "AdaptedDelays",
    "Agreement",
    "ChipProfile",
    "DelayTable",
    "InFlight",
    "LayerCost",
    "Simulation",
    "Simulator",
    "adapt_delays",
    "compare",
    "events_in_flight",
    "integer_table",
    "load_chip",
    "predict",
    "read_table",
    "scores",
    "simulate",
    "synaptic_operations",
    "table_cost",
    "unknowns",
    "violations",
    "write_csv",
    "write_table",
]
