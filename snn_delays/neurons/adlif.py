"""Adaptive neurons whose constants are learned, one of each per neuron."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn

from snn_delays.arguments import choice, real_number, whole_number
from snn_delays.errors import UsageError
from snn_delays.inputs import require_sequence
from snn_delays.neurons import described
from snn_delays.neurons.described import Parameters, Scalars
from snn_delays.neurons.swept import remembered
from snn_delays.ops import adaptive, surrogates
from snn_delays.ops.adaptive import Cell
from snn_delays.ops.lif import Firing
from snn_delays.state import Stateful

Range = tuple[float, float]
_ANY: Range = (-math.inf, math.inf)


class AdaptiveNode(Stateful, base.MemoryModule):
    """Neurons with a second variable w, as ``snn_delays/ops/adaptive.py`` has them.

        h[t] = v_reset + alpha · (v[t−1] − v_reset) + (1 − alpha) · (x[t] − w[t−1])
        s[t] = 1 where h[t] ≥ v_threshold
        w[t] = beta · w[t−1] + a · u[t] + b · s[t]

    They start at rest. Constants are learned within their ranges: they act as the nearest value
    inside, and ``clamp_delays_``, which training calls, brings them back.

    Args:
        size: number of neurons.
        alpha, beta, a, b: the range of each constant, in which it is drawn uniformly at first.
        v_threshold: v from which they spike.
        v_reset: where v goes then; ``None`` subtracts the threshold.
        feedback: whether u is v ``"before"`` its reset or ``"after"``.
        surrogate, surrogate_alpha: slope in place of the spike's, see ``ops/surrogates.py``.
        detach_reset: whether gradients leave out the way through the reset.

    Shape:
        ``[T, N, size] → [T, N, size]`` or, with ``step_mode="s"``, ``[N, size] → [N, size]``.
        ``alpha``, ``beta``, ``a``, ``b``: ``[size]``.

    Raises:
        UsageError: values out of range; a state dict with constants beyond their ranges; constants
            that are NaN; an input of another shape.
    """

    constants: ClassVar[tuple[str, ...]] = ("alpha", "beta", "a", "b")
    decays = False  # no weights: an optimiser's decay would pull them to 0

    def __init__(
        self,
        size: int,
        *,
        alpha: Range = (0.0, 1.0),
        beta: Range = (0.0, 1.0),
        a: Range = _ANY,
        b: Range = _ANY,
        v_threshold: float = 1.0,
        v_reset: float | None = None,
        feedback: Literal["before", "after"] = "before",
        surrogate: str = "boxcar",
        surrogate_alpha: float = 1.0,
        detach_reset: bool = False,
        step_mode: Literal["s", "m"] = "m",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.size = whole_number(f"{name}: size", size, 1)
        self.v_threshold = real_number(f"{name}: v_threshold", v_threshold)
        self.v_reset = None if v_reset is None else real_number(f"{name}: v_reset", v_reset)
        self.feedback = choice(f"{name}: feedback", feedback, ("before", "after"))
        self.surrogate_function = surrogates.made(name, surrogate, surrogate_alpha)
        self.detach_reset = bool(detach_reset)
        self.step_mode = choice(f"{name}: step_mode", step_mode, ("s", "m"))
        self.ranges: dict[str, Range] = {}
        for constant, given in zip(self.constants, (alpha, beta, a, b), strict=True):
            self.ranges[constant] = _range(f"{name}: {constant}", given)
            self.register_parameter(constant, nn.Parameter(torch.empty(self.size)))
        self.register_memory("v", 0.0 if self.v_reset is None else self.v_reset)
        self.register_memory("w", 0.0)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Constants drawn uniformly from their ranges; 0 where these have no end."""
        for name, (low, high) in self.ranges.items():
            bounded = math.isfinite(low) and math.isfinite(high)
            nn.init.uniform_(self.get_parameter(name), *((low, high) if bounded else (0.0, 0.0)))

    @torch.no_grad()
    def clamp_constants_(self) -> None:
        """Bring every constant back into its range.

        Raises:
            UsageError: constants that are NaN or infinite; not looked for on a GPU.
        """
        for name, (low, high) in self.ranges.items():
            constant = self.get_parameter(name)
            if constant.is_cpu and not bool(constant.isfinite().all()):
                raise UsageError(
                    f"{type(self).__name__}: {name} is NaN or infinite. Go back to a state from "
                    "before, and lower the learning rate of the weights."
                )
            constant.clamp_(low, high)

    def acting(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """alpha, beta, a and b of the equations, ``[size]``."""
        alpha, beta, a, b = (
            _inside(self.get_parameter(name), *limits) for name, limits in self.ranges.items()
        )
        return alpha, beta, a, b

    def cell(self, like: Tensor) -> Cell | None:
        """The node as a compiled scan takes it, for currents ``[N, size]``; else None."""
        known = surrogates.index(self.surrogate_function) is not None
        return self._cell(like) if known and adaptive.covers(like) else None

    def settle(self, v: Tensor, w: Tensor) -> None:
        """Remember what such a scan has left."""
        self.v, self.w = v, w

    def _cell(self, like: Tensor) -> Cell:
        alpha, beta, a, b = (one.to(like) for one in self.acting())
        v, w = (remembered(self, like, like.shape, name) for name in ("v", "w"))
        kind: Any = surrogates.index(self.surrogate_function)
        firing = Firing(
            *(self.v_threshold, self.v_reset or 0.0, self.v_reset is None, self.detach_reset),
            *(kind, float(self.surrogate_function.alpha)),  # pyright: ignore[reportArgumentType]
        )
        return Cell(alpha, 1 - alpha, beta, a, b, v, w, firing, self.feedback == "before")

    def multi_step_forward(self, x: Tensor) -> Tensor:
        require_sequence(type(self).__name__, x, self.size, ("T", "N"))
        if not len(x):
            return x
        cell = self.cell(x[0])
        run, cell = (adaptive.scan, self._cell(x[0])) if cell is None else (adaptive.sweep, cell)
        spikes, self.v, self.w = run(x, cell)
        return spikes

    def single_step_forward(self, x: Tensor) -> Tensor:
        require_sequence(type(self).__name__, x, self.size, ("N",))
        return self.multi_step_forward(x.unsqueeze(0))[0]

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for name, (low, high) in self.ranges.items():
            value = state_dict.get(f"{prefix}{name}")
            if not isinstance(value, Tensor) or value.is_meta:
                continue
            outside = ~((value >= low - 1e-6) & (value <= high + 1e-6))
            if bool(outside.any()):
                first = float(value[outside][0])
                raise UsageError(
                    f"{type(self).__name__}: {prefix}{name} must lie in {low:.4g} … {high:.4g}, "
                    f"got {first:.4g} in {int(outside.sum())} of {value.numel()} neurons. Make the "
                    f"node with the range it was trained with: {name}=(low, high)."
                )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        ranges = ", ".join(
            f"{name}={low:.3g}…{high:.3g}" for name, (low, high) in self.ranges.items()
        )
        return (
            f"{self.size}, {ranges}, v_threshold={self.v_threshold:g}, v_reset={self.v_reset}, "
            f"feedback={self.feedback}, step_mode={self.step_mode}"
        )


class AdLIFNode(AdaptiveNode):
    """AdLIF of Bittar & Garner (2022, Front. Neurosci. 16): soft reset, boxcar.

    alpha from exp(−1/5) to exp(−1/25), beta from exp(−1/30) to exp(−1/120), a from −1 to 1, b from
    0 to 2. Its states begin at random there.
    """

    def __init__(self, size: int, **settings: Any) -> None:
        given = {"alpha": _kept(5, 25), "beta": _kept(30, 120), "a": (-1, 1), "b": (0, 2)}
        super().__init__(size, **{**given, **settings})


class CAdLIFNode(AdaptiveNode):
    """cAdLIF of Deckers et al. (2024, arXiv:2407.18534): AdLIF that is stable by its ranges.

    alpha from 0.36 to 0.96, beta from 0.96 to 0.99, a from 0 to 1, b from 0 to 2.
    """

    def __init__(self, size: int, **settings: Any) -> None:
        given = {"alpha": (0.36, 0.96), "beta": (0.96, 0.99), "a": (0, 1), "b": (0, 2)}
        super().__init__(size, **{**given, **settings})


class SEAdLIFNode(AdaptiveNode):
    """SE-adLIF of Baronig et al. (2024, arXiv:2408.07517): hard reset, feedback after it.

        w[t] = beta · w[t−1] + (1 − beta) · q · (a · v[t] + b · s[t])

    alpha from exp(−1/5) to exp(−1/25), beta from exp(−1/60) to exp(−1/300), for steps of 4 ms; a
    from 0 to 1, b from 0 to 2.

    Args:
        q: weight of a and b.
        settings: as for ``AdaptiveNode``.
    """

    def __init__(self, size: int, *, q: float = 120.0, **settings: Any) -> None:
        given = {"alpha": _kept(5, 25), "beta": _kept(60, 300), "a": (0, 1), "b": (0, 2)}
        of_reset = {"v_reset": 0.0, "feedback": "after", "surrogate": "slayer"}
        self.q = real_number("SEAdLIFNode: q", q, above=0)
        super().__init__(size, **{**given, **of_reset, "surrogate_alpha": 5.0, **settings})

    def acting(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        alpha, beta, a, b = super().acting()
        return alpha, beta, (1 - beta) * self.q * a, (1 - beta) * self.q * b


class SiLIFNode(AdaptiveNode):
    """SiLIF of Fabre et al. (2025): AdLIF with time constants as of state space models.

        alpha = exp(−exp(A + delta)),   beta = exp(−exp(B + delta))

    A begins uniformly from ln 10 to ln 250, B from ln 2.5 to ln 10, delta at ln 0.004; a from 0 to
    1, b from 0 to 2. Whatever A, B and delta are, alpha and beta are shares.
    """

    constants = ("A", "B", "a", "b")

    def __init__(self, size: int, **settings: Any) -> None:
        super().__init__(
            size, **{"alpha": _ANY, "beta": _ANY, "a": (0, 1), "b": (0, 2), **settings}
        )

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.uniform_(self.get_parameter("A"), math.log(10), math.log(250))
        nn.init.uniform_(self.get_parameter("B"), math.log(2.5), math.log(10))
        self.delta = nn.Parameter(torch.full_like(self.get_parameter("A"), math.log(0.004)))

    def acting(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        fast, slow, a, b = super().acting()
        alpha, beta = (torch.exp(-torch.exp(one + self.delta)) for one in (fast, slow))
        return alpha, beta, a, b


def _kept(shortest: float, longest: float) -> Range:
    """Shares kept per step by time constants of so many steps."""
    return math.exp(-1 / shortest), math.exp(-1 / longest)


def _range(name: str, given: Any) -> Range:
    try:
        low, high = map(float, given)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not low <= high:
        raise UsageError(f"{name} must be a range (low, high), got {given!r}.")
    return low, high


def _inside(value: Tensor, low: float, high: float) -> Tensor:
    """A constant within its range; its gradient as if it had not been brought there."""
    return value + (value.clamp(low, high) - value).detach()


@torch.no_grad()
def describe(node: AdaptiveNode) -> described.Values:
    """What the node is, neuron by neuron."""
    names = ("alpha", "beta", "a", "b")
    parameters: dict[str, Any] = {
        name: one.double().cpu().numpy() for name, one in zip(names, node.acting(), strict=True)
    }
    parameters |= {"v_threshold": node.v_threshold, "v_reset": node.v_reset or 0.0}
    reset = "soft" if node.v_reset is None else "hard"
    return described.Values(parameters, {"reset": reset, "feedback": node.feedback})


def build(values: Parameters, scalars: Scalars, slack: float) -> described.Built:
    """An ``AdaptiveNode`` with these constants, to learn in any range."""
    v_threshold, v_reset, divisor = described.firing_of(values, scalars, slack)
    feedback = scalars["feedback"]
    node = AdaptiveNode(len(divisor), v_threshold=v_threshold, v_reset=v_reset, feedback=feedback)
    with torch.no_grad():
        for name in node.constants:
            own: Any = values[name] / divisor if name == "b" else values[name]
            node.get_parameter(name).copy_(torch.from_numpy(np.asarray(own, np.float64)))
    return described.Built(node, divisor)


def step(v, w, current, alpha, beta, a, b, v_threshold, v_reset, reset, feedback):
    h = v_reset + alpha * (v - v_reset) + (1 - alpha) * (current - w)
    v, spikes = described.spiking_step(h, v_threshold, v_reset, reset == 0)
    w = beta * w + a * (h if feedback == 0 else v) + b * spikes
    return v, w, spikes, h


NODES = (AdaptiveNode, AdLIFNode, CAdLIFNode, SEAdLIFNode, SiLIFNode)
TORCH = described.TorchModel("AdLIF", NODES, describe, build, step)
