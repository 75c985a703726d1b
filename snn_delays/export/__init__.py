"""A trained network as a table of integer delays, and whether the table acts the same."""

from snn_delays.export.chips import CHIPS, ChipProfile, load_chip
from snn_delays.export.chips.adapt import AdaptedDelays, adapt_delays
from snn_delays.export.chips.violations import not_simulated, unknowns, violations
from snn_delays.export.cost import InFlight, LayerCost, events_in_flight, table_cost
from snn_delays.export.deployment import Deployment, DeploySettings, deploy
from snn_delays.export.equality import same_network
from snn_delays.export.formats import FORMATS, write_verified
from snn_delays.export.formats.csv import read_csv, write_csv
from snn_delays.export.formats.nir_file import read_nir, write_nir
from snn_delays.export.formats.nir_graph import to_nir
from snn_delays.export.formats.nir_import import from_nir
from snn_delays.export.formats.pynn import read_pynn, write_pynn
from snn_delays.export.formats.sonata import read_sonata, write_sonata
from snn_delays.export.hdf5 import read_table, write_table
from snn_delays.export.integer import integer_table
from snn_delays.export.loading import load_table
from snn_delays.export.nest_check import NestAgreement, compare_with_nest, run_in_nest
from snn_delays.export.quantise import activity, quantised
from snn_delays.export.sample import write_sample
from snn_delays.export.simulator import Simulator, simulate
from snn_delays.export.simulator.activity import synaptic_operations
from snn_delays.export.simulator.simulation import Simulation, predict, scores
from snn_delays.export.table import DelayTable
from snn_delays.export.verify import Agreement, compare

__all__ = [
    "CHIPS",
    "FORMATS",
    "AdaptedDelays",
    "Agreement",
    "ChipProfile",
    "DelayTable",
    "DeploySettings",
    "Deployment",
    "InFlight",
    "LayerCost",
    "NestAgreement",
    "Simulation",
    "Simulator",
    "activity",
    "adapt_delays",
    "compare",
    "compare_with_nest",
    "deploy",
    "events_in_flight",
    "from_nir",
    "integer_table",
    "load_chip",
    "load_table",
    "not_simulated",
    "predict",
    "quantised",
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
