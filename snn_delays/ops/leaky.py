"""A leaky sum over a whole sequence.

    v[t] = beta · v[t−1] + x[t]

Backward, ∂L/∂x[t] = gv[t] + beta · ∂L/∂x[t+1]: the same sum from the end.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snn_delays.ops.compiled import Loops
from snn_delays.ops.twice import in_torch

# On the CPU, and where else there are none, the loop in torch serves.
LOOPS = Loops(cpu=None, cuda="leaky_gpu")


def leaky(x: Tensor, beta: float, v: Tensor) -> Tensor:
    """v of every step.

    Args:
        x: of at least one step.
        v: that before the first.

    Shape:
        x ``[T, ...]``, v ``[...]`` → ``[T, ...]``.
    """
    if x.numel() and LOOPS.take(x, v):
        return _Leaky.apply(x, beta, v)  # pyright: ignore[reportReturnType]
    return scan(x, beta, v)


def scan(x: Tensor, beta: float, v: Tensor) -> Tensor:
    """The loop in torch alone."""
    found = []
    for step in x.unbind(0):
        v = beta * v + step
        found.append(v)
    return torch.stack(found)


def _sweep(x: Tensor, beta: float, first: Tensor, back: bool) -> Tensor:
    out = x.new_empty(x.shape)
    rows = [one.detach().contiguous().view(len(x), -1) for one in (out, x)]
    LOOPS.call("sweep", *rows, first.detach().contiguous().view(-1), beta, back)
    return out


class _Leaky(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, beta: float, v: Tensor) -> Tensor:
        ctx.beta = beta
        return _sweep(x, beta, v, back=False)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        none = torch.zeros_like(grad[0])
        if in_torch(grad):
            gx = scan(grad.flip(0), ctx.beta, none).flip(0)
        else:
            gx = _sweep(grad, ctx.beta, none, back=True)
        return gx, None, ctx.beta * gx[0]
