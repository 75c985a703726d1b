"""Recordings: from files of events or audio to batches on a grid of time steps."""

from snn_delays.data.batch import Batch, SparseBatch
from snn_delays.data.gsc import load_gsc
from snn_delays.data.interface import Split
from snn_delays.data.loaded import SpikeData
from snn_delays.data.shd import load_shd
from snn_delays.data.split import SpikeSplit
from snn_delays.data.ssc import load_ssc
from snn_delays.data.synthetic import load_synthetic

__all__ = [
    "Batch",
    "SparseBatch",
    "SpikeData",
    "SpikeSplit",
    "Split",
    "load_gsc",
    "load_shd",
    "load_ssc",
    "load_synthetic",
]
