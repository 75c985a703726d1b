"""From a trained torch network to its delay table: trace, fold, round, merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from spikingjelly.activation_based import functional
from torch import Tensor, fx, nn

from snn_delays.deploy.loading import LoadedNetwork
from snn_delays.deploy.parts import step_mode
from snn_delays.deploy.trace import trace
from snn_delays.deploy.traced import Traced
from snn_delays.errors import UsageError
from snn_delays.table.table import DelayTable


def integer_table(
    net: nn.Module,
    *,
    dt_ms: float,
    class_names: Sequence[str] | None = None,
    example: Tensor | None = None,
    readout: str | None = None,
    tail_steps: int | None = None,
) -> DelayTable:
    """The network as it acts in evaluation with rounded delays, as a table.

    The network itself is left as it is; its delays need not be rounded before.

    Args:
        net: ``DelaySNN``, or any network that ``trace`` takes.
        dt_ms: duration of a step.
        class_names: one per neuron of the output; numbers unless given.
        example: an input, where the network does not say how many channels it has.
        readout, tail_steps: how the output is read, and for how long after a sample; as the network
            has it (its attributes ``readout`` and ``tail``, a sum or mean over time in its
            forward) unless given.

    Raises:
        UsageError: as ``trace``, or a readout that does not go with the output's neurons.
    """
    traced = trace(net, example)
    readout, tail_steps = read_out(net, traced, readout, tail_steps)
    return traced.table(
        dt_ms=dt_ms, class_names=class_names, readout=readout, tail_steps=tail_steps
    )


def recorded(
    net: nn.Module,
    *,
    example: Tensor | None = None,
    readout: str | None = None,
    tail_steps: int | None = None,
) -> RecordedNetwork | LoadedNetwork:
    """The same network, ready to be compared with its table; arguments as ``integer_table``."""
    if isinstance(net, LoadedNetwork):
        return net
    traced = trace(net, example)
    readout, tail_steps = read_out(net, traced, readout, tail_steps)
    return RecordedNetwork(net, traced, readout=readout, tail=tail_steps)


def read_out(
    net: nn.Module, traced: Traced, readout: str | None, tail_steps: int | None
) -> tuple[str, int]:
    """How a network is read, and its tail: as given, else as it says itself."""
    own: Any = getattr(net, "readout", None) if readout is None else readout
    if not isinstance(own, str):  # none, or a module of that name
        own = traced.readout
    tail = getattr(net, "tail", 0) if tail_steps is None else tail_steps
    if tail_steps is None and isinstance(tail, nn.Module):
        tail = 0
    if type(tail) is not int or tail < 0:
        raise UsageError(f"tail_steps must be a whole number >= 0, got {tail!r}.")
    return own, tail


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
                    hooks.append(
                        node.register_forward_hook(
                            lambda _, __, y, kept=found[population.name]: kept.append(y)
                        )
                    )
        try:
            y = torch.stack([self.graph(now) for now in x]) if self._stepwise else self.graph(x)
        finally:
            for hook in hooks:
                hook.remove()
        if not return_spikes:
            return y
        # A node that is called step by step leaves a step each time.
        return y, {
            name: (one[0] if self._whole(one, x) else torch.stack(one)).flatten(2)
            for name, one in found.items()
        }

    def _whole(self, kept: list[Tensor], x: Tensor) -> bool:
        """Whether a node left one sequence."""
        one = kept[0]
        return len(kept) == 1 and not self._stepwise and one.dim() > 2 and len(one) == len(x)
