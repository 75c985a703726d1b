"""A delay table in torch: batches of samples at once, in exactly the table's arithmetic.

The simulator sends events one by one; this multiplies whole sequences or, where a projection leads
back, whole batches step by step. Populations in whole numbers agree with it to the bit: their sums
stay below what the float type holds exactly, and their leak is made of 64-bit integers. Float ones
compute in float64 and may differ in the last bits.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from snn_delays.deploy.table_synapses import Synapses
from snn_delays.errors import UsageError
from snn_delays.neurons import TORCH_MODELS
from snn_delays.table.population import Population
from snn_delays.table.table import INPUT, DelayTable


class TableNetwork(nn.Module):
    """The network that a table describes, for evaluation; ``load_table`` is for training.

    Args:
        table: what to compute.

    Shape:
        ``[T, N, input_channels] → [T + tail, N, classes]``, as ``DelaySNN``: the output's
        potentials in the network's own unit, or its spikes where it spikes (float64).

    Raises:
        UsageError: input of another width; for integer neurons input that is not whole numbers, or
            sums beyond 2^53.
    """

    def __init__(self, table: DelayTable) -> None:
        super().__init__()
        self.table, self.tail, self.readout = table, table.tail_steps, table.readout
        self._synapses = [Synapses(table, one) for one in table.projections]
        self._neurons = [_Neurons(one) for one in table.populations]
        self.parts = nn.ModuleList([*self._synapses, *self._neurons])

    def peaks(self) -> dict[str, Tensor]:
        """Largest |v| of each population, ``[T, N]``, of the last input; in its own counting."""
        return {one.name: one.peaks for one in self._neurons}

    @torch.no_grad()
    def forward(
        self, x: Float[Tensor, "time batch *frame"], return_spikes: bool = False
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """What is read out; with ``return_spikes`` also the spikes of every population by name."""
        channels, output = self.table.input_channels, self.table.output
        x = x.flatten(2) if x.dim() > 3 else x  # maps, channel by channel
        if x.dim() != 3 or x.shape[-1] != channels:
            raise UsageError(
                f"TableNetwork: input must be [T, N, {channels}], got {list(x.shape)}."
            )
        x = torch.cat([x, x.new_zeros(self.tail, *x.shape[1:])])
        for one in self._synapses:
            if one.source == INPUT:
                one.require_exact(x)
        steps, batch = x.shape[:2]
        spikes = {
            one.name: x.new_empty(steps, batch, one.size, dtype=torch.bool)
            for one in self.table.populations
        }
        v = x.new_empty(steps, batch, output.size, dtype=torch.float64)
        for one in self._neurons:
            one.start(steps, batch)

        def advance(neurons: _Neurons, t: int, current: Tensor) -> None:
            spikes[neurons.name][t] = neurons.step(t, current)
            if neurons.name == output.name:
                v[t] = neurons.state[0].double() * self.table.unit(output)

        if self.table.recurrent:
            for one in self._synapses:
                one.start(batch)
            for t, now in enumerate(x):
                self._send(INPUT, now)
                for neurons in self._neurons:
                    current = neurons.bias.expand(batch, -1)
                    for one in self._into(neurons):
                        current = current + one.arriving()
                    advance(neurons, t, current)
                    self._send(neurons.name, spikes[neurons.name][t])
        else:
            for neurons in self._neurons:
                current = neurons.bias.expand(steps, batch, -1)
                for one in self._into(neurons):
                    current = current + one.convolved(
                        x if one.source == INPUT else spikes[one.source]
                    )
                for t, now in enumerate(current):
                    advance(neurons, t, now)
        y = spikes[output.name].double() if output.spiking else v
        if not return_spikes:
            return y
        return y, {name: one for name, one in spikes.items() if self.table[name].spiking}

    def _into(self, neurons: _Neurons) -> list[Synapses]:
        return [one for one in self._synapses if one.target == neurons.name]

    def _send(self, source: str, now: Tensor) -> None:
        for one in self._synapses:
            if one.source == source:
                one.send(now)


class _Neurons(nn.Module):
    """A population, its state, and the largest |v| at every step."""

    bias: Tensor
    constants: Tensor
    rest: Tensor

    def __init__(self, population: Population) -> None:
        super().__init__()
        self.name, model = population.name, population.model
        described = TORCH_MODELS[model.family]
        step = described.whole_step if model.integer else described.step
        assert step is not None, f"{model.name} neurons have no step in torch"
        self._step = step
        constants, rest, self._scalars = population.step_values()
        exact = torch.int64 if model.integer else torch.float64
        for name, rows in (("bias", population.bias), ("constants", constants), ("rest", rest)):
            self.register_buffer(name, torch.from_numpy(rows).to(exact))
        self.state: list[Tensor] = []
        self.peaks = torch.zeros(0, 0)

    def start(self, steps: int, batch: int) -> None:
        """Rest."""
        self.state = [one.expand(batch, -1) for one in self.rest]
        self.peaks = self.bias.new_zeros(steps, batch)

    def step(self, t: int, current: Tensor) -> Tensor:
        """What fires at step t, of currents ``[N, size]``."""
        found = self._step(*self.state, current, *self.constants, *self._scalars)
        *self.state, spikes, h = found
        self.peaks[t] = h.abs().amax(1)
        return spikes
