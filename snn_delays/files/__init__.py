"""Files written at once or not at all, or read so that damage shows: HDF5, SHD's format, sound."""
