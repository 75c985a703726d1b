"""A trained network as a table of integer delays, and proof that the table acts the same."""

from snn_delays.export.csv import write_csv
from snn_delays.export.hdf5 import read_table, write_table
from snn_delays.export.integer import integer_table
from snn_delays.export.nest_check import NestAgreement, compare_with_nest, run_in_nest
from snn_delays.export.sample import write_sample
from snn_delays.export.simulator import Simulation, Simulator, predict, scores, simulate
from snn_delays.export.table import DelayTable
from snn_delays.export.verify import Agreement, compare

__all__ = [
    "Agreement",
    "DelayTable",
    "NestAgreement",
    "Simulation",
    "Simulator",
    "compare",
    "compare_with_nest",
    "integer_table",
    "predict",
    "read_table",
    "run_in_nest",
    "scores",
    "simulate",
    "write_csv",
    "write_sample",
    "write_table",
]
