"""What chips can take, as data, and what of a table they cannot."""

from snn_delays.table.chips.profile import CHIPS, ChipProfile, load_chip
from snn_delays.table.chips.violations import (
    not_simulated,
    violations,
    wrong_input,
    wrong_neurons,
)

__all__ = [
    "CHIPS",
    "ChipProfile",
    "load_chip",
    "not_simulated",
    "violations",
    "wrong_input",
    "wrong_neurons",
]
