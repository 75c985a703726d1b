"""Files of spikes in SHD's format: reading and checking them, and binning their events."""

from snn_delays.data.events.reading import Events, read_events, stream_events

__all__ = ["Events", "read_events", "stream_events"]
