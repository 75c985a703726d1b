"""The independent simulator: runs a delay table event by event and knows nothing else."""

from snn_delays.table.simulator.activity import events_in_flight, synaptic_operations
from snn_delays.table.simulator.events import Simulator, simulate
from snn_delays.table.simulator.nest_check import NestAgreement, compare_with_nest, run_in_nest
from snn_delays.table.simulator.simulation import Simulation, predict, scores

__all__ = [
    "NestAgreement",
    "Simulation",
    "Simulator",
    "compare_with_nest",
    "events_in_flight",
    "predict",
    "run_in_nest",
    "scores",
    "simulate",
    "synaptic_operations",
]
