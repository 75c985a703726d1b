"""Spike recordings: from files of events to binned batches."""

from snn_delays.data.loaded import SpikeData
from snn_delays.data.shd import load_shd
from snn_delays.data.split import Batch, SpikeSplit
from snn_delays.data.ssc import load_ssc
from snn_delays.data.synthetic import load_synthetic

__all__ = ["Batch", "SpikeData", "SpikeSplit", "load_shd", "load_ssc", "load_synthetic"]
