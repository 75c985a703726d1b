"""HDF5 files whose damage shows, and is said in one line."""
