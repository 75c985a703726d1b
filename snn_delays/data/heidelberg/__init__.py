"""The Heidelberg data sets: SHD and SSC."""
