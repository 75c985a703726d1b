"""A trained network as a table of integer delays, and proof that the table acts the same."""

from snn_delays.export.csv import read_csv, write_csv
from snn_delays.export.equality import same_network
from snn_delays.export.formats import FORMATS, write_verified
from snn_delays.export.hdf5 import read_table, write_table
from snn_delays.export.integer import integer_table
from snn_delays.export.nir_file import read_nir, write_nir
from snn_delays.export.nir_graph import to_nir
from snn_delays.export.nir_import import from_nir
from snn_delays.export.pynn import read_pynn, write_pynn
from snn_delays.export.simulator import Simulation, Simulator, predict, scores, simulate
from snn_delays.export.sonata import read_sonata, write_sonata
from snn_delays.export.table import DelayTable
from snn_delays.export.verify import Agreement, compare

__all__ = [
    "FORMATS",
    "Agreement",
    "DelayTable",
    "Simulation",
    "Simulator",
    "compare",
    "from_nir",
    "integer_table",
    "predict",
    "read_csv",
    "read_nir",
    "read_pynn",
    "read_sonata",
    "read_table",
    "same_network",
    "scores",
    "simulate",
    "to_nir",
    "write_csv",
    "write_nir",
    "write_pynn",
    "write_sonata",
    "write_table",
    "write_verified",
]
