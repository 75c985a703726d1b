"""One's own recordings, from arrays in memory."""
