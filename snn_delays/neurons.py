"""The neurons between delay layers: SpikingJelly's, set up as published, and a leaky readout."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from spikingjelly.activation_based import base, neuron, surrogate
from torch import Tensor

from snn_delays.errors import UsageError
from snn_delays.memory import CopyableMemory
from snn_delays.ops import lif as scan


class _Swept(CopyableMemory):
    """A SpikingJelly node with the whole sequence in one compiled sweep on the CPU.

    The same arguments and numbers. What the sweep does not cover (GPUs, surrogates other than
    ATan and Sigmoid, half precision) runs as SpikingJelly runs it.
    """

    v: Tensor | float
    v_threshold: float
    v_reset: float | None
    detach_reset: bool
    decay_input: bool
    store_v_seq: bool
    surrogate_function: surrogate.SurrogateFunctionBase

    def multi_step_forward(self, x_seq: Tensor, *args: Tensor, **kwargs: object) -> Tensor:
        if not self._covered(x_seq):
            return super().multi_step_forward(x_seq, *args, **kwargs)  # pyright: ignore
        return self._sweep(x_seq)

    def single_step_forward(self, x: Tensor, *args: Tensor, **kwargs: object) -> Tensor:
        if not self._covered(x):
            return super().single_step_forward(x, *args, **kwargs)  # pyright: ignore
        return self._sweep(x.unsqueeze(0))[0]

    def _covered(self, x: Tensor) -> bool:
        function = self.surrogate_function
        return (
            scan.AVAILABLE
            and x.device.type == "cpu"
            and x.dtype in (torch.float32, torch.float64)
            and x.numel() > 0
            and type(function) in (surrogate.ATan, surrogate.Sigmoid)
            and bool(function.spiking)
        )

    def _sweep(self, x_seq: Tensor) -> Tensor:
        v = self._memories["v"]
        if not (isinstance(v, Tensor) and v.dtype == x_seq.dtype and v.shape == x_seq.shape[1:]):
            v = torch.as_tensor(v, dtype=x_seq.dtype, device=x_seq.device).expand(x_seq.shape[1:])
        soft = self.v_reset is None
        reset = (self.v_threshold, 0.0 if self.v_reset is None else self.v_reset, soft)
        if not (torch.is_grad_enabled() or self.store_v_seq or torch.compiler.is_compiling()):
            r = float(self._rate())
            gain = r if self.decay_input else 1.0
            spikes, _, self.v = scan.sweep(x_seq, v, 1 - r, gain, *reset)
            return spikes
        firing = scan.Firing(
            *reset,
            detach_reset=self.detach_reset,
            sigmoid=isinstance(self.surrogate_function, surrogate.Sigmoid),
            alpha=float(self.surrogate_function.alpha),  # pyright: ignore[reportArgumentType]
        )
        spikes, h = self._scan(x_seq.flatten(1), v.flatten(), firing)
        spikes, h = spikes.view_as(x_seq), h.view_as(x_seq)
        if self.store_v_seq:
            self.v_seq = self._after_reset(h, spikes)
            self.v = self.v_seq[-1]
        else:
            self.v = self._after_reset(h[-1], spikes[-1])
        return spikes

    def _after_reset(self, h: Tensor, spikes: Tensor) -> Tensor:
        if self.detach_reset:
            spikes = spikes.detach()
        if self.v_reset is None:
            return h - self.v_threshold * spikes
        return (1 - spikes) * h + spikes * self.v_reset

    def _rate(self) -> Tensor | float:
        """1 / τ."""
        raise NotImplementedError

    def _scan(self, x: Tensor, v: Tensor, firing: scan.Firing) -> tuple[Tensor, Tensor]:
        """Spikes and potentials, with gradients."""
        raise NotImplementedError


class LIFNode(_Swept, neuron.LIFNode):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """SpikingJelly's ``LIFNode``, quick on the CPU; see ``_Swept``."""

    tau: float

    def _rate(self) -> float:
        return 1 / self.tau

    def _scan(self, x: Tensor, v: Tensor, firing: scan.Firing) -> tuple[Tensor, Tensor]:
        r = self._rate()
        return scan.lif(x, v, 1 - r, r if self.decay_input else 1.0, *firing)


class ParametricLIFNode(_Swept, neuron.ParametricLIFNode):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """SpikingJelly's ``ParametricLIFNode``, which learns τ; quick on the CPU, see ``_Swept``."""

    def _covered(self, x: Tensor) -> bool:
        return super()._covered(x) and not torch.compiler.is_compiling()

    def _rate(self) -> Tensor:
        return self.w.sigmoid()

    def _scan(self, x: Tensor, v: Tensor, firing: scan.Firing) -> tuple[Tensor, Tensor]:
        return scan.parametric_lif(x, v, self._rate(), self.decay_input, firing)


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
    _check_tau("lif", tau)
    for name, value in (("v_threshold", v_threshold), ("surrogate_alpha", surrogate_alpha)):
        if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
            raise UsageError(f"lif: {name} must be a number > 0, got {value!r}.")
    if v_reset is not None and not (isinstance(v_reset, int | float) and v_reset < v_threshold):
        raise UsageError(f"lif: v_reset must be null or below v_threshold, got {v_reset!r}.")
    return LIFNode(
        tau=float(tau),
        decay_input=False,
        v_threshold=float(v_threshold),
        v_reset=None if v_reset is None else float(v_reset),
        surrogate_function=surrogate.ATan(alpha=surrogate_alpha),
        detach_reset=detach_reset,
        step_mode="m",
    )


class LeakyReadout(CopyableMemory, base.MemoryModule):
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
        _check_tau("LeakyReadout", tau)
        self.tau = float(tau)
        self.step_mode = "m"
        self.register_memory("v", 0.0)

    def single_step_forward(self, x: Float[Tensor, "batch post"]) -> Float[Tensor, "batch post"]:
        self.v = (1 - 1 / self.tau) * self.v + x
        return self.v

    def multi_step_forward(
        self, x: Float[Tensor, "time batch post"]
    ) -> Float[Tensor, "time batch post"]:
        if x.shape[0] == 0:
            return x
        return torch.stack([self.single_step_forward(step) for step in x])

    def extra_repr(self) -> str:
        return f"tau={self.tau:g}, step_mode={self.step_mode}"


def _check_tau(owner: str, tau: float) -> None:
    if not (isinstance(tau, int | float) and math.isfinite(tau) and tau > 1):
        raise UsageError(
            f"{owner}: tau must be above 1 step, got {tau!r}. "
            "Use a longer membrane time constant or a smaller dt (tau = tau_ms / dt_ms)."
        )
