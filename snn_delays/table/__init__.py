"""The integer delay table: its files, its simulator, what chips can take of it; no torch."""

from snn_delays.table.chips import CHIPS, ChipProfile, load_chip
from snn_delays.table.chips.violations import not_simulated, unknowns, violations
from snn_delays.table.cost import InFlight, LayerCost, events_in_flight, table_cost
from snn_delays.table.equality import same_network
from snn_delays.table.formats import FORMATS, write_verified
from snn_delays.table.formats.csv import read_csv, write_csv
from snn_delays.table.formats.nir_file import read_nir, write_nir
from snn_delays.table.formats.nir_graph import to_nir
from snn_delays.table.formats.nir_import import from_nir
from snn_delays.table.formats.pynn import read_pynn, write_pynn
from snn_delays.table.formats.sonata import read_sonata, write_sonata
from snn_delays.table.hdf5 import read_table, write_table
from snn_delays.table.sample import write_sample
from snn_delays.table.simulator import Simulator, simulate
from snn_delays.table.simulator.activity import synaptic_operations
from snn_delays.table.simulator.nest_check import NestAgreement, compare_with_nest, run_in_nest
from snn_delays.table.simulator.simulation import Simulation, predict, scores
from snn_delays.table.table import DelayTable

__all__ = [
    "CHIPS",
    "FORMATS",
    "ChipProfile",
    "DelayTable",
    "InFlight",
    "LayerCost",
    "NestAgreement",
    "Simulation",
    "Simulator",
    "compare_with_nest",
    "events_in_flight",
    "from_nir",
    "load_chip",
    "not_simulated",
    "predict",
    "read_csv",
    "read_nir",
    "read_pynn",
    "read_sonata",
    "read_table",
    "run_in_nest",
    "same_network",
    "scores",
    "simulate",
    "synaptic_operations",
    "table_cost",
    "to_nir",
    "unknowns",
    "violations",
    "write_csv",
    "write_nir",
    "write_pynn",
    "write_sample",
    "write_sonata",
    "write_table",
    "write_verified",
]
