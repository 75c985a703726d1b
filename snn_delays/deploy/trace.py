"""Any network of known parts as populations and projections.

``torch.fx`` follows the network's own forward, with layers and neurons as leaves; what flows
between them are sums of delayed spikes (``signals.py``), and every neuron node makes a population.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from operator import attrgetter
from typing import Any

import numpy as np
from spikingjelly.activation_based import base
from spikingjelly.activation_based import layer as sj_layer
from torch import Tensor, fx, nn

from snn_delays.deploy.fold import is_norm, is_synapses, norm_constants, synapses_of_layer, votes
from snn_delays.deploy.operations import OverTime, kind_of, operation
from snn_delays.deploy.parts import (
    ADVICE,
    CONTAINERS,
    NOTHING,
    follow,
    population_of,
    step_mode,
)
from snn_delays.deploy.signals import Signal
from snn_delays.errors import UsageError
from snn_delays.layers.memory import fresh_copy
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection, merged
from snn_delays.table.table import INPUT, DelayTable

# How an output is read when the network itself adds it up over time, by what is read.
_READOUTS = {True: {"sum": "spike_count", "mean": "spike_count"}, False: {"max": "max"}}


@dataclass(frozen=True, eq=False)
class Traced:
    """A network as a table has it.

    Args:
        populations, projections: in the table's words.
        nodes: of each population the name of its neuron node in the network; none for a readout
            that has none, as of a network that ends with weights.
        input_channels: size of the input.
        readout: as the network's own output suggests.
        graph: of its forward, up to the output over time.
    """

    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    nodes: dict[str, str]
    input_channels: int
    readout: str
    graph: fx.Graph

    def table(
        self, *, dt_ms: float, class_names: Sequence[str] | None, readout: str, tail_steps: int
    ) -> DelayTable:
        """The delay table; classes are numbered unless they have names."""
        names = class_names or list(map(str, range(self.populations[-1].size)))
        return DelayTable(
            populations=self.populations,
            projections=self.projections,
            dt_ms=float(dt_ms),
            class_names=tuple(names),
            readout=readout,
            tail_steps=tail_steps,
            input_channels=self.input_channels,
            created_by=_created_by(),
        )


def trace(module: nn.Module, example: Tensor | None = None) -> Traced:
    """Turn a network into populations and projections, delays rounded.

    The network is left as it is. A neuron node named ``1`` becomes the population ``lif_1``, one
    named ``block.lif`` becomes ``block_lif``, unless the network's ``population_names`` has another
    name for it. A network whose forward cannot be followed may have a method ``signals``, which
    does the same without resets and padding, or ``traced``, which
    is its answer to this.

    Args:
        module: any network of known parts, its forward of one tensor.
        example: an input ``[T, N, C, …]`` (``[N, C, …]`` in single-step mode), for the number of
            its channels; without one the first layer tells.

    Raises:
        UsageError: a module, operation or output that a table cannot express, by name.
    """
    own: Any = getattr(module, "traced", None)
    if own is not None:
        return own()
    copied = fresh_copy(module).eval()
    graph = follow(copied)
    channels = 1 if step_mode(copied) == "s" else 2
    if example is None:
        size = _first_width(copied, graph)
    else:
        size = int(np.prod(example.shape[channels:]))
    return _Reader(copied, graph, size, channels).read()


def _first_width(module: nn.Module, graph: fx.Graph) -> int:
    """Channels of the input, from the first layer that says how many it takes."""
    waiting = [node for node in graph.nodes if node.op == "placeholder"][:1]
    while waiting:
        node = waiting.pop(0)
        if node.op == "call_module":
            layer = module.get_submodule(str(node.target))
            for one in layer.modules():
                for name in ("in_features", "num_features"):
                    if hasattr(one, name):
                        return int(getattr(one, name))
        waiting += node.users
    raise UsageError("trace: no layer says how many inputs it takes. Give an example input.")


@dataclass
class _Reader:
    """Runs a graph on signals."""

    module: nn.Module
    graph: fx.Graph
    size: int
    channels: int  # the first dimension of an input that is no time and no sample
    populations: list[Population] = field(default_factory=list)
    signals: dict[str, Signal] = field(default_factory=dict)  # into each population
    gains: dict[str, float] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)
    read_input: bool = False
    called: set[str] = field(default_factory=set)
    over_time: fx.Graph = field(default_factory=fx.Graph)

    def read(self) -> Traced:
        values: dict[fx.Node, Any] = {}
        for node in self.graph.nodes:
            arguments = fx.map_arg(node.args, values.__getitem__)
            keywords = fx.map_arg(node.kwargs, values.__getitem__)
            try:
                values[node] = self._run(node, arguments, keywords)
            except UsageError as error:
                raise UsageError(f"trace: {_named(node)} {error}") from error
            if node.op == "output":
                self.over_time = _until(node, values)
                return self._traced(arguments[0])
        raise AssertionError("a graph without an output")

    def _run(self, node: fx.Node, arguments: Any, keywords: dict[str, Any]) -> Any:
        if node.op == "placeholder":
            if self.read_input:
                if node.args:  # a default, which stays
                    return node.args[0]
                raise UsageError("is a second input; a table has one.")
            self.read_input = True
            return Signal.of(INPUT, self.size)
        if node.op == "call_module":
            name = str(node.target)
            return self._through(name, self.module.get_submodule(name), arguments[0])
        if node.op == "get_attr":
            return attrgetter(str(node.target))(self.module)
        if node.op in ("call_function", "call_method"):
            return operation(node, arguments, keywords)
        return arguments

    def _through(self, name: str, module: nn.Module, x: Any, *, inside: bool = False) -> Signal:
        if not isinstance(x, Signal):
            raise UsageError(f"takes a signal over time, got {kind_of(x)}. {ADVICE}")
        if type(module) in CONTAINERS:
            for child_name, child in module.named_children():
                x = self._through(f"{name}.{child_name}", child, x, inside=True)
            return x
        if isinstance(module, base.MemoryModule) and type(module) not in NOTHING:
            if name in self.called:
                raise UsageError("is called twice, and remembers. Use one module for each call.")
            self.called.add(name)
        if is_synapses(module):
            return x.through(synapses_of_layer(module))
        if is_norm(module):
            if self.channels > 1 and not (inside or hasattr(module, "step_mode")):
                raise UsageError(
                    "takes dimension 1 of [T, N, C], the samples, for channels. Use BatchNorm1d of "
                    "spikingjelly.activation_based.layer, with step_mode='m'."
                )
            scale, mean, shift = norm_constants(module)
            if len(scale) != x.size:
                raise UsageError(f"normalises {len(scale)} channels, got {x.size}.")
            return replace(x.scaled(scale), bias=shift + scale * (x.bias - mean))
        if type(module) is sj_layer.VotingLayer:
            return x.through(votes(x.size, module.voting_size))
        if type(module) in NOTHING:
            start = getattr(module, "start_dim", self.channels)
            start += isinstance(module, sj_layer.Flatten)
            if start < self.channels:
                raise UsageError(
                    f"flattens from dimension {start}, steps and samples among them; channels "
                    f"begin at {self.channels}."
                )
            return x
        return self._population(name, module, x)

    def _population(self, name: str, node: nn.Module, x: Signal) -> Signal:
        own = getattr(self.module, "population_names", {}).get(name, re.sub(r"\W", "_", name))
        if not re.match(r"[A-Za-z_]", own):
            own = f"{type(node).__name__.lower().removesuffix('node')}_{own}"
        population, gain = population_of(own, node, x.bias)
        self.populations.append(population)
        self.signals[own], self.gains[own], self.nodes[own] = x, gain, name
        return Signal.of(own, x.size)

    def _traced(self, output: Any) -> Traced:
        kind = None
        if isinstance(output, OverTime):
            output, kind = output.signal, output.kind
        if not isinstance(output, Signal):
            raise UsageError(
                f"trace: the output is {kind_of(output)}; a table has one output over time, or its "
                "sum, mean or largest value over time."
            )
        last = output.only()
        if last is None or last == INPUT:
            last = self._weights_only(output)
        populations, projections = self._connected(last)
        spiking = populations[-1].spiking
        readout = _READOUTS[spiking].get(kind or "sum", "spike_count" if spiking else "mean")
        return Traced(populations, projections, self.nodes, self.size, readout, self.over_time)

    def _weights_only(self, output: Signal) -> str:
        """A readout for a network that ends with weights: v is their current, nothing is kept."""
        name = "readout"
        while name in self.signals:
            name += "_"
        self.populations.append(
            Population.of(name, "LI", output.size, bias=output.bias.astype(np.float32), beta=0.0)
        )
        self.signals[name], self.gains[name] = output, 1.0
        return name

    def _connected(self, last: str) -> tuple[tuple[Population, ...], tuple[Projection, ...]]:
        """The populations that the output depends on, it being the last, and their synapses."""
        needed, waiting = {last}, [last]
        while waiting:
            for source in self.signals[waiting.pop()].parts:
                if source != INPUT and source not in needed:
                    needed.add(source)
                    waiting.append(source)
        order = [one for one in self.populations if one.name in needed and one.name != last]
        order += [one for one in self.populations if one.name == last]
        return tuple(order), tuple(
            self._projection(source, one.name)
            for one in order
            for source in self.signals[one.name].parts
        )

    def _projection(self, source: str, target: str) -> Projection:
        rows, gain = self.signals[target].parts[source], self.gains[target]
        weight = rows.weight * gain if gain != 1 else rows.weight
        found = merged(rows.pre, rows.channel, rows.delay, weight)
        return Projection(source, target, **found.columns, min_delay=0, max_delay=rows.max_delay)


def _until(output: fx.Node, values: dict[fx.Node, Any]) -> fx.Graph:
    """The graph up to what is still over time, without a sum behind it."""
    graph, copied = fx.Graph(), {}
    last: Any = output.args[0]
    while isinstance(last, fx.Node) and isinstance(values[last], OverTime):
        last = last.args[0]
    for node in output.graph.nodes:
        if node.op != "output":
            copied[node] = graph.node_copy(node, copied.__getitem__)
        if node is last:
            break
    graph.output(copied.get(last))
    return graph


def _named(node: fx.Node) -> str:
    if node.op == "call_module":
        return f"module {node.target!r}"
    target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return f"operation {target!r}" if node.op.startswith("call") else f"{node.op} {target!r}"


def _created_by() -> str:
    try:
        return f"snn-delays {version('snn-delays')}"
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "snn-delays"
