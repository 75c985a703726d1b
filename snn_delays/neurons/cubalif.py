"""Current-based leaky integrate-and-fire."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from snn_delays.neurons import described
from snn_delays.neurons.described import Parameters, Scalars
from snn_delays.neurons.lif import LIFNode, checked, published
from snn_delays.neurons.lif import describe as describe_lif
from snn_delays.neurons.swept import remembered, steps
from snn_delays.ops.leaky import leaky


class CuBaLIFNode(LIFNode):
    """A LIF node whose input currents leak too.

        i[t] = (1 − 1/tau_syn) · i[t−1] + x[t]
        h[t] = v_reset + (1 − 1/tau) · (v[t−1] − v_reset) + i[t];   spike when h ≥ v_threshold

    Args:
        tau_syn: time constant of the currents in steps, > 1.
        tau, settings: as for ``LIFNode``, without a decay of the input.

    Shape:
        ``[T, N, C] → [T, N, C]`` or, with ``step_mode="s"``, ``[N, C] → [N, C]``.

    Raises:
        UsageError: a time constant not above one step.
    """

    def __init__(self, tau: float = 2.0, tau_syn: float = 2.0, **settings: Any) -> None:
        super().__init__(tau, decay_input=False, **settings)
        self.tau_syn = steps("CuBaLIFNode", tau_syn, "tau_syn")
        self.register_memory("i", 0.0)

    def multi_step_forward(self, x_seq: Tensor, *args: Tensor, **kwargs: Any) -> Tensor:
        self.i = remembered(self, x_seq, x_seq.shape[1:], "i")
        if len(x_seq):
            x_seq = leaky(x_seq, 1 - 1 / self.tau_syn, self.i)
            self.i = x_seq[-1].clone()
        return super().multi_step_forward(x_seq, *args, **kwargs)

    def single_step_forward(self, x: Tensor, *args: Tensor, **kwargs: object) -> Tensor:
        self.i = (1 - 1 / self.tau_syn) * remembered(self, x, x.shape, "i") + x
        return super().single_step_forward(self.i, *args, **kwargs)


def cubalif(
    tau: float,
    *,
    tau_syn: float = 2.0,
    v_threshold: float = 1.0,
    v_reset: float | None = 0.0,
    surrogate: str = "atan",
    surrogate_alpha: float = 5.0,
    detach_reset: bool = True,
) -> CuBaLIFNode:
    """A ``CuBaLIFNode``, multi-step; ``tau_syn`` in steps, all else as for ``lif``."""
    settings = checked("cubalif", v_threshold, v_reset, surrogate, surrogate_alpha, detach_reset)
    taus = {"tau": steps("cubalif", tau), "tau_syn": steps("cubalif", tau_syn, "tau_syn")}
    return published(CuBaLIFNode, **taus, **settings)


def describe(node: CuBaLIFNode) -> described.Values:
    """What the node is."""
    same = describe_lif(node)
    return same._replace(parameters={"alpha": 1 - 1 / node.tau_syn, **same.parameters})


def build(values: Parameters, scalars: Scalars, slack: float) -> described.Built:
    """A node with one alpha, beta, threshold and reset for all its neurons."""
    tau, tau_syn = (described.tau_of(name, values) for name in ("beta", "alpha"))
    v_threshold, v_reset, divisor = described.firing_of(values, scalars, slack)
    node = published(CuBaLIFNode, v_threshold=v_threshold, v_reset=v_reset)
    node.tau, node.tau_syn = tau, tau_syn
    return described.Built(node, divisor)


def step(v, i, current, alpha, beta, v_threshold, v_reset, reset):
    i = alpha * i + current
    h = v_reset + beta * (v - v_reset) + i
    v, spikes = described.spiking_step(h, v_threshold, v_reset, reset == 0)
    return v, i, spikes, h


TORCH = described.TorchModel("CuBaLIF", (CuBaLIFNode,), describe, build, step)
