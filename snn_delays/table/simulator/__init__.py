"""The independent simulator: runs a delay table event by event and knows nothing else."""

from snn_delays.table.simulator.activity import synaptic_operations
from snn_delays.table.simulator.events import Simulator, simulate
from snn_delays.table.simulator.simulation import Simulation, predict, scores

__all__ = ["Simulation", "Simulator", "predict", "scores", "simulate", "synaptic_operations"]
