"""Any network of known parts as populations and projections.

``torch.fx`` follows the network's own forward, with layers and neurons as leaves; what flows
between them are sums of delayed spikes (``signals.py``), and every neuron node makes a population.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from operator import attrgetter
from typing import Any

import numpy as np
from spikingjelly.activation_based import base
from spikingjelly.activation_based import layer as sj_layer
from torch import Tensor, fx, nn

from snn_delays.deploy.fold import (
    is_norm,
    is_pool,
    is_synapses,
    norm_constants,
    pooled,
    synapses_of_layer,
    votes,
)
from snn_delays.deploy.operations import OverTime, kind_of, operation
from snn_delays.deploy.parts import (
    ADVICE,
    CONTAINERS,
    FLATTENS,
    NOT_FOLLOWED,
    NOTHING,
    follow,
    neurons_in,
    population_of,
    step_mode,
    unpacked,
)
from snn_delays.deploy.probe import require_currents, require_steps
from snn_delays.deploy.signals import Signal
from snn_delays.deploy.traced import Traced
from snn_delays.errors import UsageError, one_line
from snn_delays.layers.networks import rounded
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection, merged
from snn_delays.table.table import INPUT

# How an output is read, by whether it spikes and what the network itself does with it over time.
_READOUTS = {
    **{(True, kind): "spike_count" for kind in (None, "sum", "mean")},
    **{(False, kind): "mean" for kind in (None, "sum", "mean")},
    (False, "max"): "max",
}


def trace(module: nn.Module, example: Tensor | None = None) -> Traced:
    """Turn a network into populations and projections, delays rounded.

    The network is left as it is. A neuron node named ``1`` becomes the population ``lif_1``, one
    named ``block.lif`` becomes ``block_lif``, unless the network's ``population_names`` has another
    name for it. A network whose forward cannot be followed may have a method ``signals``, which
    does the same without resets and padding, or ``traced``, which is its answer to this. What is
    found is tried with random spikes (``probe.py``) before it is given back.

    Args:
        module: any network of known parts, its forward of one tensor.
        example: an input ``[T, N, C, …]`` (``[N, C, …]`` in single-step mode), for the number of
            its channels; without one the first layer tells.

    Raises:
        UsageError: a module, operation or output that a table cannot express, by name.
    """
    if hasattr(type(module), "traced"):
        return module.traced()  # pyright: ignore[reportCallIssue]
    for name, one in module.named_parameters():
        if one.is_floating_point() and one.dtype.itemsize < 4:
            raise UsageError(
                f"trace: {name} is {one.dtype}, too coarse to check a table by. Export net.float()."
            )
    copied = rounded(module).eval()
    graph = follow(copied)
    channels = 1 if step_mode(copied) == "s" else 2
    shape = _frame(copied, graph) if example is None else example.shape[channels:]
    names = getattr(module, "population_names", {})
    if not isinstance(names, Mapping):
        raise UsageError(
            f"population_names must be names of populations by names of modules, got {names!r:.60}."
        )
    return _Reader(copied, graph, tuple(shape), channels, names).read()


def _frame(module: nn.Module, graph: fx.Graph) -> tuple[int, ...]:
    """Shape of one step's input: as the network's ``frame`` says, or the first layer."""
    own = getattr(module, "frame", None)
    if isinstance(own, tuple) and all(isinstance(size, int) for size in own):
        return own
    return (_first_width(module, graph),)


def _first_width(module: nn.Module, graph: fx.Graph) -> int:
    """Channels of the input, from the first layer that says how many it takes."""
    waiting = [user for node in graph.nodes if node.op == "placeholder" for user in node.users]
    for node in waiting:  # which grows
        if node.op == "call_module":
            for one in module.get_submodule(str(node.target)).modules():
                if hasattr(one, "in_channels"):
                    raise UsageError(
                        "trace: a convolution does not say how large its maps are. Give an example "
                        "input."
                    )
                for name in ("in_features", "num_features"):
                    if hasattr(one, name):
                        return int(getattr(one, name))
        if _called(node) not in ("getitem", "chunk", "split", "cat", "concat", "concatenate"):
            waiting += node.users
    raise UsageError("trace: no layer says how many inputs it takes. Give an example input.")


@dataclass
class _Reader:
    """Runs a graph on signals."""

    module: nn.Module
    graph: fx.Graph
    shape: tuple[int, ...]  # of the input's channels
    channels: int  # the first dimension of an input that is no time and no sample
    names: Mapping[str, str] = field(default_factory=dict)  # of populations, by nodes' names
    populations: list[Population] = field(default_factory=list)
    signals: dict[str, Signal] = field(default_factory=dict)  # into each population
    gains: dict[str, float] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)
    called: set[nn.Module] = field(default_factory=set)
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
            except (*NOT_FOLLOWED, LookupError, ArithmeticError) as error:
                raise UsageError(
                    f"trace: {_named(node)} cannot be read: {one_line(error)}. {ADVICE}"
                ) from error
            if node.op == "output":
                self.over_time = _until(node, values)
                return self._traced(arguments[0])
        raise AssertionError("a graph without an output")

    def _run(self, node: fx.Node, arguments: Any, keywords: dict[str, Any]) -> Any:
        if node.op == "placeholder":
            return Signal.of(INPUT, self.shape)
        if node.op == "call_module":
            name = str(node.target)
            return self._through(
                name, self.module.get_submodule(name), *arguments, *keywords.values()
            )
        if node.op == "get_attr":
            if str(node.target).startswith("_tensor_constant"):
                raise UsageError(
                    "is a tensor that the forward makes. Keep it in the network: "
                    "self.register_buffer(…)."
                )
            return attrgetter(str(node.target))(self.module)
        if node.op in ("call_function", "call_method"):
            return operation(node, arguments, keywords)
        return arguments

    def _through(self, name: str, module: nn.Module, x: Any) -> Signal:
        inside = type(module) in CONTAINERS
        for child_name, child in unpacked(name, module):
            x = self._through_one(child_name, child, x, inside)
        return x

    def _through_one(self, name: str, module: nn.Module, x: Any, inside: bool) -> Signal:
        if not isinstance(x, Signal):
            raise UsageError(f"takes a signal over time, got {kind_of(x)}. {ADVICE}")
        if isinstance(module, base.MemoryModule) and type(module) not in NOTHING:
            if module in self.called:
                raise UsageError("is called twice, and remembers. Use one module for each call.")
            self.called.add(module)
        if is_synapses(module):
            return x.through(synapses_of_layer(module))
        if is_pool(module):
            return x.through(pooled(module, x.frame))
        if is_norm(module):
            if self.channels > 1 and not (inside or hasattr(module, "step_mode")):
                raise UsageError(
                    "takes dimension 1 of [T, N, C], the samples, for channels. Use BatchNorm1d of "
                    "spikingjelly.activation_based.layer, with step_mode='m'."
                )
            scale, mean, shift = norm_constants(module)
            if len(scale) != x.frame[0]:
                raise UsageError(f"normalises {len(scale)} channels, got {x.frame[0]}.")
            each = x.size // len(scale)
            scale, mean, shift = (np.repeat(one, each) for one in (scale, mean, shift))
            return replace(x.scaled(scale), bias=shift + scale * (x.bias - mean))
        if type(module) is sj_layer.VotingLayer:
            return x.through(votes(x.size, module.voting_size))
        if type(module) in FLATTENS:
            return x.shaped((x.size,))
        if type(module) in NOTHING:
            return x
        return self._population(name, module, x)

    def _population(self, name: str, module: nn.Module, x: Signal) -> Signal:
        node_name, node = neurons_in(name, module) or (name, module)
        own = self.names.get(name, re.sub(r"\W", "_", name))
        if not re.match(r"[A-Za-z_]", own):
            own = f"{type(node).__name__.lower().removesuffix('node')}_{own}"
        while own in self.signals or own == INPUT:
            own += "_"
        fired = Signal.of(own, x.frame)
        if node is not module:
            x = x.plus(fired.through(synapses_of_layer(module)))
        population, gain = population_of(own, node, x.bias)
        self.populations.append(population)
        self.signals[own], self.gains[own], self.nodes[own] = x, gain, node_name
        return fired

    def _traced(self, output: Any) -> Traced:
        kind = output.kind if isinstance(output, OverTime) else None
        signal = output.signal if isinstance(output, OverTime) else output
        if not isinstance(signal, Signal) or (kind and self.channels == 1):
            raise UsageError(
                f"trace: the output is {kind_of(output)}; a table has one output over time, or, in "
                "multi-step mode, its sum, mean or largest value over time."
            )
        last = next((p.name for p in self.populations if signal.is_only(p.name, p.size)), None)
        last = last or self._weights_only(signal)
        populations, projections = self._connected(last)
        spiking = populations[-1].spiking
        if (spiking, kind) not in _READOUTS:
            raise UsageError("trace: the output is the largest value of spikes; sum them up.")
        require_currents(
            self.module,
            self.shape,
            self.signals,
            self.nodes,
            (output if kind else signal).values,
            stepwise=self.channels == 1,
        )
        for one in self.populations:
            if one.name in self.nodes:
                node = self.nodes[one.name]
                gain = self.gains[one.name]
                require_steps(self.module.get_submodule(node), node, one, gain)
        return Traced(
            *(populations, projections, self.nodes, self.gains),
            *(prod(self.shape), _READOUTS[spiking, kind], self.over_time),
        )

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
        least = int(source == target)  # a spike is heard a step later at the earliest
        return Projection(
            source, target, **found.columns, min_delay=least, max_delay=rows.max_delay
        )


def _until(output: fx.Node, values: dict[fx.Node, Any]) -> fx.Graph:
    """The graph up to what is still over time, without a sum behind it."""
    graph, copied = fx.Graph(), {}
    last: Any = output.args[0]
    while isinstance(last, fx.Node) and isinstance(values[last], OverTime):
        last = last.all_input_nodes[0]
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
    return f"{'operation' if node.op.startswith('call') else node.op} {_called(node)!r}"


def _called(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
