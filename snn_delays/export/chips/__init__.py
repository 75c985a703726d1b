"""What chips can take, as data, and tables made to fit them."""

from snn_delays.export.chips.adapt import AdaptedDelays, adapt_delays
from snn_delays.export.chips.profile import CHIPS, ChipProfile, load_chip
from snn_delays.export.chips.violations import (
    not_simulated,
    unknowns,
    violations,
    wrong_input,
    wrong_neurons,
)

__all__ = [
    "CHIPS",
    "AdaptedDelays",
    "ChipProfile",
    "adapt_delays",
    "load_chip",
    "not_simulated",
    "unknowns",
    "violations",
    "wrong_input",
    "wrong_neurons",
]
