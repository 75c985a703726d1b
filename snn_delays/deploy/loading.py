"""From a delay table back to a torch network whose weights can be trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from spikingjelly.activation_based import base, functional
from torch import Tensor, fx, nn

from snn_delays.deploy.connections import Connection
from snn_delays.deploy.fold import synapses_of_layer
from snn_delays.deploy.parts import population_of
from snn_delays.deploy.table_synapses import as_layer
from snn_delays.deploy.traced import Traced
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.modules.inputs import require_dense, require_sequence
from snn_delays.neurons import TORCH_MODELS
from snn_delays.table.hdf5 import read_table
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection, merged
from snn_delays.table.require import naming
from snn_delays.table.table import INPUT, DelayTable


def load_table(path: Path | str) -> LoadedNetwork:
    """The network of ``delays.h5`` with integer delays at rest, and weights and biases to train.

    Without training it does what the table says, in float32. Synapses that the table lacks stay
    at zero, in copies too (``DelayLayer.mask``). Thresholds that differ from neuron to neuron
    become 1, with weights and biases in their proportion; the readout of integer weights is in the
    network's own unit. Whole-number neurons become float ones with the same constants. Any beta
    from 0 (tau of one step) to 1 (infinite tau) is taken.

    Raises:
        UsageError: no readable table, or neurons of one population that differ where torch's node
            cannot.
    """
    return LoadedNetwork(read_table(path))


class LoadedNetwork(nn.Module, base.StepModule):
    """The populations and projections of a table, as modules; see ``load_table``.

    Args:
        table: what to load.

    Shape:
        ``[T, N, input_channels] → [T + tail, N, classes]``: the output's potentials, or its spikes
        where it spikes; with ``return_spikes`` also those of each population by name. With
        ``step_mode="s"`` ``[N, input_channels] → [N, classes]``; then ``functional.reset_net``
        starts a new sample. A whole sequence always starts from silence.

    Raises:
        UsageError: as ``load_table``; an input of another width.
    """

    def __init__(self, table: DelayTable) -> None:
        super().__init__()
        self.input_channels, self.readout = table.input_channels, table.readout
        self.tail = table.tail_steps
        self.populations = tuple(one.name for one in table.populations)
        self.ends = {one.name: (one.source, one.target) for one in table.projections}
        self.ranges = {one.name: (one.min_delay, one.max_delay) for one in table.projections}
        self.back = {one.name for one in table.projections if table.leads_back(one)}
        self.step_mode = "m"
        self.synapses, self.neurons = nn.ModuleDict(), nn.ModuleDict()
        self.bias = nn.ParameterDict()
        for population in table.populations:
            with naming(f"load_table: population {population.name}"):
                self._add(table, population)
        self.eval()

    def _add(self, table: DelayTable, population: Population) -> None:
        unit = table.unit(population)
        bias, values = population.float_values(unit)
        slack = unit if population.integer else 1e-6
        model = TORCH_MODELS[population.model.family]
        node, divisor = model.build(values, population.scalars, slack)
        self.neurons[population.name] = node
        self.bias[population.name] = nn.Parameter(torch.from_numpy(bias / divisor).float())
        for projection in table.into(population.name):
            late = int(projection.name in self.back)  # the step that sending back takes anyway
            self.synapses[projection.name] = _layer(
                projection, table.size(projection.source), divisor, late
            )

    def forward(
        self, x: Float[Tensor, "*sequence"], return_spikes: bool = False
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """The output, and what fired."""
        require_dense("LoadedNetwork", x)
        if self.step_mode == "m" and x.dim() > 3:
            x = x.flatten(2)  # maps, channel by channel
        axes = ("T", "N") if self.step_mode == "m" else ("N",)
        require_sequence("LoadedNetwork", x, self.input_channels, axes)
        mode = "s" if self.back else self.step_mode
        functional.set_step_mode(self.synapses, mode)
        functional.set_step_mode(self.neurons, mode)
        if self.step_mode == "m":
            self.reset()
            x = torch.cat([x, x.new_zeros(self.tail, *x.shape[1:])])
        fired = self._whole(x) if self.step_mode == mode else self._stepwise(x)
        y = fired[self.populations[-1]]
        silent = "" if self.readout == "spike_count" else self.populations[-1]
        spikes = {name: one for name, one in fired.items() if name != silent}
        return (y, spikes) if return_spikes else y

    def reset(self) -> None:
        """Back to rest."""
        self.__dict__["_fired"] = {}
        functional.reset_net(self.synapses)
        functional.reset_net(self.neurons)

    def _whole(self, x: Tensor) -> dict[str, Tensor]:
        """What every population sends: of whole sequences, or of one step."""
        sent, before = {INPUT: x}, self.__dict__.get("_fired", {})
        for name in self.populations:
            size = self.bias[name].numel()
            current = self.bias[name].expand(*x.shape[:-1], size)
            for projection, (source, target) in self.ends.items():
                if target == name:
                    late = projection in self.back
                    now = before.get(source) if late else sent[source]
                    if now is None:  # nothing has been sent yet
                        now = x.new_zeros(*x.shape[:-1], self.bias[source].numel())
                    current = current + self.synapses[projection](now)
            sent[name] = self.neurons[name](current)
        del sent[INPUT]
        if self.back:
            self.__dict__["_fired"] = sent
        return sent

    def _stepwise(self, x: Tensor) -> dict[str, Tensor]:
        steps = [self._whole(now) for now in x]
        if not steps:
            shape = x.shape[:-1]
            return {name: x.new_zeros(*shape, self.bias[name].numel()) for name in self.populations}
        return {name: torch.stack([step[name] for step in steps]) for name in self.populations}

    def traced(self) -> Traced:
        """The network as ``deploy.trace`` would find it, which cannot follow what leads back."""
        populations, projections = [], []
        nodes = {name: f"neurons.{name}" for name in self.populations}
        for name in self.populations:
            bias = self.bias[name].detach().double().cpu().numpy()
            found, gain = population_of(name, self.neurons[name], bias)
            assert gain == 1
            populations.append(found)
        for name, (source, target) in self.ends.items():
            synapses = synapses_of_layer(self.synapses[name])
            post, pre, _ = np.indices(synapses.weight.shape)
            late = int(name in self.back)
            rows = merged(
                pre.ravel(), post.ravel(), synapses.delay.ravel() + late, synapses.weight.ravel()
            )
            _, longest = self.ranges[name]  # unless delays were trained beyond
            longest = int(rows.columns["delay"].max(initial=longest))
            projections.append(
                Projection(
                    source, target, **rows.columns, min_delay=late, max_delay=longest, name=name
                )
            )
        gains = dict.fromkeys(nodes, 1.0)
        parts, about = (tuple(populations), tuple(projections)), (self.input_channels, self.readout)
        return Traced(*parts, nodes, gains, *about, fx.Graph())

    def connections(self) -> list[Connection]:
        """The layers of synapses as ``deploy.connections`` would find them."""
        return [
            Connection(f"synapses.{name}", None, (f"neurons.{target}",))
            for name, (_, target) in self.ends.items()
        ]


def _layer(
    projection: Projection, n_pre: int, divisor: NDArray[np.float64], late: int
) -> DelayLayer:
    """The synapses of a projection, delays as learned ones at rest."""
    weight, delay = as_layer(projection, n_pre, len(divisor))
    layer = DelayLayer(
        n_pre,
        len(divisor),
        max(1, projection.max_delay - late),
        kernel_count=weight.shape[2],
        sigma=0.0,
    )
    current = weight * projection.weight_scale / divisor[:, None, None]
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(current))
        layer.delay.copy_(torch.from_numpy(np.maximum(delay - late, 0)))
    layer.delay.requires_grad_(False)
    layer.set_mask(layer.weight.detach() != 0)
    return layer
