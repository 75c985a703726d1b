"""NIR: a table as a graph, in a file, and back from graphs that others have made."""
