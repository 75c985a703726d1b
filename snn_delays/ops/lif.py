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

import logging
from typing import NamedTuple

import torch
from torch import Tensor

from snn_delays.ops.compiled import Loops
from snn_delays.ops.surrogates import spikes_of

LOOPS = Loops(cpu="lif_cpu", cuda="lif_gpu")  # Where there are none, SpikingJelly's nodes serve.

# For each op below torch would warn that there is no Triton. Only GPUs miss it: ops/compiled.py.
logging.getLogger("torch._library.triton").setLevel(logging.ERROR)


class Firing(NamedTuple):
    """When a neuron fires, what it falls back to, and what stands in for the step's slope.

    Args:
        soft: the reset subtracts the threshold; v_reset is 0 then.
        surrogate, alpha: which of ``ops/surrogates.py``, and its steepness.
    """

    v_threshold: float
    v_reset: float
    soft: bool
    detach_reset: bool
    surrogate: int
    alpha: float


def scan(
    x: Tensor, v: Tensor, inverse_tau: float | Tensor, decay_input: bool, firing: Firing
) -> tuple[Tensor, Tensor, Tensor]:
    """The equations as a loop in torch alone: the reference, for tracers and ``torch.func``.

    Args:
        inverse_tau: 1 / τ, with which beta is 1 − 1 / τ.
        decay_input: whether the gain is 1 / τ, or 1.

    Shape:
        x ``[T, ...]``, v ``[...]`` → spikes, h, and v after the reset, each ``[T, ...]``.
    """
    beta, gain = _factors(inverse_tau, decay_input)
    found = []
    for current in x.unbind(0):
        h = firing.v_reset + beta * (v - firing.v_reset) + gain * current
        spikes = _fire(h, firing)
        v = after_reset(h, spikes, firing)
        found.append((spikes, h, v))
    spikes, h, v = (torch.stack(steps) for steps in zip(*found, strict=True))
    return spikes, h, v


def _factors(inverse_tau: float | Tensor, decay_input: bool) -> tuple[float | Tensor, ...]:
    """beta and gain."""
    return 1 - inverse_tau, inverse_tau if decay_input else 1.0


def _fire(h: Tensor, firing: Firing) -> Tensor:
    """1 where h ≥ v_threshold, else 0, with the surrogate's slope."""
    return spikes_of(h, firing.v_threshold, firing.surrogate, firing.alpha)


def after_reset(h: Tensor, spikes: Tensor, firing: Firing) -> Tensor:
    """v from h and the spikes."""
    if firing.detach_reset:
        spikes = spikes.detach()
    if firing.soft:
        return h - firing.v_threshold * spikes
    return (1 - spikes) * h + spikes * firing.v_reset


def sweep(
    x: Tensor, v_first: Tensor, inverse_tau: float | Tensor, decay_input: bool, *reset: float
) -> tuple[Tensor, Tensor, Tensor]:
    """``scan`` in compiled loops, without gradients: spikes, h, and v after the last reset.

    Args:
        reset: v_threshold, v_reset and soft of ``Firing``.

    Shape:
        x ``[T, ...]``, v_first ``[...]`` → ``[T, ...]``, ``[T, ...]``, ``[...]``.
    """
    x, v_first = x.detach().contiguous(), v_first.detach().contiguous()
    spikes, h, v_last = torch.empty_like(x), torch.empty_like(x), torch.empty_like(v_first)
    rows = x.shape[0], v_first.numel()
    LOOPS.call(
        "forward",
        *(spikes.view(rows), h.view(rows), v_last.view(-1), x.view(rows), v_first.view(-1)),
        *_factors(_number(inverse_tau), decay_input),
        *reset,
    )
    return spikes, h, v_last


def _rows(x: Tensor | None, like: Tensor) -> Tensor:
    """``[T, …] → [T, M]``; where there is no tensor, one of no steps."""
    x = like.new_empty(0, *like.shape[1:]) if x is None else x.contiguous()
    return x.view(len(x), like.numel() // len(like))


def _number(inverse_tau: float | Tensor) -> float | Tensor:
    """What loops take it as: a tensor on a GPU stays there, since to read it is to wait."""
    there = isinstance(inverse_tau, Tensor) and not inverse_tau.is_cpu
    return inverse_tau if there else float(inverse_tau)


@torch.library.custom_op("snn_delays::lif", mutates_args=())
def lif(
    x: Tensor, v_first: Tensor, inverse_tau: Tensor, decay_input: bool, firing: list[float]
) -> tuple[Tensor, Tensor]:
    """Spikes and h of ``scan``, with gradients, where ``LOOPS`` are.

    Args:
        inverse_tau: 1 / τ, which may be learned; see ``scan``.
        firing: what ``Firing`` has, as numbers, which is what torch takes.

    Reference:
        Fang et al., "Incorporating learnable membrane time constant to enhance learning of
        spiking neural networks" (2021, arXiv:2007.05785).
    """
    spikes, h, _ = sweep(x, v_first, inverse_tau, decay_input, *_typed(firing)[:3])
    return spikes, h


def _typed(firing: list[float]) -> Firing:
    return Firing(*firing[:2], *map(bool, firing[2:4]), int(firing[4]), firing[5])  # pyright: ignore[reportArgumentType, reportCallIssue]


@torch.library.custom_op("snn_delays::lif_backward", mutates_args=())
def _lif_backward(
    gspikes: Tensor | None,
    gh: Tensor | None,
    h: Tensor,
    inverse_tau: Tensor,
    decay_input: bool,
    firing: list[float],
) -> tuple[Tensor, Tensor]:
    gx, gv_first = torch.empty_like(h), h.new_zeros(h.shape[1:])
    LOOPS.call(
        "backward",
        *(_rows(gx, h), gv_first.view(-1), _rows(gspikes, h), _rows(gh, h), _rows(h, h)),
        *_factors(_number(inverse_tau), decay_input),
        *_typed(firing),
    )
    return gx, gv_first


@lif.register_fake
def _(x: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    like = torch.empty_like(x, memory_format=torch.contiguous_format)
    return like, torch.empty_like(like)


@_lif_backward.register_fake
def _(gspikes: Tensor | None, gh: Tensor | None, h: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(h), h.new_empty(h.shape[1:])


def _setup(ctx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    x, v_first, inverse_tau, ctx.decay_input, ctx.firing = inputs
    learned = (x, v_first, output[0]) if ctx.needs_input_grad[2] else ()
    ctx.save_for_backward(output[1], inverse_tau, *learned)
    ctx.set_materialize_grads(False)


def _backward(ctx, gspikes: Tensor | None, gh: Tensor | None) -> tuple:
    """With ∂L/∂h as above, ∂L/∂(1/τ) = Σ_t ∂L/∂h[t] · (v_reset − v[t−1] (+ x[t]))."""
    h, inverse_tau, *learned = ctx.saved_tensors
    _, gain = _factors(inverse_tau, ctx.decay_input)
    firing = _typed(ctx.firing)
    if torch.is_grad_enabled():
        g, gv_first = gradients(gspikes, gh, h, 1 - inverse_tau, firing)
        gx = gain * g
    else:
        settings = (inverse_tau, ctx.decay_input, ctx.firing)
        gx, gv_first = _lif_backward(gspikes, gh, h, *settings)
        g = gx / gain if learned else gx
    ginverse_tau = None
    if learned:
        x, v_first, spikes = learned
        after = after_reset(h, spikes, firing)
        before = torch.cat([v_first.unsqueeze(0), after[:-1]])
        inflow = firing.v_reset - before + (x if ctx.decay_input else 0)
        ginverse_tau = (g * inflow).sum().to(inverse_tau.dtype).view_as(inverse_tau)
    return gx, gv_first, ginverse_tau, None, None


lif.register_autograd(_backward, setup_context=_setup)
lif.register_autocast("cpu", torch.float32)
lif.register_autocast("cuda", torch.float32)


def gradients(
    gspikes: Tensor | None, gh: Tensor | None, h: Tensor, beta: Tensor, firing: Firing
) -> tuple[Tensor, Tensor]:
    """∂L/∂h of every step and ∂L/∂v of the first, in torch, with a graph to all arguments.

    Shape:
        gspikes, gh, h ``[T, ...]`` → ``[T, ...]``, ``[...]``.
    """
    spikes = _fire(h, firing)
    slope, through_reset = (
        torch.autograd.grad(y, h, torch.ones_like(y), create_graph=True)[0]
        for y in (spikes, after_reset(h, spikes, firing))
    )
    arriving = torch.zeros_like(h) if gh is None else gh
    if gspikes is not None:
        arriving = arriving + gspikes * slope
    found: list[Tensor] = []
    gv = torch.zeros_like(h[0])
    backwards = (reversed(steps.unbind(0)) for steps in (arriving, through_reset))
    for come, through in zip(*backwards, strict=True):
        found.append(come + gv * through)
        gv = beta * found[-1]
    return torch.stack(found[::-1]), gv
