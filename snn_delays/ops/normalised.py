"""A batch normalisation and the LIF neurons behind it, of which only the currents are kept.

    u[t] = γ · (x[t] − mean) / √(var + ε) + β,      then ``ops/lif.py`` for u

Mean and variance are those of x over time and batch, or running ones in evaluation. A few steps
after the other are normalised and swept, so that u and the potentials h stay in the cache and are
never written out. The backward pass makes them again from x, a few steps before the other: of x
and h, the largest arrays of a network, one is kept.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from snn_delays.eager import for_loops
from snn_delays.ops.lif import LOOPS, Firing, scan
from snn_delays.ops.spikes import blocks
from snn_delays.ops.twice import gradients, in_torch

# Numbers that are normalised and swept at once.
SIZE = 2**19


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
    there = x.dim() == 3 and x.numel() > x.shape[-1] and LOOPS.on("cpu")
    return there and for_loops(x, *norm[:4])


def sweep(x: Tensor, v: Tensor, norm: Norm, neurons: Neurons) -> tuple[Tensor, Tensor]:
    """Spikes ``[T, N, C]`` and v ``[N, C]`` after the last step, with gradients to x, to v before
    the first, to γ and to β.

    With gu the gradient of u, x̂ what γ multiplies and means over time and batch,
    gx = γ / √(var + ε) · (gu − mean(gu) − x̂ · mean(gu · x̂)), or without the means in evaluation.
    Running statistics go on here.
    """
    x, v = x.contiguous(), v.contiguous()  # here, where gradients of gradients see it
    return _Sweep.apply(x, v, norm.weight, norm.bias, norm, neurons)  # pyright: ignore[reportReturnType]


class _Sweep(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x: Tensor, v: Tensor, weight: Tensor, bias: Tensor, norm: Norm, neurons: Neurons
    ) -> tuple[Tensor, Tensor]:
        mean, var = norm.mean.clone(), norm.var.clone()
        if norm.training:
            running = norm.mean, norm.var
            mean, var = torch.batch_norm_update_stats(x.flatten(0, 1), *running, norm.momentum)
        statistics = mean, var, weight, bias
        spikes, h = torch.empty_like(x), _room(x)
        starts = []
        for block in _blocks(x):
            starts.append(v)
            v = _forward(spikes[block], h, x[block], v, statistics, norm.eps, neurons)
        ctx.settings = norm.training, norm.eps, neurons
        ctx.save_for_backward(x, *statistics, *starts)
        return spikes, v.clone()  # if there were no step, not v itself

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, mean, var, weight, bias, *starts = ctx.saved_tensors
        statistics = mean, var, weight, bias
        training, eps, neurons = ctx.settings
        if in_torch(grads[0]):
            inputs = x, starts[0], weight, bias
            running = (None, None) if training else (mean, var)

            def both(x: Tensor, v: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
                u = F.batch_norm(x.flatten(0, 1), *running, weight, bias, training, 0.0, eps)
                firing, gain = neurons.firing, neurons.gain
                spikes, _, after = scan(u.view(x.shape) * gain, v, 1 - neurons.beta, False, firing)
                return spikes, after[-1]

            return *gradients(both, inputs, ctx.needs_input_grad[:4], grads), None, None
        gu, gv = torch.empty_like(x), grads[1].clone(memory_format=torch.contiguous_format)
        gspikes = grads[0].contiguous()
        spikes, h, none = _room(x), _room(x), x.new_empty(0, x[0].numel())
        for block, start in zip(reversed(_blocks(x)), reversed(starts), strict=True):
            steps = block.stop - block.start
            _forward(spikes[:steps], h, x[block], start, statistics, eps, neurons)
            rows = (_rows(gu[block]), gv.view(-1), _rows(gspikes[block]), none, _rows(h[:steps]))
            LOOPS.call("backward", *rows, *neurons[:2], *neurons.firing)
        rows, invstd = x.flatten(0, 1), torch.rsqrt(var + eps)
        found = mean, var, mean, invstd, training, eps
        _, gweight, gbias = torch.ops.aten.native_batch_norm_backward(
            gu.flatten(0, 1), rows, weight, *found, [False, True, True]
        )
        if ctx.needs_input_grad[0]:
            scale, along, level = weight * invstd, gweight * invstd / len(rows), gbias / len(rows)
            level = level - mean * along
            for block in _blocks(x):  # in place: gu is as large as x
                if training:
                    gu[block].sub_(level).addcmul_(x[block], along, value=-1)
                gu[block].mul_(scale)
        return gu, gv, gweight, gbias, None, None


def _forward(
    spikes: Tensor,
    h: Tensor,
    x: Tensor,
    v: Tensor,
    statistics: tuple[Tensor, Tensor, Tensor, Tensor],
    eps: float,
    neurons: Neurons,
) -> Tensor:
    """Spikes and h of some steps x, from v before them; returns v after them."""
    u = F.batch_norm(x.detach().flatten(0, 1), *statistics, False, 0.0, eps).detach()
    last = torch.empty_like(v)
    rows = (_rows(spikes), _rows(h[: len(x)]), last.view(-1), u.view(len(x), -1))
    beta, gain, firing = neurons
    LOOPS.call("forward", *rows, v.detach().view(-1), beta, gain, *firing[:3])
    return last


def _rows(x: Tensor) -> Tensor:
    return x.detach().view(len(x), -1)


def _blocks(x: Tensor) -> list[slice]:
    return list(blocks(len(x), _steps(x)))


def _steps(x: Tensor) -> int:
    return max(1, SIZE // x[0].numel())


def _room(x: Tensor) -> Tensor:
    """For the steps of one block."""
    return x.new_empty(min(len(x), _steps(x)), *x.shape[1:])
