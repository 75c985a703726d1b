"""Leaky integrate-and-fire with a learnable time constant."""

from __future__ import annotations

from typing import Any

from spikingjelly.activation_based import neuron
from torch import Tensor

from snn_delays.neurons.swept import Swept
from snn_delays.ops import lif as scan
from snn_delays.ops import lif_torch


class ParametricLIFNode(Swept, neuron.ParametricLIFNode):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """SpikingJelly's ``ParametricLIFNode``, which learns τ; quick on the CPU, see ``Swept``."""

    compilable = False

    def __init__(self, init_tau: float = 2.0, *args: Any, **kwargs: Any) -> None:
        super().__init__(init_tau, *args, **kwargs)

    def _inverse_tau(self) -> Tensor:
        return self.w.sigmoid()

    def _scan(self, x: Tensor, v: Tensor, firing: lif_torch.Firing) -> tuple[Tensor, Tensor]:
        return scan.parametric_lif(x, v, self._inverse_tau(), self.decay_input, firing)
