"""Leaky integrate-and-fire: SpikingJelly's node, set up as published."""

from __future__ import annotations

from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor

from snn_delays.arguments import real_number
from snn_delays.neurons.swept import Swept, steps
from snn_delays.ops import lif as scan
from snn_delays.ops import lif_torch


class LIFNode(Swept, neuron.LIFNode):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """SpikingJelly's ``LIFNode``, quick on the CPU; see ``Swept``."""

    tau: float

    def _inverse_tau(self) -> float:
        return 1 / self.tau

    def _scan(self, x: Tensor, v: Tensor, firing: lif_torch.Firing) -> tuple[Tensor, Tensor]:
        r = self._inverse_tau()
        return scan.lif(x, v, 1 - r, r if self.decay_input else 1.0, *firing)


def lif(
    tau: float,
    *,
    v_threshold: float = 1.0,
    v_reset: float | None = 0.0,
    surrogate_alpha: float = 5.0,
    detach_reset: bool = True,
) -> LIFNode:
    """SpikingJelly's leaky integrate-and-fire node without input decay, multi-step.

        h[t] = v_reset + (1 − 1/τ) · (v[t−1] − v_reset) + x[t];   spike when h ≥ v_threshold

    Args:
        tau: membrane time constant in steps, > 1.
        v_reset: hard reset to this value; ``None`` subtracts the threshold (soft reset).
        surrogate_alpha: steepness of the ATan surrogate gradient.

    Raises:
        UsageError: ``tau`` not above one step, a threshold or steepness that is not positive.
    """
    v_threshold = real_number("lif: v_threshold", v_threshold, above=0)
    if v_reset is not None:
        must = "be null or below v_threshold"
        v_reset = real_number("lif: v_reset", v_reset, below=v_threshold, must=must)
    return LIFNode(
        tau=steps("lif", tau),
        decay_input=False,
        v_threshold=v_threshold,
        v_reset=v_reset,
        surrogate_function=surrogate.ATan(
            alpha=real_number("lif: surrogate_alpha", surrogate_alpha, above=0)
        ),
        detach_reset=detach_reset,
        step_mode="m",
    )
