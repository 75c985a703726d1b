"""A batch normalisation, the LIF neurons behind it and their dropout, in one sweep.

    u[t] = γ · (x[t] − mean) / √(var + ε) + β,      then ``ops/lif.py`` for u,      y[t] = m · s[t]

Mean and variance are those of x over time and batch, or running ones in evaluation; m is what
dropout makes of a spike, 0 or 1 / (1 − p), the same in all steps. Neither u nor the potentials h
nor the spikes s are ever written out. The backward pass makes them again from x and from v before
every few steps, in the cache: of x and h, the largest arrays of a network, one is kept.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from snn_delays.modules.eager import for_loops
from snn_delays.ops.compiled import loops, with_arrays
from snn_delays.ops.lif import Firing, scan
from snn_delays.ops.twice import gradients, in_torch

normalised_cpu = loops("normalised_cpu")  # None: one module runs after the other.
# Steps whose potentials are made again at once, from v before the first of them.
STEPS = 16


class Norm(NamedTuple):
    """A batch normalisation over time and batch.

    Args:
        weight, bias: γ and β ``[C]``.
        mean, var: running ones ``[C]``, which training updates by ``momentum``.
        training: whether x's own mean and variance count.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    var: Tensor
    training: bool
    momentum: float
    eps: float


class Neurons(NamedTuple):
    """LIF neurons as the loops of ``ops/lif.py`` take them."""

    beta: float
    gain: float
    firing: Firing


def covers(x: Tensor, norm: Norm) -> bool:
    """Whether ``sweep`` takes currents x ``[T, N, C]``: on the CPU, of several for each channel."""
    there = x.dim() == 3 and x.numel() > x.shape[-1] and normalised_cpu is not None
    return there and for_loops(x, *norm[:4])


def sweep(
    x: Tensor,
    v: Tensor,
    norm: Norm,
    neurons: Neurons,
    drop: Tensor | None = None,
    counted: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """What dropout lets through, v after the last step and, if ``counted``, how many neurons fire.

    With gu the gradient of u, x̂ what γ multiplies and means over time and batch,
    gx = γ / √(var + ε) · (gu − mean(gu) − x̂ · mean(gu · x̂)), or without the means in evaluation.
    There are gradients to v before the first step, to γ and to β, too. Running statistics go on
    here.

    Args:
        v: that before the first step.
        drop: m of each neuron; ``None`` is 1.

    Shape:
        x ``[T, N, C]``, v and drop ``[N, C]`` → ``[T, N, C]``, ``[N, C]`` and ``[T, N]``, which is
        ``[0, N]`` if nothing is counted.
    """
    x, v = x.contiguous(), v.contiguous()  # here, where gradients of gradients see it
    drop = torch.ones_like(x[0]) if drop is None else drop.detach().contiguous()
    inputs = x, v, norm.weight, norm.bias
    kept = torch.is_grad_enabled() and any(one.requires_grad for one in inputs)
    return _Sweep.apply(*inputs, norm, neurons, drop, counted, kept)  # pyright: ignore[reportReturnType]


class _Sweep(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        v: Tensor,
        weight: Tensor,
        bias: Tensor,
        norm: Norm,
        neurons: Neurons,
        drop: Tensor,
        counted: bool,
        kept: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, var = norm.mean.clone(), norm.var.clone()
        if norm.training:
            running = norm.mean, norm.var
            mean, var = torch.batch_norm_update_stats(x.flatten(0, 1), *running, norm.momentum)
        line = _line(mean, var, weight, bias, norm.eps, neurons.gain)
        out, last = torch.empty_like(x), torch.empty_like(v)
        counts = x.new_empty(len(x) if counted else 0, x.shape[1])
        starts = x.new_empty(-(-len(x) // STEPS) if kept else 0, *v.shape)
        arrays = _rows(out), counts, _rows(starts), last.view(-1), _rows(x), v.view(-1)
        firing = neurons.firing
        given = *line, drop.view(-1), STEPS, neurons.beta, *firing[:3]
        with_arrays(normalised_cpu)("forward", *(_plain(one) for one in (*arrays, *given)))
        ctx.settings = norm.training, norm.eps, neurons, STEPS
        ctx.save_for_backward(x, v, mean, var, weight, bias, drop, starts)
        ctx.mark_non_differentiable(counts)
        return out, last, counts

    @staticmethod
    def backward(ctx, grad: Tensor, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, v, mean, var, weight, bias, drop, starts = ctx.saved_tensors
        training, eps, neurons, steps = ctx.settings
        nothing = [None] * 5
        if in_torch(grad):
            running = (None, None) if training else (mean, var)

            def both(x: Tensor, v: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
                u = F.batch_norm(x.flatten(0, 1), *running, weight, bias, training, 0.0, eps)
                firing, gain = neurons.firing, neurons.gain
                spikes, _, after = scan(u.view(x.shape) * gain, v, 1 - neurons.beta, False, firing)
                return spikes * drop, after[-1]

            inputs, needed = (x, v, weight, bias), ctx.needs_input_grad[:4]
            return *gradients(both, inputs, needed, (grad, grads[0])), *nothing
        line = _line(mean, var, weight, bias, eps, neurons.gain)
        gx, gv = torch.empty_like(x), grads[0].clone(memory_format=torch.contiguous_format)
        sums, invstd = x.new_empty(2, *gv.shape), torch.rsqrt(var + eps)
        arrays = _rows(gx), gv.view(-1), _rows(sums), _rows(grad.contiguous()), _rows(x)
        given = _rows(starts), mean, *line, drop.view(-1), steps, neurons.beta, *neurons.firing
        call = with_arrays(normalised_cpu)
        call("backward", *(_plain(one) for one in (*arrays, *given)))
        level, along = sums.sum(1)
        if ctx.needs_input_grad[0]:
            scale, rows = line[0], x.flatten(0, 1)
            of_x, of_1 = torch.zeros_like(scale), torch.zeros_like(scale)
            if training:
                of_x = -scale * invstd.square() * along / len(rows)
                of_1 = -scale * level / len(rows) - of_x * mean
            given = gx.flatten(0, 1), rows, scale, of_x, of_1
            call("finish", *(_plain(one) for one in given))
        return gx, gv, neurons.gain * invstd * along, neurons.gain * level, *nothing


def _line(
    mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, eps: float, gain: float
) -> tuple[Tensor, Tensor]:
    """gain · u as a multiple of x and a constant."""
    scale = weight * torch.rsqrt(var + eps)
    return gain * scale, gain * (bias - mean * scale)


def _rows(x: Tensor) -> Tensor:
    return x.view(len(x), x[0].numel() if len(x) else x.shape[1:].numel())


def _plain(one: Any) -> Any:
    """What loops take."""
    return one.detach() if isinstance(one, Tensor) else one
