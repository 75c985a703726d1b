"""The delay layer: a linear map in which every synapse also has a learnable delay."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, register_parametrization

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
from snn_delays.layers.memory import InputMemory, Net, fresh_copy
from snn_delays.layers.rest import rest_if_integer
from snn_delays.neurons.cell import CellNode
from snn_delays.ops import plan, streaming
from snn_delays.ops.plan import METHODS, Method

Granularity = Literal["synaptic", "axonal", "dendritic"]
GRANULARITIES: tuple[str, ...] = get_args(Granularity)


class DelayLayer(Buffers, InputMemory):
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
        granularity: one delay per ``"synaptic"`` pair, per pre (``"axonal"``) or per post
            (``"dendritic"``).
        interpolation: ``"gaussian"`` or ``"triangle"``.
        sigma: width of the interpolation in steps; ``None`` starts at half the kernel, as
            published (max_delay / 2 + 0.27). A schedule shrinks it; at 0 Gaussian delays act as
            integers and rest: their gradient is 0, and an optimiser's step leaves them where they
            are, whatever its momentum or decay (``rest.py``).
        bias: adds a learnable current to every postsynaptic neuron, at first 0.
        method: how to compute it; see ``ops/plan.py``.

    With ``straight_through`` set to True delays act as rounded, and learn by the slopes that they
    have at width σ (Bengio, Léonard, Courville, 2013, arXiv:1308.3432).

    Shape:
        ``[T, N, in] → [T, N, out]``, or ``[N, in] → [N, out]`` with ``step_mode="s"``, in the
        precision of the weights: under autocast only products are in half.
        ``weight`` is ``[out, in, kernel_count]``; ``delay`` (steps) is the same, but
        ``[1, in, kernel_count]`` if axonal and ``[out, 1, kernel_count]`` if dendritic.
        The state dict holds these, σ as the 0-d tensor ``_sigma``, and ``present`` (bool, as
        ``weight``) after ``set_present``.

    Raises:
        UsageError: sizes, ranges or names that make no layer; an input of another width; a batch
            of another size than the remembered one; delays that are NaN or infinite (on a GPU
            when they are rounded; before that the output is NaN).

    Reference:
        Hammouamri, Khalfaoui-Hassani, Masquelier, "Learning delays in spiking neural networks
        using dilated convolutions with learnable spacings" (2024, arXiv:2306.17670).
    """

    interpolation: Interpolation
    min_delay = 0  # the shortest delay, in steps
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
        self.granularity = choice("DelayLayer: granularity", granularity, GRANULARITIES)
        self.interpolation = choice("DelayLayer: interpolation", interpolation, INTERPOLATIONS)
        self.method = choice("DelayLayer: method", method, METHODS)
        self.step_mode = choice("DelayLayer: step_mode", step_mode, ("s", "m"))
        sigma = first_sigma(self.reach) if sigma is None else sigma
        self.first_sigma = real_number("DelayLayer: sigma", sigma, 0, unit="steps")
        self.method_used: str | None = None  # how the last sequence was computed

        post, pre, k = self.out_features, self.in_features, self.kernel_count
        self.weight = nn.Parameter(torch.empty(post, pre, k))
        post, pre = 1 if granularity == "axonal" else post, 1 if granularity == "dendritic" else pre
        self.delay = nn.Parameter(torch.empty(post, pre, k))
        self.bias = nn.Parameter(torch.empty(self.out_features)) if bias else None
        self.register_module("neuron", None)
        self._stream = streaming.Stream()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """σ as at first; weights Kaiming-uniform for ReLU, delays uniform over the kernel."""
        self.sigma = self.first_sigma
        nn.init.kaiming_uniform_(self.weight.flatten(1), nonlinearity="relu")
        nn.init.uniform_(self.delay, float(self.min_delay), float(self.max_delay))
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
    def clamp_delays_(self) -> None:
        """Bring every delay back into [min_delay, max_delay]; call it after an optimiser step.

        Weights of synapses that are not there become 0 again. A parametrised delay is left to its
        parametrisation; it acts within the range all the same.

        Raises:
            UsageError: delays that are NaN or infinite; not looked for on a GPU.
        """
        self.clear_absent_()
        if self.delay.is_cpu and readable(self.delay):
            require_finite(self.delay)
        if not is_parametrized(self, "delay"):
            self.delay.clamp_(self.min_delay, self.max_delay)

    def carried(self) -> dict[str, Any]:
        return {**super().carried(), "_stream": streaming.Stream()}

    def integer_delays(self) -> Int[Tensor, "post_or_1 pre_or_1 k"]:
        """Delays rounded to steps (ties to even), int64, of ``delay``'s shape."""
        if not self.delay.is_meta:
            require_finite(self.delay)
        return self.delay.detach().round().clamp(self.min_delay, self.max_delay).long()

    def rounded(self) -> DelayLayer:
        """A copy as deployed: integer delays and σ = 0, so that every synapse is one tap."""
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
        self, x: Tensor, weight: Tensor, delay: Tensor, sigma: float | Tensor
    ) -> tuple[Tensor, str]:
        """The sums, and the method by which they were computed."""
        limits = {"max_delay": self.reach, "interpolation": self.interpolation}
        method = plan.method_for(x, weight, sigma, **limits, method=self.method)
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
        delay, sigma = self._acting()
        if streaming.covers(x, weight, delay, history):
            settings = (float(sigma), self.interpolation)
            return self._stream.step(x, history, weight, delay, *settings)
        whole = torch.cat([history, x.unsqueeze(0)])
        y = torch.einsum("jni,oij->no", whole.flip(0), self._kernel(weight))
        return y.to(weight.dtype), whole[1:]  # not that of autocast, as in ops/plan.py

    def _acting(self) -> tuple[Tensor, float | Tensor]:
        """The delays, counted from the shortest, and the σ that make the layer's output."""
        sigma = self._width()
        if not self.straight_through:
            return self.delay - self.min_delay if self.min_delay else self.delay, sigma
        delay = self.delay.detach().round().clamp(self.min_delay, self.max_delay) - self.min_delay
        return delay + 0 * self.delay if sigma == 0 else delay, 0.0  # at rest: a gradient of 0

    def _learned(self) -> tuple[Tensor, float | Tensor] | None:
        """The delays and σ whose slopes move the delays, where these act as rounded."""
        moves = self.straight_through and torch.is_grad_enabled() and self.delay.requires_grad
        return (self.delay - self.min_delay, self.sigma) if moves and self.sigma > 0 else None

    def _kernel(self, weight: Tensor) -> Float[Tensor, "post pre taps"]:
        """``dense_kernel`` of the delays as they act."""
        kernel = dense_kernel(weight, *self._acting(), self.reach, self.interpolation)
        if (learned := self._learned()) is None:
            return kernel
        slope = dense_kernel(weight.detach(), *learned, self.reach, self.interpolation)
        return kernel + (slope - slope.detach())

    def extra_repr(self) -> str:
        sigma = f"{self.sigma:.2f}" if has_numbers(self._sigma) else "?"
        return (
            f"{self.in_features}, {self.out_features}, max_delay={self.max_delay}, "
            f"kernel_count={self.kernel_count}, granularity={self.granularity}, "
            f"interpolation={self.interpolation}, sigma={sigma}, "
            f"bias={self.bias is not None}, step_mode={self.step_mode}, method={self.method}"
            + (f" (last: {self.method_used})" if self.method == "auto" and self.method_used else "")
        )


def delay_layers(module: nn.Module) -> list[DelayLayer]:
    """Every delay layer in ``module``, in the order of definition."""
    return [child for child in module.modules() if isinstance(child, DelayLayer)]


def synapses_of(module: nn.Module) -> dict[str, nn.Module]:
    """The layers of synapses in a network by their names: delay layers and linear ones."""
    kinds = (DelayLayer, nn.Linear)
    return {name: child for name, child in module.named_modules() if isinstance(child, kinds)}


def set_sigma(module: nn.Module, sigma: float) -> None:
    """Give every delay layer in ``module`` the interpolation width ``sigma`` (steps)."""
    for child in delay_layers(module):
        child.sigma = sigma


def clamp_delays_(module: nn.Module) -> None:
    """Bring every delay in ``module``, and neurons' constants, back into their ranges."""
    for child in module.modules():
        if isinstance(child, DelayLayer):
            child.clamp_delays_()
        elif isinstance(child, CellNode):
            child.clamp_constants_()


class _Rounded(nn.Module):
    """Integer delays, of delays that a parametrisation makes."""

    def __init__(self, *limits: int) -> None:
        super().__init__()
        self.limits = limits

    def forward(self, delay: Tensor) -> Tensor:
        return delay.round().clamp(*self.limits)


def rounded(module: Net) -> Net:
    """A copy of ``module`` as deployed: integer delays, σ = 0, no memory of past inputs."""
    copied = fresh_copy(module)
    with torch.no_grad():
        for child in delay_layers(copied):
            delays = child.integer_delays()
            if is_parametrized(child, "delay"):
                nearest = _Rounded(child.min_delay, child.max_delay)
                register_parametrization(child, "delay", nearest, unsafe=True)
            else:
                child.delay.copy_(delays)
            child.sigma = 0.0
    return copied
