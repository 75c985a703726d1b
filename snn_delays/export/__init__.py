"""A trained network as a table of integer delays, and proof that the table acts the same."""

from snn_delays.export.activity import synaptic_operations
from snn_delays.export.csv import write_csv
from snn_delays.export.hdf5 import read_table, write_table
from snn_delays.export.integer import integer_table
from snn_delays.export.simulation import Simulation, predict, scores
from snn_delays.export.simulator import Simulator, simulate
from snn_delays.export.table import DelayTable
from snn_delays.export.verify import Agreement, compare

__all__ = [
    "Agreement",
    "DelayTable",
    "Simulation",
    "Simulator",
    "compare",
    "integer_table",
    "predict",
    "read_table",
    "scores",
    "simulate",
    "synaptic_operations",
    "write_csv",
    "write_table",
]
