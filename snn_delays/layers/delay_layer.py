"""The delay layer: a linear map in which every synapse also has a learnable delay."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from snn_delays.arguments import choice, real_number, whole_number
from snn_delays.eager import has_numbers, readable
from snn_delays.errors import UsageError
from snn_delays.interpolation import (
    INTERPOLATIONS,
    Interpolation,
    dense_kernel,
    first_sigma,
    require_finite,
)
from snn_delays.layers.buffers import Buffers
from snn_delays.layers.granularity import GRANULARITIES, Delays, First, Granularity
from snn_delays.layers.memory import InputMemory
from snn_delays.layers.rest import rest_if_integer
from snn_delays.ops import factored, plan, streaming
from snn_delays.ops.factored import Stages
from snn_delays.ops.plan import METHODS, ONE_END, Method


class DelayLayer(Delays, Buffers, InputMemory):  # pyright: ignore[reportIncompatibleVariableOverride]
    """Fully connected synapses with learnable delays.

        y[t, post] = b[post] + Σ_pre Σ_k w[post, pre, k]·Σ_j g_σ(j − d[post, pre, k])·x[t − j, pre]

    A SpikingJelly module: it stands between neurons where ``layer.Linear`` would. It remembers
    the last ``max_delay`` inputs between calls, as a neuron remembers its membrane, until
    ``functional.reset_net``; so a sequence may come whole (``step_mode="m"``), in pieces, or
    step by step (``step_mode="s"``), with the same result.

    Args:
        in_features, out_features: number of pre- and postsynaptic neurons.
        max_delay: largest delay, in steps; the kernel has ``max_delay + 1`` taps.
        kernel_count: how many synapses, each with its delay, one (post, pre) pair has.
        granularity: one delay per ``"synaptic"`` pair, per pre (``"axonal"``), per post
            (``"dendritic"``), for all (``"common"``), or the sum of one per pre and one per post
            (``"axonal+dendritic"``), each spread over taps and rounded on its own.
        interpolation: ``"gaussian"`` or ``"triangle"``.
        sigma: width of the interpolation in steps; ``None`` starts at half the kernel, as
            published (max_delay / 2 + 0.27). A schedule shrinks it; at 0 Gaussian delays act as
            integers and rest: their gradient is 0, and an optimiser's step leaves them where they
            are, whatever its momentum or decay (``rest.py``). Attribute ``rounding`` does so of
            every interpolation (``"integer"``), or lets rounded delays move by their slopes
            (``"straight_through"``; Bengio, Léonard, Courville, 2013, arXiv:1308.3432).
        sigma_learned: whether σ is learned (as its logarithm, ``log_sigma``); schedules then leave
            it alone, and the method is ``dense``.
        first_delays: where delays start, in steps: uniform between two, or half-normal of one
            width; ``None`` is uniform over the kernel.
        bias: adds a learnable current to every postsynaptic neuron, at first 0.
        method: how to compute it; see ``ops/plan.py``.

    Shape:
        ``[T, N, in] → [T, N, out]``, or ``[N, in] → [N, out]`` with ``step_mode="s"``, in the
        precision of the weights: under autocast only products are in half.
        ``weight`` is ``[out, in, kernel_count]``; ``delay`` (steps) is the same, but
        ``[1, in, kernel_count]`` if axonal, ``[out, 1, kernel_count]`` if dendritic and
        ``[1, 1, kernel_count]`` if common. Of both ends it is the sum of the learned ``delay_pre``
        and ``delay_post``, shaped as axonal and dendritic ones.
        The state dict holds these, σ (``_sigma``), a ``mask`` (0 or 1, as ``weight``) after
        ``set_mask``, and ``rounding`` if there is any.

    Raises:
        UsageError: sizes, ranges or names that make no layer; an input of another width; a batch
            of another size than the remembered one; delays that are NaN or infinite (on a GPU
            when they are rounded; before that the output is NaN).

    Reference:
        Hammouamri, Khalfaoui-Hassani, Masquelier, "Learning delays in spiking neural networks
        using dilated convolutions with learnable spacings" (2024, arXiv:2306.17670).
    """

    interpolation: Interpolation
    granularities = GRANULARITIES
    neuron: Any  # those that its synapses lead from and to, if they are its own

    def __init__(
        self,
        in_features: int,
        out_features: int,
        max_delay: int,
        *,
        kernel_count: int = 1,
        granularity: Granularity = "synaptic",
        interpolation: Interpolation = "gaussian",
        sigma: float | None = None,
        sigma_learned: bool = False,
        first_delays: First | None = None,
        bias: bool = False,
        step_mode: Literal["s", "m"] = "m",
        method: Method = "auto",
    ) -> None:
        super().__init__()
        self.in_features = whole_number("DelayLayer: in_features", in_features, 1)
        self.out_features = whole_number("DelayLayer: out_features", out_features, 1)
        self.kernel_count = whole_number("DelayLayer: kernel_count", kernel_count, 1)
        self.max_delay = whole_number(
            *("DelayLayer: max_delay", max_delay, 1),
            unit="steps",
            advice="Use a smaller dt, or nn.Linear if no delay is wanted.",
        )
        self.granularity = choice(
            f"{type(self).__name__}: granularity", granularity, self.granularities
        )
        self.interpolation = choice("DelayLayer: interpolation", interpolation, INTERPOLATIONS)
        self.method = choice("DelayLayer: method", method, (*METHODS, *ONE_END))
        self.step_mode = choice("DelayLayer: step_mode", step_mode, ("s", "m"))
        sigma = first_sigma(self.reach) if sigma is None else sigma
        self.first_sigma = real_number("DelayLayer: sigma", sigma, 0, unit="steps")
        self.first_delays = self._checked_first(first_delays)
        self.method_used: str | None = None  # how the last sequence was computed

        post, pre, k = self.out_features, self.in_features, self.kernel_count
        self.weight = nn.Parameter(torch.empty(post, pre, k))
        self._make_delays(post, pre, k)
        self.bias = nn.Parameter(torch.empty(self.out_features)) if bias else None
        self.neuron = None
        if sigma_learned:
            self.log_sigma = nn.Parameter(torch.zeros(()))
        self._stream = streaming.Stream()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """σ as at first; weights Kaiming-uniform for ReLU, delays as ``first_delays``."""
        self.sigma = self.first_sigma
        nn.init.kaiming_uniform_(self.weight.flatten(1), nonlinearity="relu")
        for name in self.delay_ranges:
            self.draw_delays_(getattr(self, name), name)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @property
    def reach(self) -> int:
        """Steps between the shortest delay and the longest; the kernel has one tap more."""
        return self.max_delay - self.min_delay

    @classmethod
    def from_linear(cls, linear: nn.Linear, max_delay: int, **settings: Any) -> DelayLayer:
        """A delay layer with the weights and bias of a linear one, and delays drawn anew.

        With delays of 0 and σ = 0 it computes what the linear layer does.

        Args:
            linear: a Linear layer, of torch or SpikingJelly; left as it is.
            max_delay, settings: as for the class.

        Raises:
            UsageError: no Linear layer, or as the class.
        """
        if not isinstance(linear, nn.Linear):
            raise UsageError(
                f"DelayLayer.from_linear: needs a Linear layer, got {type(linear).__name__}."
            )
        settings = {"step_mode": getattr(linear, "step_mode", "m"), **settings}
        bias = linear.bias is not None
        layer = cls(linear.in_features, linear.out_features, max_delay, bias=bias, **settings)
        layer.to(linear.weight)
        with torch.no_grad():
            # Contacts of one pair share its weight.
            layer.weight.copy_(linear.weight.unsqueeze(2) / layer.kernel_count)
            if layer.bias is not None:
                layer.bias.copy_(linear.bias)
        return layer

    @torch.no_grad()
    def clamp_(self) -> None:
        """Bring every delay back into [min_delay, max_delay]; call it after an optimiser step.

        Weights of synapses that are not there become 0 again. A parametrised delay is left to its
        parametrisation; it acts within the range all the same.

        Raises:
            UsageError: delays that are NaN or infinite; not looked for on a GPU.
        """
        self.clear_absent_()
        for name, limits in self.delay_ranges.items():
            delay = getattr(self, name)
            if delay.is_cpu and readable(delay):
                require_finite(delay)
            if not is_parametrized(self, name):
                delay.clamp_(*limits)

    def carried(self) -> dict[str, Any]:
        return {**super().carried(), "_stream": streaming.Stream()}

    def rounded(self) -> DelayLayer:
        """A copy as deployed: integer delays and σ = 0, so that every synapse is one tap."""
        from snn_delays.layers.networks import rounded  # which knows this class

        return rounded(self)

    def multi_step_forward(
        self, x: Float[Tensor, "time batch pre"]
    ) -> Float[Tensor, "time batch post"]:
        self._require(x, ("T", "N"))
        rest_if_integer(self)
        # What came before matters to the first steps only; after a reset that is silence.
        context = 0 if self.history is None else self.max_delay
        whole = torch.cat([self._context(x.shape[1], x), x]) if context else x
        y = self._convolve(whole)
        self._remember(whole)
        return y[context:] if self.bias is None else y[context:] + self.bias

    def _convolve(self, x: Float[Tensor, "time batch pre"]) -> Float[Tensor, "time batch post"]:
        """The layer's equation without bias, for an x that nothing precedes."""
        weight = self.acting_weight()
        y, self.method_used = self._convolved(x, weight, *self._acting())
        if (learned := self._learned()) is None:
            return y
        slope, method = self._convolved(x.detach(), weight.detach(), *learned)
        if method != self.method_used:
            self.method_used += f", its slopes by {method}"
        return y + (slope - slope.detach())

    def _convolved(
        self, x: Tensor, weight: Tensor, delay: Tensor | Stages, sigma: float | Tensor
    ) -> tuple[Tensor, str]:
        """The sums, and the method by which they were computed."""
        limits: dict[str, Any] = {"max_delay": self.reach, "interpolation": self.interpolation}
        limits["mask"] = None if self.dense_gradient else self.mask
        method = plan.method_for(x, weight, delay, sigma, **limits, method=self.method)
        y = plan.delay_convolution(x, weight, delay, sigma=sigma, **limits, method=method)
        return y, method

    def single_step_forward(self, x: Float[Tensor, "batch pre"]) -> Float[Tensor, "batch post"]:
        self._require(x, ("N",))
        rest_if_integer(self)
        y, self.history = self._step(x, self._context(x.shape[0], x))
        return y if self.bias is None else y + self.bias

    def _step(
        self, x: Float[Tensor, "batch pre"], history: Float[Tensor, "taps_before batch pre"]
    ) -> tuple[Tensor, Tensor]:
        """The layer's equation without bias for one step, and what to remember for the next."""
        weight = self.acting_weight()
        acting = self._acting()
        delay, sigma = acting
        learned = self._parameters["log_sigma"] is not None and torch.is_grad_enabled()
        single = isinstance(delay, Tensor) and not learned
        if single and streaming.covers(x, weight, delay, history):
            settings = (float(sigma), self.interpolation)
            return self._stream.step(x, history, weight, delay, *settings)
        whole = torch.cat([history, x.unsqueeze(0)])
        y = self._latest(whole, weight, *acting)
        if (learned := self._learned()) is not None:
            slope = self._latest(whole.detach(), weight.detach(), *learned)
            y = y + (slope - slope.detach())
        return y.to(weight.dtype), whole[1:]  # not that of autocast, as in ops/plan.py

    def _latest(
        self, x: Tensor, weight: Tensor, delay: Tensor | Stages, sigma: float | Tensor
    ) -> Float[Tensor, "batch post"]:
        """The sums of the last step, of an x with as many steps as there are taps."""
        if isinstance(delay, Tensor) and delay.shape[0] == 1:
            delay = factored.of_one_end(delay, "axonal", self.reach)
        if isinstance(delay, Stages):
            return factored.last(x, weight, delay, sigma, self.interpolation)
        kernel = dense_kernel(weight, delay, sigma, self.reach, self.interpolation)
        return torch.einsum("jni,oij->no", x.flip(0), kernel)

    def _acting(self) -> tuple[Any, float | Tensor]:
        """The delays, counted from the shortest, and the σ that make the layer's output."""
        if self.rounding == "none":
            return self._from_shortest(self.delay_tensors()), self._width()
        # A gradient of zeros, not none, as of σ = 0.
        pairs = zip(self._rounded_delays(), self.delay_tensors(), strict=True)
        return self._from_shortest([one + 0 * own for one, own in pairs]), 0.0

    def _learned(self) -> tuple[Any, float | Tensor] | None:
        """The delays and σ whose slopes move delays that act as rounded."""
        delays = self.delay_tensors()
        moves = self.rounding == "straight_through" and torch.is_grad_enabled()
        if not (moves and any(one.requires_grad for one in delays)) or self.at_rest:
            return None
        return self._from_shortest(delays), self._width()

    @property
    def at_rest(self) -> bool:
        """Whether delays act as integers, and have no gradient to move them."""
        if self.rounding == "integer":
            return True
        if self.log_sigma is not None or (
            self.rounding == "none" and self.interpolation != "gaussian"
        ):
            return False
        return self.sigma == 0

    def extra_repr(self) -> str:
        sigma = f"{self.sigma:.2f}" if has_numbers(self._sigma) else "?"
        return (
            f"{self.in_features}, {self.out_features}, max_delay={self.max_delay}, "
            f"kernel_count={self.kernel_count}, granularity={self.granularity}, "
            f"interpolation={self.interpolation}, sigma={sigma}, "
            + ("" if self.rounding == "none" else f"rounding={self.rounding}, ")
            + f"bias={self.bias is not None}, step_mode={self.step_mode}, method={self.method}"
            + (f" (last: {self.method_used})" if self.method == "auto" and self.method_used else "")
        )
