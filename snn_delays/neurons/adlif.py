"""Adaptive neurons whose constants are learned, one of each per neuron."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from snn_delays.arguments import choice, real_number
from snn_delays.errors import UsageError
from snn_delays.neurons import described
from snn_delays.neurons.cell import ANY, CellNode, Range, in_order
from snn_delays.neurons.described import Parameters, Scalars
from snn_delays.neurons.lif import checked


class AdaptiveNode(CellNode):
    """Neurons with a second variable w.

        h[t] = v_reset + alpha · (v[t−1] − v_reset) + (1 − alpha) · (x[t] − w[t−1])
        s[t] = 1 where h[t] ≥ v_threshold
        w[t] = beta · w[t−1] + a · (u[t] − v_reset) + b · s[t]

    They start at rest. Constants stay in their ranges; see ``CellNode``.

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
        UsageError: as ``CellNode`` does.
    """

    names = ("alpha", "beta", "a", "b")

    def __init__(
        self,
        size: int,
        *,
        alpha: Range = (0.0, 1.0),
        beta: Range = (0.0, 1.0),
        a: Range = ANY,
        b: Range = ANY,
        v_threshold: float = 1.0,
        v_reset: float | None = None,
        feedback: Literal["before", "after"] = "before",
        surrogate: str = "boxcar",
        surrogate_alpha: float = 1.0,
        detach_reset: bool = False,
        step_mode: Literal["s", "m"] = "m",
    ) -> None:
        super().__init__(
            size,
            dict(zip(self.names, (alpha, beta, a, b), strict=True)),
            v_threshold=v_threshold,
            v_reset=v_reset,
            surrogate=surrogate,
            surrogate_alpha=surrogate_alpha,
            detach_reset=detach_reset,
            step_mode=step_mode,
        )
        self.feedback = choice(f"{type(self).__name__}: feedback", feedback, ("before", "after"))
        self.register_memory("w", 0.0)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Constants drawn uniformly from their ranges; 0 where these have no end."""
        for name, (low, high) in self.ranges.items():
            bounded = math.isfinite(low) and math.isfinite(high)
            nn.init.uniform_(self.get_parameter(name), *((low, high) if bounded else (0.0, 0.0)))

    def acting(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """alpha, beta, a and b of the equations, ``[size]``."""
        alpha, beta, a, b = map(self.inside, self.ranges)
        return alpha, beta, a, b

    def constants(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        alpha, beta, a, b = self.acting()
        return alpha, 1 - alpha, beta, a, b


class AdLIFNode(AdaptiveNode):
    """AdLIF of Bittar & Garner (2022, Front. Neurosci. 16): soft reset, boxcar.

    a from −1 to 1, b from 0 to 2. Its states begin at random there.

    Args:
        tau_v, tau_w: ranges of the time constants in steps: alpha = exp(−1/tau_v), beta =
            exp(−1/tau_w).
        settings: as for ``AdaptiveNode``.
    """

    def __init__(
        self, size: int, *, tau_v: Range = (5, 25), tau_w: Range = (30, 120), **settings: Any
    ) -> None:
        kept = {"alpha": _kept(self, "tau_v", tau_v), "beta": _kept(self, "tau_w", tau_w)}
        given = {"a": (-1, 1), "b": (0, 2), **settings}
        super().__init__(size, **kept, **_in_range(type(self).__name__, given))


class CAdLIFNode(AdaptiveNode):
    """cAdLIF of Deckers et al. (2024, arXiv:2311.16112): AdLIF that is stable by its ranges.

    alpha from 0.36 to 0.96, beta from 0.96 to 0.99, a from 0 to 1, b from 0 to 2.
    """

    def __init__(self, size: int, **settings: Any) -> None:
        given = {"alpha": (0.36, 0.96), "beta": (0.96, 0.99), "a": (0, 1), "b": (0, 2)}
        super().__init__(size, **_in_range(type(self).__name__, {**given, **settings}))


class SEAdLIFNode(AdaptiveNode):
    """SE-adLIF of Baronig et al. (2024, arXiv:2408.07517): hard reset, feedback after it.

        w[t] = beta · w[t−1] + (1 − beta) · q · (a · v[t] + b · s[t])

    a from 0 to 1, b from 0 to 2.

    Args:
        q: weight of a and b.
        tau_v, tau_w: as for ``AdLIFNode``; published for steps of 4 ms.
        settings: as for ``AdaptiveNode``.
    """

    def __init__(
        self,
        size: int,
        *,
        q: float = 120.0,
        tau_v: Range = (5, 25),
        tau_w: Range = (60, 300),
        **settings: Any,
    ) -> None:
        kept = {"alpha": _kept(self, "tau_v", tau_v), "beta": _kept(self, "tau_w", tau_w)}
        of_reset = {"v_reset": 0.0, "feedback": "after", "surrogate": "slayer"}
        self.q = real_number("SEAdLIFNode: q", q, above=0)
        given = {"a": (0, 1), "b": (0, 2), **of_reset, "surrogate_alpha": 5.0, **settings}
        super().__init__(size, **kept, **_in_range(type(self).__name__, given))

    def acting(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        alpha, beta, a, b = super().acting()
        return alpha, beta, (1 - beta) * self.q * a, (1 - beta) * self.q * b


class SiLIFNode(AdaptiveNode):
    """SiLIF of Fabre et al. (2025): AdLIF with time constants as of state space models.

        alpha = exp(−exp(A + delta)),   beta = exp(−exp(B + delta))

    delta begins at ln 0.004, A and B uniformly so that time constants lie in their ranges: from
    ln 10 to ln 250, and from ln 2.5 to ln 10. a from 0 to 1, b from 0 to 2. Whatever A, B and delta
    are, alpha and beta are shares.

    Args:
        tau_v, tau_w: ranges of 1 / exp(A + delta) and 1 / exp(B + delta) at first, in steps;
            published for steps of 4 ms.
        settings: as for ``AdaptiveNode``.
    """

    names = ("A", "B", "a", "b")

    def __init__(
        self, size: int, *, tau_v: Range = (1, 25), tau_w: Range = (25, 100), **settings: Any
    ) -> None:
        self.taus = {"A": _steps(self, "tau_v", tau_v), "B": _steps(self, "tau_w", tau_w)}
        given = {"a": (0, 1), "b": (0, 2), **settings}
        super().__init__(size, alpha=ANY, beta=ANY, **_in_range(type(self).__name__, given))

    def reset_parameters(self) -> None:
        super().reset_parameters()
        delta = math.log(0.004)
        for name, (shortest, longest) in self.taus.items():
            limits = -math.log(longest) - delta, -math.log(shortest) - delta
            nn.init.uniform_(self.get_parameter(name), *limits)
        self.delta = nn.Parameter(torch.full_like(self.get_parameter("A"), delta))

    def acting(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        fast, slow, a, b = super().acting()
        alpha, beta = (torch.exp(-torch.exp(one + self.delta)) for one in (fast, slow))
        return alpha, beta, a, b


def _steps(node: AdaptiveNode, name: str, given: Range) -> Range:
    """A range of time constants."""
    name = f"{type(node).__name__}: {name}"
    shortest, longest = in_order(name, given)
    if not 0 < shortest <= longest < math.inf:
        raise UsageError(f"{name} must be a range of positive numbers of steps, got {given}.")
    return shortest, longest


def _kept(node: AdaptiveNode, name: str, given: Range) -> Range:
    """What such time constants keep per step."""
    shortest, longest = _steps(node, name, given)
    return math.exp(-1 / shortest), math.exp(-1 / longest)


def _in_range(owner: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a node that can fire and be reset; as those of ``lif``."""
    given = {"v_threshold": 1.0, "v_reset": None, **settings}
    checked(owner, given["v_threshold"], given["v_reset"], "boxcar", 1.0, False)
    return settings


@torch.no_grad()
def describe(node: AdaptiveNode) -> described.Values:
    """What the node is, neuron by neuron."""
    described.require_spikes(node)
    parameters: dict[str, Any] = {
        name: one.double().cpu().numpy()
        for name, one in zip(AdaptiveNode.names, node.acting(), strict=True)
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
        for name in node.names:
            own: Any = values[name] / divisor if name == "b" else values[name]
            node.get_parameter(name).copy_(torch.from_numpy(np.asarray(own, np.float64)))
    return described.Built(node, divisor)


def step(v, w, current, alpha, beta, a, b, v_threshold, v_reset, reset, feedback):
    h = v_reset + alpha * (v - v_reset) + (1 - alpha) * (current - w)
    v, spikes = described.spiking_step(h, v_threshold, v_reset, reset == 0)
    w = beta * w + a * ((h if feedback == 0 else v) - v_reset) + b * spikes
    return v, w, spikes, h


NODES = (AdaptiveNode, AdLIFNode, CAdLIFNode, SEAdLIFNode, SiLIFNode)
TORCH = described.TorchModel("AdLIF", NODES, describe, build, step)
