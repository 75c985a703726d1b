"""Files of spikes in SHD's format: reading and checking them, and binning their events."""
