"""A run of training: its processes, the sums of an epoch, its folder, and what is saved in it."""
