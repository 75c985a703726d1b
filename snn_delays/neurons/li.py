"""A leaky membrane that never spikes, to read out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from spikingjelly.activation_based import base
from torch import Tensor

from snn_delays.errors import UsageError
from snn_delays.modules.state import Stateful
from snn_delays.neurons import described
from snn_delays.neurons.described import Parameters, Scalars
from snn_delays.neurons.swept import remembered, steps
from snn_delays.ops.leaky import leaky


class LeakyReadout(Stateful, base.MemoryModule):
    """A membrane that never spikes: v[t] = (1 − 1/τ) · v[t−1] + x[t]; returns v at every step.

    Args:
        tau: membrane time constant in steps, > 1.

    Shape:
        ``[T, N, C] → [T, N, C]`` or, with ``step_mode="s"``, ``[N, C] → [N, C]``.

    Raises:
        UsageError: ``tau`` not above one step.
    """

    v: Tensor | float

    def __init__(self, tau: float) -> None:
        super().__init__()
        self.tau = steps("LeakyReadout", tau)
        self.step_mode = "m"
        self.register_memory("v", 0.0)

    def single_step_forward(self, x: Float[Tensor, "batch post"]) -> Float[Tensor, "batch post"]:
        if x.dim() == 3:
            raise UsageError(
                "LeakyReadout: input must be [N, C] with step_mode='s', got "
                f"{list(x.shape)}. For that shape, functional.set_step_mode(net, 'm')."
            )
        self.v = (1 - 1 / self.tau) * remembered(self, x, x.shape) + x
        return self.v

    def multi_step_forward(
        self, x: Float[Tensor, "time batch post"]
    ) -> Float[Tensor, "time batch post"]:
        if x.shape[0] == 0:
            return x
        found = leaky(x, 1 - 1 / self.tau, remembered(self, x, x.shape[1:]))
        self.v = found[-1].clone()  # not a view, which would keep every step
        return found

    def extra_repr(self) -> str:
        return f"tau={self.tau:g}, step_mode={self.step_mode}"


def describe(node: LeakyReadout) -> described.Values:
    """What the node is."""
    return described.Values({"beta": 1 - 1 / node.tau}, {})


def build(values: Parameters, scalars: Scalars, slack: float) -> described.Built:
    """A ``LeakyReadout``, which has one beta for all its neurons."""
    node = LeakyReadout(2.0)
    node.tau = described.tau_of("beta", values)
    return described.Built(node, np.ones_like(values["beta"]))


def step(v: Tensor, current: Tensor, beta: Any) -> Any:
    h = beta * v + current
    return h, torch.zeros_like(h, dtype=torch.bool), h


TORCH = described.TorchModel("LI", (LeakyReadout,), describe, build, step)
