"""``fit``: the training loop, one step of it, what is checked before, and what goes wrong."""

from snn_delays.training.loop import fit, published_schedule

__all__ = ["fit", "published_schedule"]
