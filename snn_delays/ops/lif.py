"""The leaky integrate-and-fire recurrence over a whole sequence, forward and backward.

    h[t] = v_reset + beta · (v[t−1] − v_reset) + gain · x[t]
    s[t] = 1 if h[t] ≥ v_threshold else 0
    v[t] = v_reset where s[t] = 1, h[t] elsewhere        (hard reset)
    v[t] = h[t] − v_threshold · s[t]                     (soft reset, v_reset = 0)

Backward, with the surrogate's slope σ'(h − v_threshold) in place of the step's:

    ∂L/∂h[t] = gh[t] + gs[t] · σ' + beta · ∂L/∂h[t+1] · ∂v/∂h
    ∂v/∂h    = 1 − s    (hard; + (v_reset − h) · σ' unless the reset is detached)
             = 1        (soft; − v_threshold · σ' unless the reset is detached)

The same numbers as SpikingJelly's nodes, whose CPU path is a Python loop over time.
Reference: Neftci, Mostafa, Zenke, "Surrogate gradient learning in SNNs" (2019, arXiv:1901.09948).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from snn_delays.ops import lif_torch
from snn_delays.ops.compiled import loops, use_torch_threads
from snn_delays.ops.lif_torch import Firing

lif_cpu = loops("lif_cpu")  # None: SpikingJelly's own nodes serve.
AVAILABLE = lif_cpu is not None


@torch.library.custom_op("snn_delays::lif", mutates_args=())
def lif(x: Tensor, v_first: Tensor, settings: list[float]) -> tuple[Tensor, Tensor]:
    """Spikes and the potentials h that fired them, from the input currents; CPU only.

    Args:
        settings: beta, gain, and those of :class:`Firing`, as numbers, which is what torch takes.

    Shape:
        x ``[T, M]``, v_first ``[M]`` → spikes ``[T, M]``, h ``[T, M]``.
    """
    spikes, h, _ = sweep(x, v_first, *_typed(settings)[:5])
    return spikes, h


def _typed(settings: Sequence[float]) -> list[float]:
    """beta and gain, and what :class:`Firing` takes, with its switches as such."""
    return [*settings[:4], *map(bool, settings[4:7]), *settings[7:]]


def sweep(x: Tensor, v_first: Tensor, *settings: float) -> tuple[Tensor, Tensor, Tensor]:
    """``lif`` without gradients, of settings up to ``soft``: also v after the last reset.

    Shape:
        x ``[T, ...]``, v_first ``[...]`` → spikes ``[T, ...]``, h ``[T, ...]``, v ``[...]``.
    """
    x, v_first = x.detach().contiguous(), v_first.detach().contiguous()
    spikes, h, v_last = torch.empty_like(x), torch.empty_like(x), torch.empty_like(v_first)
    row, rows = (v_first.numel(),), (len(x), v_first.numel())
    use_torch_threads()
    # Arrays take a new shape in less time than tensors.
    lif_cpu.forward(
        *(one.numpy().reshape(rows) for one in (spikes, h)),
        v_last.numpy().reshape(row),
        x.numpy().reshape(rows),
        v_first.numpy().reshape(row),
        *settings,
    )
    return spikes, h, v_last


@torch.library.custom_op("snn_delays::lif_backward", mutates_args=())
def _lif_backward(
    gspikes: Tensor | None, gh: Tensor | None, h: Tensor, settings: list[float]
) -> tuple[Tensor, Tensor]:
    gx, gv_first = torch.empty_like(h), h.new_zeros(h.shape[1:])
    use_torch_threads()
    outputs, inputs = (gx.numpy(), gv_first.numpy()), (_rows(gspikes, h), _rows(gh, h), h.numpy())
    lif_cpu.backward(*outputs, *inputs, *_typed(settings))
    return gx, gv_first


def _rows(grad: Tensor | None, like: Tensor) -> np.ndarray:
    """A gradient as an array; where there is none, one of no steps."""
    return (like.new_empty(0, *like.shape[1:]) if grad is None else grad.contiguous()).numpy()


@lif.register_fake
def _(x: Tensor, v_first: Tensor, settings: list[float]) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(x)


@_lif_backward.register_fake
def _(
    gspikes: Tensor | None, gh: Tensor | None, h: Tensor, settings: list[float]
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(h), h.new_empty(h.shape[1:])


def _setup(ctx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1])
    ctx.settings = inputs[2]
    ctx.set_materialize_grads(False)


def _backward(ctx, gspikes: Tensor | None, gh: Tensor | None) -> tuple:
    (h,) = ctx.saved_tensors
    if torch.is_grad_enabled():
        beta, gain, *firing = _typed(ctx.settings)
        g, gv_first = lif_torch.gradients(gspikes, gh, h, beta, Firing(*firing))  # pyright: ignore[reportArgumentType]
        return gain * g, gv_first, None
    return *_lif_backward(gspikes, gh, h, ctx.settings), None


lif.register_autograd(_backward, setup_context=_setup)
lif.register_autocast("cpu", torch.float32)


class _Parametric(torch.autograd.Function):
    """``lif`` with beta 1 − r and gain r (or 1) for a learnable number r = 1 / τ.

    With ∂L/∂h as above, ∂L/∂r = Σ_t ∂L/∂h[t] · (v_reset − v[t−1] (+ x[t])).
    """

    @staticmethod
    def forward(
        ctx, x: Tensor, v_first: Tensor, inverse_tau: Tensor, decay_input: bool, firing: Firing
    ) -> tuple[Tensor, Tensor]:
        r = float(inverse_tau)
        ctx.beta, ctx.gain = 1 - r, r if decay_input else 1.0
        ctx.decay_input, ctx.firing = decay_input, firing
        spikes, h, _ = sweep(x, v_first, ctx.beta, ctx.gain, *firing[:3])
        ctx.save_for_backward(x, v_first, inverse_tau, spikes, h)
        ctx.set_materialize_grads(False)
        return spikes, h

    @staticmethod
    def backward(ctx, gspikes: Tensor | None, gh: Tensor | None) -> tuple:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, v_first, inverse_tau, spikes, h = ctx.saved_tensors
        firing: Firing = ctx.firing
        if torch.is_grad_enabled():
            g, gv_first = lif_torch.gradients(gspikes, gh, h, 1 - inverse_tau, firing)
            gx = g * inverse_tau if ctx.decay_input else g
        else:
            gx, gv_first = _lif_backward(gspikes, gh, h, [ctx.beta, ctx.gain, *firing])
            g = gx / ctx.gain
        ginverse_tau = None
        if ctx.needs_input_grad[2]:
            after = lif_torch.after_reset(h, spikes, firing)
            before = torch.cat([v_first.unsqueeze(0), after[:-1]])
            inflow = firing.v_reset - before + (x if ctx.decay_input else 0)
            ginverse_tau = (g * inflow).sum().to(inverse_tau.dtype).view_as(inverse_tau)
        return gx, gv_first, ginverse_tau, None, None


def parametric_lif(
    x: Tensor, v_first: Tensor, inverse_tau: Tensor, decay_input: bool, firing: Firing
) -> tuple[Tensor, Tensor]:
    """``lif`` with a learnable 1 / τ.

    Reference:
        Fang et al., "Incorporating learnable membrane time constant to enhance learning of
        spiking neural networks" (2021, arXiv:2007.05785).
    """
    return _Parametric.apply(x, v_first, inverse_tau, decay_input, firing)  # pyright: ignore[reportReturnType]
