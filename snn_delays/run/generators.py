"""Where torch's random numbers stand, so that a training goes on within an epoch; and seeds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def generator_states(device: torch.device) -> dict[str, Tensor]:
    """Those of the CPU, and of the device of a network, by its kind."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def restore_generators(states: dict[str, Tensor], device: torch.device) -> None:
    """Go on from there; a device of another kind than then keeps its own numbers."""
    torch.set_rng_state(states["cpu"].cpu())
    if device.type != "cpu" and device.type in states:
        torch.get_device_module(device).set_rng_state(states[device.type].cpu())


def seed_of(*words: int) -> int:
    """One seed of several numbers, such as a seed, an epoch and a batch."""
    state = np.random.SeedSequence(words).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))
