"""What is done to all delay layers of a network."""

from __future__ import annotations

from torch import nn

from snn_delays.interpolation import Rounding
from snn_delays.layers.delayed import Delayed
from snn_delays.layers.memory import Net, fresh_copy
from snn_delays.modules.ranged import Ranged, Spread


def delay_layers(module: nn.Module) -> list[Delayed]:
    """Every delay layer in ``module``, in the order of definition."""
    return [child for child in module.modules() if isinstance(child, Delayed)]


def synapses_of(module: nn.Module) -> dict[str, nn.Module]:
    """The layers of synapses in a network by their names: delay layers and linear ones."""
    kinds = (Delayed, nn.Linear)
    return {name: child for name, child in module.named_modules() if isinstance(child, kinds)}


def set_sigma(module: nn.Module, sigma: float) -> None:
    """Give every layer of delays or positions in ``module`` the width ``sigma``, if it learns none.

    In steps, of positions in elements of the kernel.
    """
    for child in module.modules():
        if isinstance(child, Spread):
            child.schedule_sigma(sigma)


def set_rounding(module: nn.Module, rounding: Rounding) -> None:
    """Let the delays of every delay layer in ``module`` act so; see ``Buffers.rounding``."""
    for child in delay_layers(module):
        child.rounding = rounding


def clamp_delays_(module: nn.Module) -> None:
    """Bring delays, positions and neurons' constants in ``module`` back into their ranges."""
    for child in module.modules():
        if isinstance(child, Ranged):
            child.clamp_()


def rounded(module: Net) -> Net:
    """A copy of ``module`` as deployed: integer delays, σ = 0, no memory of past inputs."""
    copied = fresh_copy(module)
    for child in delay_layers(copied):
        child.round_()
    return copied
