"""A network whose populations can be watched: what evaluation and proofs run in a table's place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from spikingjelly.activation_based import functional
from torch import Tensor, fx, nn

from snn_delays.deploy.parts import step_mode
from snn_delays.deploy.trace import Traced


class RecordedNetwork(nn.Module):
    """A traced network on whole sequences, with the spikes of each of its populations.

    It shares the network's parameters and leaves its modules as they are, memories aside.

    Args:
        module: the network, or a copy of it with other parameters.
        traced: what ``trace`` made of it.
        readout, tail: of the table.

    Shape:
        ``[T, N, input_channels] → [T + tail, N, classes]``: the output's potentials, or its spikes
        where the output spikes; with ``return_spikes`` also the spikes of each population by name.
    """

    def __init__(self, module: nn.Module, traced: Traced, *, readout: str, tail: int) -> None:
        super().__init__()
        self.traced, self.readout, self.tail = traced, readout, tail
        self.graph = fx.GraphModule(module, traced.graph)
        self._stepwise = step_mode(module) == "s"

    def forward(
        self, x: Float[Tensor, "time batch *channels"], return_spikes: bool = False
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """The output over time, and what fired."""
        functional.reset_net(self.graph)
        x = torch.cat([x, x.new_zeros(self.tail, *x.shape[1:])])
        found: dict[str, list[Tensor]] = {}
        hooks = []
        if return_spikes:
            for population in self.traced.populations:
                if population.spiking:
                    node = self.graph.get_submodule(self.traced.nodes[population.name])
                    found[population.name] = []
                    hooks.append(node.register_forward_hook(_keep(found[population.name])))
        try:
            y = torch.stack([self.graph(now) for now in x]) if self._stepwise else self.graph(x)
        finally:
            for hook in hooks:
                hook.remove()
        if not return_spikes:
            return y
        # A node that is called step by step leaves a step each time.
        return y, {
            name: one[0] if len(one) == 1 and one[0].dim() > 2 else torch.stack(one)
            for name, one in found.items()
        }


def _keep(found: list[Tensor]) -> Callable[..., Any]:
    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        found.append(output)

    return keep
