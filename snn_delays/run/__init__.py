"""A run of training: its folder, the lock on it, and what is saved to go on from."""
