"""Matrix products of single and double precision on the CPU, for tensors.

By ``ops/products_cpu.py``: MKL, which torch calls, takes registers of half the width on AMD's
processors with AVX-512, and shares no small product out.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from snn_delays.modules.eager import autocasts, for_loops
from snn_delays.ops.compiled import loops, use_torch_threads
from snn_delays.ops.twice import gradients, in_torch

products_cpu = loops("products_cpu")  # None: torch's serve.
# Rows of which a gradient of weights is summed up at once: more would not stay in the cache.
ROWS = 512


def multiply(a: Tensor, b: Tensor, out: Tensor, more: bool = False) -> Tensor:
    """out[r] = a[r] @ b[r], or += if there is ``more``: ``[R, M, K]`` of any strides,
    ``[R, K, N]``, contiguous, as ``out`` is; no gradients."""
    if products_cpu is None or b.shape[2] < products_cpu.LANES or not for_loops(a, b, out):
        return torch.baddbmm(out, a, b, beta=1 if more else 0, out=out)
    if more and b.shape[2] % products_cpu.LANES:
        return out.add_(multiply(a, b, torch.empty_like(out)))
    if not (a.numel() and b.numel()):
        return out if more else out.zero_()
    use_torch_threads()
    # All that a reaches, whatever its strides are.
    reach = sum((size - 1) * step for size, step in zip(a.shape, a.stride(), strict=True)) + 1
    row = a.as_strided((reach,), (1,))
    products_cpu.multiply(out.numpy(), row.numpy(), a.stride(), b.numpy(), more)
    return out


def linear(
    x: Float[Tensor, "*rows pre"], weight: Float[Tensor, "post pre"]
) -> Float[Tensor, "*rows post"]:
    """x @ weightᵀ."""
    if products_cpu is None or not x.numel() or not for_loops(x, weight) or autocasts(x):
        return F.linear(x, weight)
    return _Linear.apply(x, weight)  # pyright: ignore[reportReturnType]


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        rows, right = x.detach().reshape(1, -1, x.shape[-1]), weight.detach().t().contiguous()
        out = x.new_empty(*x.shape[:-1], len(weight))
        multiply(rows, right[None], out.view(1, -1, len(weight)))
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        if in_torch(grad):
            return gradients(F.linear, (x, weight), ctx.needs_input_grad, grad)
        gx = gweight = None
        rows = grad.reshape(1, -1, len(weight))
        if ctx.needs_input_grad[0]:
            gx = x.new_empty(x.shape)
            multiply(rows, weight.detach().contiguous()[None], gx.view(1, -1, x.shape[-1]))
        if ctx.needs_input_grad[1]:
            gweight = _sum_over_rows(rows[0], x.detach().reshape(-1, x.shape[-1]).contiguous())
        return gx, gweight


def _sum_over_rows(grad: Tensor, x: Tensor) -> Tensor:
    """gradᵀ @ x, by parts whose rows stay in the cache."""
    count = max(1, len(x) // ROWS)
    whole = len(x) // count
    parts = x.new_empty(count, grad.shape[1], x.shape[1])
    some, others = (one[: count * whole].unflatten(0, (count, whole)) for one in (grad, x))
    total = multiply(some.mT, others, parts).sum(0)
    if rest := len(x) - count * whole:
        total.addmm_(grad[-rest:].t(), x[-rest:])
    return total
