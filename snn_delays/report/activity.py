"""Which neurons fire when: the spikes of every population, sample by sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from snn_delays.data import Batch, Split
from snn_delays.evaluation import output_of, tail
from snn_delays.report.course import batches
from snn_delays.run.firing import Firing


class Spikes(Firing):
    """Keeps, as a context, what fired in the last forward pass, by the name of the neurons.

    Shape:
        ``fired[name]`` ``[T, N, neurons]``.
    """

    fired: dict[str, Tensor]

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.names = {part: name for name, part in net.named_modules() if part in set(self.nodes)}
        self.fired = {}

    def _hook(self) -> Callable[..., None]:
        return self._keep

    def _keep(self, node: nn.Module, inputs: Any, fired: Any) -> None:
        if isinstance(fired, Tensor) and fired.shape[:2] == (self._steps, len(self._durations)):
            self.fired[self.names[node]] = fired.detach().flatten(2)


@torch.no_grad()
def spikes_of(net: nn.Module, batch: Batch) -> dict[str, Float[Tensor, "time batch neurons"]]:
    """What every population fires on a batch."""
    found = Spikes(net)
    with found:
        found.expect(len(batch.spikes) + tail(net), batch.lengths + tail(net))
        output_of(net, batch)
    return found.fired


@dataclass(frozen=True, eq=False)
class Rates:
    """How often each neuron of a population fires within samples' own steps.

    Shape:
        ``share`` ``[neurons]``: of steps in which it fires; of one that fires several times, more.
    """

    name: str
    share: Tensor


def rates(net: nn.Module, split: Split) -> list[Rates]:
    """Of all populations that fire, over all samples."""
    spikes: dict[str, Tensor] = {}
    steps = 0
    for batch in batches(split):
        durations = batch.lengths + tail(net)
        steps += int(durations.sum())
        for name, fired in spikes_of(net, batch).items():
            own = torch.arange(len(fired))[:, None] < durations
            now = (fired * own[..., None]).sum((0, 1), dtype=torch.float64)
            spikes[name] = spikes[name] + now if name in spikes else now
    return [Rates(name, count / steps) for name, count in spikes.items()]
