"""A feed-forward classifier: a chain of synapses and spiking neurons."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from inspect import signature
from typing import Any

import torch
from jaxtyping import Float
from spikingjelly.activation_based import base, functional, layer
from torch import Tensor, nn

from snn_delays import losses
from snn_delays.arguments import choice, real_number, shown, whole_number
from snn_delays.errors import UsageError
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.layers.networks import delay_layers, rounded
from snn_delays.modules.inputs import require_dense, require_sequence
from snn_delays.modules.state import deep_copy
from snn_delays.neurons import LeakyReadout, lif
from snn_delays.neurons.normalised import passed


class Block(nn.Module):
    """One layer of neurons and the synapses into it: synapses → norm → neuron → dropout."""

    def __init__(
        self, synapses: nn.Module, norm: nn.Module, neuron: nn.Module, dropout: nn.Module
    ) -> None:
        super().__init__()
        self.synapses = synapses
        self.norm = norm
        self.neuron = neuron
        self.dropout = dropout

    def forward(self, x: Tensor, apart: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """What dropout lets through to the next block; ``apart`` after the neurons' output."""
        current = self.synapses(x)
        if not apart:  # then the output itself need not be there
            return passed(self.norm, self.neuron, self.dropout, current)
        spikes = passed(self.norm, self.neuron, nn.Identity(), current)
        return spikes, self.dropout(spikes)


def plain_synapses(pre: int, post: int, *, bias: bool = False) -> nn.Module:
    """Synapses without delays: SpikingJelly's ``layer.Linear``, Kaiming-uniform for ReLU."""
    linear = layer.Linear(pre, post, bias=bias, step_mode="m")
    nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu")
    return linear


Recurrent = Callable[[int, nn.Module], nn.Module]
PUBLISHED_SYNAPSES = partial(DelayLayer, max_delay=24)
PUBLISHED_NEURON = partial(lif, tau=1.005)


class Chain(nn.Module, base.StepModule):
    """Blocks of neurons, one after the other, the last of which is the readout.

    Shape:
        ``[T, N, *frame] → [T + tail, N, classes]``, or ``[N, *frame] → [N, classes]`` with
        ``step_mode="s"``.
    """

    def _settle(self, dropout: float, readout: str, tail: int | None) -> None:
        """Check and keep the settings that all chains have; no blocks yet."""
        name = type(self).__name__
        self._dropout = real_number(f"{name}: dropout", dropout, 0, below=1, must="lie in [0, 1)")
        self.readout = choice(f"{name}: readout", readout, losses.READOUTS)
        self._tail = None if tail is None else whole_number(f"{name}: tail", tail, 0, unit="steps")
        self.blocks = nn.ModuleList()

    def _append(self, synapses: nn.Module, norm: Any, post: int, neurons: nn.Module) -> None:
        """A block; ``norm`` makes what normalises so many currents, or is None."""
        normed = made(f"{type(self).__name__}: norm", norm, post) if norm else nn.Identity()
        drop = layer.Dropout(self._dropout, step_mode="m") if self._dropout else nn.Identity()
        self.blocks.append(Block(synapses, normed, neurons, drop))

    def _read_out(self, synapses: nn.Module, output: Callable[[], nn.Module]) -> None:
        """The last block."""
        membranes = made(f"{type(self).__name__}: output", output)
        self.blocks.append(Block(synapses, nn.Identity(), membranes, nn.Identity()))

    def _begin(self, delays: list[int]) -> None:
        """Take sequences, now that there are blocks; with so long delays one after the other."""
        self.max_delay = max(delays, default=0)
        # Steps of silence appended to a sequence.
        self.tail = sum(one // 2 for one in delays) if self._tail is None else self._tail
        self.step_mode = "m"
        functional.set_step_mode(self, "m")  # whatever the factories' modules begin with

    def _require(self, x: Tensor, axes: tuple[str, ...]) -> None:
        """Refuse an input of another shape."""
        raise NotImplementedError

    def _seen(self, x: Any) -> Any:
        """The input as the first block takes it."""
        return x

    def forward(
        self, x: Float[Tensor, "*sequence"], return_spikes: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Readout potentials; with ``return_spikes`` also each hidden layer's spikes."""
        require_dense(type(self).__name__, x)
        self._require(x, ("T", "N") if self.step_mode == "m" else ("N",))
        if self.step_mode == "m":
            functional.reset_net(self)
            x = torch.cat([x, x.new_zeros(self.tail, *x.shape[1:])])
        x, spikes = self._seen(x), []
        for block in self.blocks:
            if return_spikes:
                fired, x = block(x, apart=True)
                spikes.append(fired)
            else:
                x = block(x)
        return (x, spikes[:-1]) if return_spikes else x

    def signals(self, x: Any) -> Any:
        """``forward`` as ``deploy.trace`` follows it: neither reset nor padded."""
        x = self._seen(x)
        for block in self.blocks:
            assert isinstance(block, Block)
            x = block.dropout(block.neuron(block.norm(block.synapses(x))))
        return x

    @property
    def population_names(self) -> dict[str, str]:
        """What the neurons of each block are called in a delay table."""
        *hidden, last = (f"blocks.{index}.neuron" for index in range(len(self.blocks)))
        return {**{node: f"hidden{n}" for n, node in enumerate(hidden)}, last: "readout"}

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return deep_copy(self, self.__dict__, memo)

    def delay_parameters(self) -> list[Tensor]:
        """The delays of every layer, in order; none in a network without delays."""
        return [delay for one in delay_layers(self) for delay in one.delay_tensors()]

    def rounded(self) -> Any:
        """A copy as deployed: integer delays, σ = 0."""
        return rounded(self)


class DelaySNN(Chain):
    """Spiking classifier: a chain of synapses and neurons, by default the published SHD network.

    Each hidden block is synapses → norm → neurons → dropout; the last is synapses into leaky
    membranes that never spike, whose potentials are returned at every step::

        DelaySNN([140, 256, 256, 20])
        DelaySNN(sizes, partial(DelayLayer, max_delay=30), partial(lif, tau=2.0))
        DelaySNN(sizes, recurrent=partial(RecurrentDelayLayer, max_delay=30))
        DelaySNN(sizes, plain_synapses, neuron.IFNode, output=partial(LeakyReadout, tau=5.0))

    Args:
        sizes: neurons of the input, of each hidden layer, and classes.
        synapses: makes the synapses of (pre, post) neurons, such as a ``DelayLayer``.
        neuron: makes the neurons of a hidden layer; given their number if it takes a ``size``.
        recurrent: makes neurons hear their own spikes, of (size, neuron), such as a
            ``RecurrentDelayLayer``. One for all hidden layers, or one for each; ``None`` is none.
        norm: makes what normalises the current of so many neurons over time and batch; ``None`` is
            nothing.
        dropout: share of spiking neurons silenced per sample for its whole duration, in training.
        output: makes the readout's membranes; ``None`` gives them the ``tau`` of the neurons.
        readout: how potentials become class scores; see ``losses.score``.
        tail: steps of silence appended so that late spikes still arrive; ``None`` gives half a
            kernel per layer, as published.

    Shape:
        ``[T, N, sizes[0]] → [T + tail, N, sizes[-1]]``. With ``step_mode="s"`` (streaming)
        ``[N, sizes[0]] → [N, sizes[-1]]``; then ``functional.reset_net`` starts a new sample. A
        whole sequence always starts from silence.

    Raises:
        UsageError: sizes, ranges or names that make no network, something else than modules made;
            an input of another width.

    Reference:
        Hammouamri, Khalfaoui-Hassani, Masquelier (2024, arXiv:2306.17670).
    """

    def __init__(
        self,
        sizes: Sequence[int],
        synapses: Callable[[int, int], nn.Module] = PUBLISHED_SYNAPSES,
        neuron: Callable[..., nn.Module] = PUBLISHED_NEURON,
        *,
        recurrent: Recurrent | Sequence[Recurrent | None] | None = None,
        norm: Callable[[int], nn.Module] | None = layer.BatchNorm1d,
        dropout: float = 0.4,
        output: Callable[[], nn.Module] | None = None,
        readout: losses.Readout = "sum_softmax",
        tail: int | None = None,
    ) -> None:
        super().__init__()
        must = "be at least two whole numbers >= 1 (input, hidden …, classes)"
        if not isinstance(sizes, Iterable) or len(given := list(sizes)) < 2:
            raise UsageError(f"DelaySNN: sizes must {must}, got {shown(sizes)}.")
        sizes = [whole_number("DelaySNN: sizes", size, 1, must=must) for size in given]
        self._settle(dropout, readout, tail)
        self.sizes = sizes
        back = of_each("DelaySNN: recurrent", recurrent, len(sizes) - 2)
        for (pre, post), onto_itself in zip(itertools.pairwise(sizes[:-1]), back, strict=True):
            nodes = neurons_of("DelaySNN", neuron, post)
            between = made("DelaySNN: synapses", synapses, pre, post)
            if onto_itself:
                nodes = made("DelaySNN: recurrent", onto_itself, post, nodes)
            self._append(between, norm, post, nodes)
        last = made("DelaySNN: synapses", synapses, *sizes[-2:])
        self._read_out(last, output or partial(leaky_as, "DelaySNN", neuron, sizes[-1]))
        self._begin([getattr(block.synapses, "max_delay", 0) for block in self.blocks])

    def _require(self, x: Tensor, axes: tuple[str, ...]) -> None:
        require_sequence("DelaySNN", x, self.sizes[0], axes)


def of_each(name: str, given: Any, layers: int, of: str = "hidden layers") -> list[Any]:
    """One for each hidden layer, of one for all or a list."""
    if not isinstance(given, Sequence):
        return [given] * layers
    if len(given) != layers:
        raise UsageError(
            f"{name} must be one for all or one for each of {layers} {of}, got {len(given)}."
        )
    return list(given)


def made(name: str, make: Callable[..., Any], *sizes: Any) -> nn.Module:
    """What a factory makes."""
    if not callable(make) or isinstance(make, nn.Module):
        raise UsageError(
            f"{name} must be a function or class that makes modules, got {shown(make)}. "
            "Give functools.partial(CLASS, …)."
        )
    found = make(*sizes)
    if not isinstance(found, nn.Module):
        raise UsageError(f"{name} must make a torch module, got {shown(found)}.")
    return found


def neurons_of(owner: str, make: Callable[..., Any], size: int) -> nn.Module:
    """Neurons of a factory, which may have constants of each."""
    takes = callable(make) and not isinstance(make, nn.Module)
    argument = signature(make).parameters.get("size") if takes else None
    each = argument is not None and argument.default is argument.empty
    return made(f"{owner}: neuron", make, *([size] if each else []))


def leaky_as(owner: str, neuron: Callable[..., nn.Module], size: int) -> LeakyReadout:
    """A readout with the time constant of the neurons."""
    tau = getattr(neurons_of(owner, neuron, size), "tau", None)
    if not isinstance(tau, int | float):
        raise UsageError(
            f"{owner}: output must be given for neurons without a tau, such as "
            "partial(LeakyReadout, tau=2.0), got None."
        )
    return LeakyReadout(tau)
