"""A trained network as a delay table, what that costs, and whether the table acts the same."""

from snn_delays.deploy.quantise import activity, quantised

__all__ = [
    "activity",
    "quantised",
]
