"""An export: in numbers, within which limits of a chip it is, and as a page."""
