"""Files of spikes in SHD's format: reading, checking and writing them, and binning their events."""

from snn_delays.data.events.reading import Events, read_events, stream_events
from snn_delays.data.events.writing import write_events

__all__ = ["Events", "read_events", "stream_events", "write_events"]
