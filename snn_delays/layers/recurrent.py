"""Spiking neurons with delayed synapses onto themselves."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from snn_delays.arguments import real_number, shown, whole_number
from snn_delays.errors import UsageError
from snn_delays.interpolation import Interpolation
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.layers.granularity import BOTH_ENDS, GRANULARITIES, First, Granularity
from snn_delays.modules.bypass import must_be_called
from snn_delays.modules.rest import rest_if_integer
from snn_delays.ops import recurrent, recurrent_scan
from snn_delays.ops.adaptive import Cell
from snn_delays.ops.plan import Method
from snn_delays.ops.recurrent_scan import Synapses


class RecurrentDelayLayer(DelayLayer):
    """Neurons that hear their own past spikes, each synapse after its learnable delay.

        I[t, post] = x[t, post] + Σ_pre Σ_k w[post, pre, k]·Σ_{j ≥ 1} g_σ(j − d[post, pre, k])·
                     s[t − j, pre]
        s[t] = neuron(I[t])

    It takes the place of the neurons: currents in, spikes out. A spike is heard one step later at
    the earliest. Its memory of spikes, and the neurons' own, last until ``functional.reset_net``;
    a sequence may come whole, in pieces or step by step, with the same result.

    Args:
        size: number of neurons.
        neuron: the neurons, a module of spiking neurons such as ``lif(…)``.
        max_delay: largest delay, in steps; the shortest is 1, so the kernel has ``max_delay`` taps.
        dropout: share of recurrent currents left out in training, per neuron and sample for its
            whole duration.
        kernel_count, granularity, interpolation, sigma, first_delays: as for ``DelayLayer``, but
            for delays of both ends. ``sigma`` None is half the kernel.
        method: ``"reference"`` is the loop over time in torch; all others are the compiled scan
            where that serves, see ``ops/recurrent_scan.py``.

    Shape:
        ``[T, N, size] → [T, N, size]``, or ``[N, size] → [N, size]`` with ``step_mode="s"``.
        ``weight`` is ``[size, size, kernel_count]``, orthogonal at first; ``delay`` (steps, from 1
        to ``max_delay``) as for ``DelayLayer``.

    Raises:
        UsageError: as ``DelayLayer``; a max_delay below one step, no module as ``neuron``.

    Reference:
        Queant et al., "DelRec: learning delays in recurrent spiking neural networks" (2025,
        arXiv:2509.24852).
    """

    min_delay = 1
    granularities = tuple(one for one in GRANULARITIES if one != BOTH_ENDS)

    def __init__(
        self,
        size: int,
        neuron: nn.Module,
        max_delay: int,
        *,
        dropout: float = 0.0,
        kernel_count: int = 1,
        granularity: Granularity = "synaptic",
        interpolation: Interpolation = "gaussian",
        sigma: float | None = None,
        first_delays: First | None = None,
        step_mode: Literal["s", "m"] = "m",
        method: Method = "auto",
    ) -> None:
        name = type(self).__name__
        size = whole_number(f"{name}: size", size, 1)
        max_delay = whole_number(
            *(f"{name}: max_delay", max_delay, 1),
            unit="steps",
            advice="Neurons hear their own spikes one step later at the earliest.",
        )
        if not isinstance(neuron, nn.Module):
            raise UsageError(
                f"{name}: neuron must be a module of neurons such as lif(tau=2.0), got "
                f"{shown(neuron)}."
            )
        super().__init__(
            *(size, size, max_delay),
            kernel_count=kernel_count,
            granularity=granularity,
            interpolation=interpolation,
            sigma=sigma,
            first_delays=first_delays,
            step_mode=step_mode,
            method=method,
        )
        self.dropout = real_number(f"{name}: dropout", dropout, 0, below=1, must="lie in [0, 1)")
        self.neuron = neuron
        self.register_memory("kept", None)

    @property
    def ends(self) -> str:
        return f"{self.out_features} onto themselves"

    def reset_parameters(self) -> None:
        """As ``DelayLayer``, but orthogonal weights."""
        super().reset_parameters()
        nn.init.orthogonal_(self.weight.flatten(1))

    def multi_step_forward(
        self, x: Float[Tensor, "time batch size"]
    ) -> Float[Tensor, "time batch size"]:
        self._require(x, ("T", "N"))
        rest_if_integer(self)
        history = self._context(x.shape[1:], x)
        kept = self._kept(x[0]) if len(x) else None
        weight, acting = self.acting_weight(), self._acting()
        limits = (self.reach, self.interpolation)
        if cell := self._cell(x, history, weight, *acting):
            synapses = Synapses(weight, *acting, *limits, self._learned())
            spikes, *states = recurrent_scan.scan(cell, x, history, kept, synapses)
            self.neuron.settle(*states)  # pyright: ignore[reportCallIssue]
        else:
            functional.set_step_mode(self.neuron, "s")
            current = self._current(weight, *limits)
            spikes = recurrent.loop(self.neuron, x, history, kept, current)
        self.method_used = "scan" if cell else "loop"
        self._remember(torch.cat([history, spikes]))
        return spikes

    def _current(self, weight: Tensor, *limits: Any) -> recurrent.Current:
        """What makes the recurrent currents of a step from the spikes before it."""
        current = recurrent.currents(weight, *self._acting(), *limits)
        if (learned := self._learned()) is None:
            return current
        slopes = recurrent.currents(weight.detach(), *learned, *limits)

        def straight_through(history: Tensor) -> Tensor:
            slope = slopes(history.detach())
            return current(history) + (slope - slope.detach())

        return straight_through

    def _cell(self, x: Tensor, *synapses: Any) -> Cell | None:
        """The neurons as the compiled scan takes them; None for the loop over time."""
        node, make = self.neuron, getattr(self.neuron, "cell", None)
        if make is None or must_be_called(node) or self.method == "reference":
            return None
        return make(x[0]) if recurrent_scan.covers(x, *synapses) else None

    def single_step_forward(self, x: Float[Tensor, "batch size"]) -> Float[Tensor, "batch size"]:
        self._require(x, ("N",))
        rest_if_integer(self)
        functional.set_step_mode(self.neuron, "s")
        history, kept = self._context(x.shape, x), self._kept(x)
        current, before = self._step(history[-1], history[:-1])
        spikes = self.neuron(x + (current if kept is None else kept * current))
        self.history = torch.cat([before, spikes.unsqueeze(0)])
        return spikes

    def _kept(self, like: Float[Tensor, "batch size"]) -> Tensor | None:
        """What dropout multiplies the recurrent currents of this sequence by."""
        if not (self.training and self.dropout):
            return None
        if self.kept is None or self.kept.shape != like.shape:
            share = 1 - self.dropout
            self.kept = torch.empty_like(like).bernoulli_(share) / share
        return self.kept

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, dropout={self.dropout:g}"
