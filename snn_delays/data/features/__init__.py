"""Sound as levels in mel bands, kept once computed, and as spikes."""
