"""Files that are none of a data set's own: downloads, archives, and what is kept of them."""
