"""How often the neurons of a network fire."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from snn_delays.layers.networks import delay_layers
from snn_delays.losses import count_spikes
from snn_delays.neurons.normalised import Counting


class Firing:
    """A context that counts the spikes of neurons within each sample's own steps.

    What ``expect`` begins, ``found`` gives: numbers of one pass, which count once they are added.

    Only neurons that run a whole sequence count (``step_mode="m"``), in the network's own steps.
    Counts stay on the network's device until they are read, so that no batch waits for a GPU.
    """

    def __init__(self, net: nn.Module) -> None:
        self.spikes = self.cells = torch.zeros((), dtype=torch.long)
        self._found: list[tuple[Tensor, Tensor]] = []
        # Recurrent neurons give their spikes through the layer that contains them.
        layers = [one for one in delay_layers(net) if one.neuron is not None]
        inside = {part for one in layers for part in one.children()}
        nodes = [part for part in net.modules() if hasattr(part, "surrogate_function")]
        self.nodes = [*layers, *(node for node in nodes if node not in inside)]

    def __enter__(self) -> Firing:
        hook = self._hook()
        self._hooks = [node.register_forward_hook(hook) for node in self.nodes]
        return self

    def __exit__(self, *exception: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def expect(self, steps: int, durations: Tensor) -> None:
        """The next forward pass has so many steps, of which a sample's own are ``durations``."""
        self._steps, self._durations = steps, durations
        self._own = durations.sum()
        self._found = []

    def found(self) -> tuple[Tensor, Tensor]:
        """Spikes in the pass that was expected, and steps in which a neuron could have fired."""
        if not self._found:
            return self._own.new_zeros(()), self._own.new_zeros(())
        spikes, cells = (torch.stack(parts).sum() for parts in zip(*self._found, strict=True))
        return spikes, cells

    def add(self, spikes: Tensor, cells: Tensor) -> None:
        """Count what was found."""
        # Not in place: the sums begin on the CPU.
        self.spikes, self.cells = self.spikes + spikes, self.cells + cells

    def rate_hz(self, dt_ms: float) -> dict[str, float]:
        """Spikes per neuron and second; empty without neurons."""
        spikes, cells = int(self.spikes), int(self.cells)
        return {"rate_hz": spikes / cells / (dt_ms / 1000)} if cells else {}

    def state_dict(self) -> dict[str, Tensor]:
        """The counts."""
        return {"spikes": self.spikes.cpu(), "cells": self.cells.cpu()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Count on from there."""
        self.spikes, self.cells = state["spikes"], state["cells"]

    def _hook(self) -> Callable[..., None]:
        """What every node calls after its forward pass."""
        return Counting(self._count)

    def _count(self, counts: Tensor, neurons: int) -> None:
        if counts.shape == (self._steps, len(self._durations)):
            spikes = count_spikes(counts.unsqueeze(2), self._durations)
            self._found.append((spikes, self._own * neurons))
