"""Leaky integrate-and-fire: SpikingJelly's node, set up as published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import neuron
from torch import Tensor

from snn_delays.arguments import real_number
from snn_delays.neurons import described
from snn_delays.neurons.described import Parameters, Scalars
from snn_delays.neurons.plif import PLIFNode
from snn_delays.neurons.swept import Swept, steps
from snn_delays.ops import surrogates


class LIFNode(Swept, neuron.LIFNode):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """SpikingJelly's ``LIFNode``, quick on CPUs and GPUs; see ``Swept``."""

    tau: float

    def _inverse_tau(self) -> float:
        return 1 / self.tau


class ParametricLIFNode(Swept, neuron.ParametricLIFNode):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """SpikingJelly's ``ParametricLIFNode``, which learns τ; quick, see ``Swept``."""

    def __init__(self, init_tau: float = 2.0, *args: Any, **kwargs: Any) -> None:
        super().__init__(init_tau, *args, **kwargs)

    def _inverse_tau(self) -> Tensor:
        return self.w.sigmoid()


def lif(
    tau: float,
    *,
    v_threshold: float = 1.0,
    v_reset: float | None = 0.0,
    surrogate: str = "atan",
    surrogate_alpha: float = 5.0,
    detach_reset: bool = True,
) -> LIFNode:
    """SpikingJelly's leaky integrate-and-fire node without input decay, multi-step.

        h[t] = v_reset + (1 − 1/τ) · (v[t−1] − v_reset) + x[t];   spike when h ≥ v_threshold

    Args:
        tau: membrane time constant in steps, > 1.
        v_reset: hard reset to this value; ``None`` subtracts the threshold (soft reset).
        surrogate, surrogate_alpha: slope in place of the spike's, see ``ops/surrogates.py``.

    Raises:
        UsageError: ``tau`` not above one step, a threshold or steepness that is not positive.
    """
    settings = checked("lif", v_threshold, v_reset, surrogate, surrogate_alpha, detach_reset)
    return published(LIFNode, tau=steps("lif", tau), decay_input=False, **settings)


def checked(
    owner: str,
    v_threshold: float,
    v_reset: float | None,
    surrogate: str,
    alpha: float,
    detach_reset: bool,
) -> dict[str, Any]:
    """Settings of a spiking node, in range; see ``lif``."""
    v_threshold = real_number(f"{owner}: v_threshold", v_threshold, above=0)
    if v_reset is not None:
        must = "be null or below v_threshold"
        v_reset = real_number(f"{owner}: v_reset", v_reset, below=v_threshold, must=must)
    return {
        "v_threshold": v_threshold,
        "v_reset": v_reset,
        "surrogate_function": surrogates.made(owner, surrogate, alpha),
        "detach_reset": detach_reset,
    }


def describe(node: Any) -> described.Values:
    """What the node does in evaluation, its input's decay as a gain.

    SpikingJelly's ``IFNode`` is a LIF that keeps all of v, ``ParametricLIFNode`` one of the tau
    that it has learned, ``PLIFNode`` one of a tau per neuron.
    """
    described.require_spikes(node)
    beta: Any
    if isinstance(node, neuron.IFNode):
        beta, gain = 1.0, 1.0
    elif isinstance(node, PLIFNode):
        rate = node.inside("rate").detach().double()
        beta, gain = (1 - rate.sigmoid()).cpu().numpy(), 1.0
    else:
        learned = isinstance(node, neuron.ParametricLIFNode)
        inverse_tau = float(node.w.detach().double().sigmoid()) if learned else 1 / node.tau
        beta, gain = 1 - inverse_tau, inverse_tau if node.decay_input else 1.0
    hard = node.v_reset is not None
    parameters = {"beta": beta, "v_threshold": node.v_threshold, "v_reset": node.v_reset or 0.0}
    return described.Values(parameters, {"reset": "hard" if hard else "soft"}, gain)


def build(values: Parameters, scalars: Scalars, slack: float) -> described.Built:
    """A ``LIFNode``; a ``PLIFNode``, to learn on, where betas differ from neuron to neuron."""
    v_threshold, v_reset, divisor = described.firing_of(values, scalars, slack)
    beta = values["beta"]
    if np.ptp(beta.astype(np.float32)):
        each = PLIFNode(len(beta), v_threshold=v_threshold, v_reset=v_reset)
        with np.errstate(divide="ignore"), torch.no_grad():  # ±inf where all or nothing is kept
            each.get_parameter("rate").copy_(torch.from_numpy(np.log1p(-beta) - np.log(beta)))
        return described.Built(each, divisor)
    tau = described.tau_of("beta", values)
    node = published(LIFNode, decay_input=False, v_threshold=v_threshold, v_reset=v_reset)
    node.tau = tau  # 1 or inf, refused as a user's setting, is a table's beta of 0 or 1
    return described.Built(node, divisor)


def published(node: Callable[..., Any], **settings: Any) -> Any:
    """A node that is set up as published but for its settings: multi-step, ATan, no input decay."""
    return node(
        **{
            "tau": 2.0,
            "detach_reset": True,
            "step_mode": "m",
            "surrogate_function": surrogates.made("lif", "atan", 5.0),
            **settings,
        }
    )


def step(v: Tensor, current: Tensor, beta: Any, v_threshold: Any, v_reset: Any, reset: int) -> Any:
    h = v_reset + beta * (v - v_reset) + current
    return *described.spiking_step(h, v_threshold, v_reset, reset == 0), h


NODES = (
    *(LIFNode, ParametricLIFNode, PLIFNode),
    *(neuron.LIFNode, neuron.ParametricLIFNode, neuron.IFNode),
)
TORCH = described.TorchModel("LIF", NODES, describe, build, step)
