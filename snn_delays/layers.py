"""The delay layer: a linear map in which every synapse also has a learnable delay."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snn_delays.eager import autocasts
from snn_delays.errors import UsageError
from snn_delays.interpolation import INTERPOLATIONS, Interpolation, dense_kernel
from snn_delays.memory import InputMemory, Net, fresh_copy
from snn_delays.ops import plan, streaming
from snn_delays.ops.plan import METHODS, Method

Granularity = Literal["synaptic", "axonal", "dendritic"]
GRANULARITIES: tuple[str, ...] = get_args(Granularity)


class DelayLayer(InputMemory):
    """Fully connected synapses with learnable delays.

        y[t, post] = b[post] + Σ_pre Σ_k w[post, pre, k]·Σ_j g_σ(j − d[post, pre, k])·x[t − j, pre]

    A SpikingJelly module: it stands between neurons where ``layer.Linear`` would. It remembers
    the last ``max_delay`` inputs between calls, as a neuron remembers its membrane, until
    ``functional.reset_net``; so a sequence may come whole (``step_mode="m"``), in pieces, or
    step by step (``step_mode="s"``), with the same result.

    Args:
        in_features, out_features: number of pre- and postsynaptic neurons.
        max_delay: largest delay, in steps; the kernel has ``max_delay + 1`` taps.
        kernel_count: delayed contacts of one (post, pre) pair.
        granularity: one delay per ``"synaptic"`` pair, per pre (``"axonal"``) or per post
            (``"dendritic"``).
        interpolation: ``"gaussian"`` or ``"triangle"``.
        sigma: width of the interpolation in steps; ``None`` starts at half the kernel, as
            published (max_delay / 2 + 0.27). A schedule shrinks it; 0 makes delays integers.
        bias: adds a learnable current to every postsynaptic neuron, at first 0.
        method: how to compute it; see ``ops/plan.py``.

    Shape:
        ``[T, N, in] → [T, N, out]``, or ``[N, in] → [N, out]`` with ``step_mode="s"``, in the
        precision of the weights: under autocast only products are in half.
        ``weight`` is ``[out, in, kernel_count]``; ``delay`` (steps) is the same, but
        ``[1, in, kernel_count]`` if axonal and ``[out, 1, kernel_count]`` if dendritic.
        ``present``, if it is set, is bool and of the shape of ``weight``: the other weights get
        no gradient, so that synapses which are not there (weight 0) never come to be.

    Raises:
        UsageError: sizes, ranges or names that make no layer; an input of another width; a batch
            of another size than the remembered one.

    Reference:
        Hammouamri, Khalfaoui-Hassani, Masquelier, "Learning delays in spiking neural networks
        using dilated convolutions with learnable spacings" (2024, arXiv:2306.17670).
    """

    present: Tensor | None

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
        sizes = {
            "in_features": in_features,
            "out_features": out_features,
            "kernel_count": kernel_count,
        }
        for name, size in sizes.items():
            if not isinstance(size, int) or size < 1:
                raise UsageError(f"DelayLayer: {name} must be a whole number >= 1, got {size!r}.")
        if not isinstance(max_delay, int) or max_delay < 1:
            raise UsageError(
                f"DelayLayer: max_delay must be a whole number of steps >= 1, got {max_delay!r}. "
                "Use a smaller dt, or nn.Linear if no delay is wanted."
            )
        names = (
            ("granularity", granularity, GRANULARITIES),
            ("interpolation", interpolation, INTERPOLATIONS),
            ("method", method, METHODS),
            ("step_mode", step_mode, ("s", "m")),
        )
        for name, got, known in names:
            if got not in known:
                raise UsageError(
                    f"DelayLayer: {name} must be one of {', '.join(known)}, got {got!r}."
                )
        self.in_features = in_features
        self.out_features = out_features
        self.max_delay = max_delay
        self.kernel_count = kernel_count
        self.granularity: Granularity = granularity
        self.interpolation: Interpolation = interpolation
        self.method: Method = method
        self.sigma = max_delay / 2 + 0.27 if sigma is None else sigma
        self.step_mode = step_mode
        self.way: str | None = None  # how the last sequence was computed

        rows = 1 if granularity == "axonal" else out_features
        columns = 1 if granularity == "dendritic" else in_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features, kernel_count))
        self.delay = nn.Parameter(torch.empty(rows, columns, kernel_count))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None
        self.register_buffer("present", None)  # None has no place in the state dict
        self._streaming = streaming.Kept()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights Kaiming-uniform for ReLU, delays uniform over the kernel, as published."""
        nn.init.kaiming_uniform_(self.weight.flatten(1), nonlinearity="relu")
        nn.init.uniform_(self.delay, 0.0, float(self.max_delay))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @property
    def sigma(self) -> float:
        """True width of the interpolation, in steps; part of the state dict."""
        return self._sigma

    @sigma.setter
    def sigma(self, value: float) -> None:
        if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
            raise UsageError(f"DelayLayer: sigma must be a number of steps >= 0, got {value!r}.")
        self._sigma = float(value)

    def get_extra_state(self) -> dict[str, float]:
        return {"sigma": self._sigma}

    def set_extra_state(self, state: dict[str, float]) -> None:
        self.sigma = state["sigma"]

    @torch.no_grad()
    def clamp_delays_(self) -> None:
        """Bring every delay back into [0, max_delay]; call it after an optimiser step."""
        self.delay.clamp_(0, self.max_delay)

    def __getstate__(self) -> dict[str, Any]:
        # A copy's parameters are its own, and changes to them are counted anew.
        return {**super().__getstate__(), "_streaming": streaming.Kept()}

    def integer_delays(self) -> Int[Tensor, "post_or_1 pre_or_1 contacts"]:
        """Delays rounded to steps (ties to even), int64, of ``delay``'s shape."""
        return self.delay.detach().round().clamp(0, self.max_delay).long()

    def rounded(self) -> DelayLayer:
        """A copy as deployed: integer delays and σ = 0, so that every contact is one tap."""
        return rounded(self)

    def multi_step_forward(
        self, x: Float[Tensor, "time batch pre"]
    ) -> Float[Tensor, "time batch post"]:
        self._check(x, ("T", "N"))
        # What came before matters to the first steps only; after a reset that is silence.
        heard = 0 if self.history is None else self.max_delay
        whole = torch.cat([self._past(x.shape[1], x), x]) if heard else x
        y = self._convolve(whole)
        self._remember(whole)
        return self._biased(y[heard:])

    def _convolve(self, x: Float[Tensor, "time batch pre"]) -> Float[Tensor, "time batch post"]:
        """The layer's equation without bias, for an x that nothing precedes."""
        y, self.way = self._convolved(x, self._weight(), self.delay, self.sigma)
        return y

    def _convolved(
        self, x: Tensor, weight: Tensor, delay: Tensor, sigma: float
    ) -> tuple[Tensor, str]:
        """The sums, and the way they were computed."""
        settings: dict[str, Any] = {
            "sigma": sigma,
            "max_delay": self.max_delay,
            "interpolation": self.interpolation,
        }
        way = plan.way(x, weight, **settings, method=self.method)
        return plan.delay_convolution(x, weight, delay, **settings, method=way), way

    def single_step_forward(self, x: Float[Tensor, "batch pre"]) -> Float[Tensor, "batch post"]:
        self._check(x, ("N",))
        fresh = self.history is None
        ring = x.new_zeros(self.max_delay, *x.shape) if self.history is None else self.history
        weight = self._weight()
        if streaming.covers(x, weight, self.delay, ring):
            self._check_batch(x.shape[0])
            y = streaming.step(x, ring, self.slot, self._synapses(weight, fresh), self.out_features)
        else:
            past = self._past(x.shape[0], x)
            kernel = self._kernel(weight)
            y = torch.einsum("jni,oij->no", torch.cat([x.unsqueeze(0), past.flip(0)]), kernel)
            y = y.to(weight.dtype)  # not that of autocast, as in ops/plan.py
            ring[self.slot] = x
        self.history, self.slot = ring, (self.slot + 1) % self.max_delay
        return self._biased(y)

    def _weight(self) -> Tensor:
        """``weight``, through which only what is present gets a gradient."""
        weight = self.weight
        if self.present is None or not torch.is_grad_enabled():
            return weight
        return torch.where(self.present, weight, weight.detach())

    def _acting(self) -> tuple[Tensor, float]:
        """The delays and the σ that make the layer's output."""
        return self.delay, self.sigma

    def _kernel(self, weight: Tensor) -> Float[Tensor, "post pre taps"]:
        """``dense_kernel`` of the delays as they act."""
        return dense_kernel(weight, *self._acting(), self.max_delay, self.interpolation)

    def _synapses(self, weight: Tensor, check: bool) -> streaming.Synapses:
        """What ``ops/streaming.py`` needs; ``check`` as there."""
        sources = (weight, self.delay)
        if parametrize.is_parametrized(self):
            # What is made anew each time has no history; what it is made of has.
            sources = (*self.parameters(), *self.buffers())
        acting = (*self._acting(), self.max_delay, self.interpolation)
        return self._streaming.synapses(weight, *acting, sources=sources, check=check)

    def _biased(self, y: Tensor) -> Tensor:
        return y if self.bias is None else y + self.bias

    def _check(self, x: Tensor, axes: tuple[str, ...]) -> None:
        if x.dim() != len(axes) + 1 or x.shape[-1] != self.in_features:
            expected = ", ".join((*axes, str(self.in_features)))
            raise UsageError(
                f"DelayLayer: input must be [{expected}] with step_mode={self.step_mode!r}, "
                f"got {list(x.shape)}."
            )
        if not x.is_floating_point():
            raise UsageError(
                f"DelayLayer: input must be floating point, got {x.dtype}. Use x.float()."
            )
        if x.dtype != self.delay.dtype and not autocasts(x):
            raise UsageError(
                f"DelayLayer: input must be {self.delay.dtype}, as the weights are, got {x.dtype}."
                f" Use x.to({self.delay.dtype}), or net.to({x.dtype})."
            )

    def extra_repr(self) -> str:
        return (
            f"{self.in_features}, {self.out_features}, max_delay={self.max_delay}, "
            f"kernel_count={self.kernel_count}, granularity={self.granularity}, "
            f"interpolation={self.interpolation}, sigma={self.sigma:.2f}, "
            f"bias={self.bias is not None}, step_mode={self.step_mode}, method={self.method}"
            + (f" (last: {self.way})" if self.method == "auto" and self.way else "")
        )


def delay_layers(module: nn.Module) -> list[DelayLayer]:
    """Every delay layer in ``module``, in the order of definition."""
    return [child for child in module.modules() if isinstance(child, DelayLayer)]


def set_sigma(module: nn.Module, sigma: float) -> None:
    """Give every delay layer in ``module`` the interpolation width ``sigma`` (steps)."""
    for child in delay_layers(module):
        child.sigma = sigma


def clamp_delays_(module: nn.Module) -> None:
    """Bring every delay in ``module`` back into its layer's range."""
    for child in delay_layers(module):
        child.clamp_delays_()


def rounded(module: Net) -> Net:
    """A copy of ``module`` as deployed: integer delays, σ = 0, no memory of past inputs."""
    twin = fresh_copy(module)
    with torch.no_grad():
        for child in delay_layers(twin):
            child.delay.copy_(child.integer_delays())
            child.sigma = 0.0
    return twin
