"""A feed-forward classifier of delay layers and spiking neurons."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from spikingjelly.activation_based import base, functional, layer
from torch import Tensor, nn

from snn_delays import losses
from snn_delays.arguments import real_number, shown, whole_number
from snn_delays.errors import UsageError
from snn_delays.inputs import require_dense, require_sequence
from snn_delays.interpolation import Interpolation
from snn_delays.layers.delay_layer import DelayLayer, Granularity, rounded
from snn_delays.neurons import LeakyReadout, lif
from snn_delays.ops.plan import Method
from snn_delays.state import deep_copy


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

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The neurons' output, and what dropout lets through of it to the next block."""
        fired = self.neuron(self.norm(self.synapses(x)))
        return fired, self.dropout(fired)


class DelaySNN(nn.Module, base.StepModule):
    """Spiking classifier with learnable synaptic delays; the defaults are the published SHD recipe.

    Each hidden block is delay layer → BatchNorm → LIF → dropout; the last is a delay layer into
    leaky membranes that never spike, whose potentials are returned at every step.

    Args:
        sizes: neurons of the input, of each hidden layer, and classes.
        max_delay: largest delay in steps. 0 makes a network without delays (plain linear synapses).
        learn_delays: ``False`` freezes the random delays it starts with.
        tau: membrane time constant in steps (ms / dt).
        v_threshold, v_reset, surrogate_alpha, detach_reset: see ``neurons.lif``.
        dropout: share of spiking neurons silenced per sample for its whole duration, in training.
        batch_norm: normalise each hidden neuron's current over time and batch.
        granularity, kernel_count, interpolation, sigma, bias, method: see ``DelayLayer``.
        readout: how potentials become class scores; see ``losses.score``.
        tail: steps of silence appended so that late spikes still arrive; ``None`` gives half a
            kernel per layer, as published.

    Shape:
        ``[T, N, sizes[0]] → [T + tail, N, sizes[-1]]``. With ``step_mode="s"`` (streaming)
        ``[N, sizes[0]] → [N, sizes[-1]]``; then ``functional.reset_net`` starts a new sample. A
        whole sequence always starts from silence.

    Raises:
        UsageError: sizes, ranges or names that make no network; an input of another width.

    Reference:
        Hammouamri, Khalfaoui-Hassani, Masquelier (2024, arXiv:2306.17670).
    """

    def __init__(
        self,
        sizes: Sequence[int],
        max_delay: int = 24,
        *,
        learn_delays: bool = True,
        tau: float = 1.005,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        surrogate_alpha: float = 5.0,
        detach_reset: bool = True,
        dropout: float = 0.4,
        batch_norm: bool = True,
        granularity: Granularity = "synaptic",
        kernel_count: int = 1,
        interpolation: Interpolation = "gaussian",
        sigma: float | None = None,
        bias: bool = False,
        readout: losses.Readout = "sum_softmax",
        tail: int | None = None,
        method: Method = "auto",
    ) -> None:
        super().__init__()
        must = "be at least two whole numbers >= 1 (input, hidden …, classes)"
        if not isinstance(sizes, Iterable) or len(given := list(sizes)) < 2:
            raise UsageError(f"DelaySNN: sizes must {must}, got {shown(sizes)}.")
        sizes = [whole_number("DelaySNN: sizes", size, 1, must=must) for size in given]
        max_delay = whole_number("DelaySNN: max_delay", max_delay, 0, unit="steps")
        dropout = real_number("DelaySNN: dropout", dropout, 0, below=1, must="lie in [0, 1)")
        if readout not in losses.READOUTS:
            raise UsageError(
                f"DelaySNN: readout must be one of {', '.join(losses.READOUTS)}, got {readout!r}."
            )
        if tail is not None:
            tail = whole_number("DelaySNN: tail", tail, 0, unit="steps")
        self.sizes = sizes
        self.max_delay = max_delay
        self.readout = readout
        self.tail = (len(sizes) - 1) * (max_delay // 2) if tail is None else tail
        self.step_mode = "m"

        def synapses(pre: int, post: int) -> nn.Module:
            if max_delay == 0:
                linear = layer.Linear(pre, post, bias=bias, step_mode="m")
                nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu")
                return linear
            return DelayLayer(
                pre,
                post,
                max_delay,
                kernel_count=kernel_count,
                granularity=granularity,
                interpolation=interpolation,
                sigma=sigma,
                bias=bias,
                method=method,
            )

        self.blocks = nn.ModuleList()
        for pre, post in itertools.pairwise(sizes[:-1]):
            self.blocks.append(
                Block(
                    synapses(pre, post),
                    layer.BatchNorm1d(post, step_mode="m") if batch_norm else nn.Identity(),
                    lif(
                        tau,
                        v_threshold=v_threshold,
                        v_reset=v_reset,
                        surrogate_alpha=surrogate_alpha,
                        detach_reset=detach_reset,
                    ),
                    layer.Dropout(dropout, step_mode="m") if dropout else nn.Identity(),
                )
            )
        self.blocks.append(
            Block(synapses(*sizes[-2:]), nn.Identity(), LeakyReadout(tau), nn.Identity())
        )
        if not learn_delays:
            for parameter in self.delay_parameters():
                parameter.requires_grad_(False)

    def forward(
        self, x: Float[Tensor, "*time batch channels"], return_spikes: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Readout potentials; with ``return_spikes`` also each hidden layer's spikes."""
        require_dense("DelaySNN", x)
        axes = ("T", "N") if self.step_mode == "m" else ("N",)
        require_sequence("DelaySNN", x, self.sizes[0], axes)
        if self.step_mode == "m":
            functional.reset_net(self)
            x = torch.cat([x, x.new_zeros(self.tail, *x.shape[1:])])
        spikes = []
        for block in self.blocks:
            fired, x = block(x)
            if return_spikes:  # else they need not be kept
                spikes.append(fired)
            del fired
        return (x, spikes[:-1]) if return_spikes else x

    def signals(self, x: Any) -> Any:
        """``forward`` as ``deploy.trace`` follows it: neither reset nor padded."""
        for block in self.blocks:
            assert isinstance(block, Block)
            x = block.dropout(block.neuron(block.norm(block.synapses(x))))
        return x

    @property
    def population_names(self) -> dict[str, str]:
        """What the neurons of each block are called in a delay table."""
        *hidden, last = (f"blocks.{index}.neuron" for index in range(len(self.blocks)))
        return {**{node: f"hidden{n}" for n, node in enumerate(hidden)}, last: "readout"}

    def __deepcopy__(self, memo: dict[int, Any]) -> DelaySNN:
        return deep_copy(self, self.__dict__, memo)

    def delay_parameters(self) -> list[nn.Parameter]:
        """The delays of every layer, in order; none in a network without delays."""
        return [
            block.synapses.delay for block in self.blocks if isinstance(block.synapses, DelayLayer)
        ]

    def rounded(self) -> DelaySNN:
        """A copy as deployed: integer delays, σ = 0."""
        return rounded(self)
