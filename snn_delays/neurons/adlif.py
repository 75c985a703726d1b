"""Adaptive neurons whose constants are learned, one of each per neuron."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from snn_delays.arguments import choice, real_number
from snn_delays.neurons import described
from snn_delays.neurons.cell import ANY, CellNode, Range
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

    alpha from exp(−1/5) to exp(−1/25), beta from exp(−1/30) to exp(−1/120), a from −1 to 1, b from
    0 to 2. Its states begin at random there.
    """

    def __init__(self, size: int, **settings: Any) -> None:
        given = {"alpha": _kept(5, 25), "beta": _kept(30, 120), "a": (-1, 1), "b": (0, 2)}
        super().__init__(size, **_in_range(type(self).__name__, {**given, **settings}))


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
        given |= {**of_reset, "surrogate_alpha": 5.0, **settings}
        super().__init__(size, **_in_range(type(self).__name__, given))

    def acting(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        alpha, beta, a, b = super().acting()
        return alpha, beta, (1 - beta) * self.q * a, (1 - beta) * self.q * b


class SiLIFNode(AdaptiveNode):
    """SiLIF of Fabre et al. (2025): AdLIF with time constants as of state space models.

        alpha = exp(−exp(A + delta)),   beta = exp(−exp(B + delta))

    A begins uniformly from ln 10 to ln 250, B from ln 2.5 to ln 10, delta at ln 0.004; a from 0 to
    1, b from 0 to 2. Whatever A, B and delta are, alpha and beta are shares.
    """

    names = ("A", "B", "a", "b")

    def __init__(self, size: int, **settings: Any) -> None:
        given = {"alpha": ANY, "beta": ANY, "a": (0, 1), "b": (0, 2), **settings}
        super().__init__(size, **_in_range(type(self).__name__, given))

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
