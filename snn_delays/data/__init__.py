"""Recordings: from files of events or audio, or arrays, to batches on a grid of time steps."""

from snn_delays.data.event_files import load_events
from snn_delays.data.gsc.loader import load_gsc
from snn_delays.data.heidelberg import load_shd, load_ssc
from snn_delays.data.image_folder import load_image_folder
from snn_delays.data.recordings import recordings
from snn_delays.data.splits.batch import Batch, SparseBatch
from snn_delays.data.splits.interface import SpikeData, Split
from snn_delays.data.splits.spike_split import SpikeSplit
from snn_delays.data.synthetic import load_synthetic

__all__ = [
    "Batch",
    "SparseBatch",
    "SpikeData",
    "SpikeSplit",
    "Split",
    "load_events",
    "load_gsc",
    "load_image_folder",
    "load_shd",
    "load_ssc",
    "load_synthetic",
    "recordings",
]
