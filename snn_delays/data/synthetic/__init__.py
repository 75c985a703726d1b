"""A task that only delays can solve, made from a seed."""
