"""Depthwise convolution with a large kernel of few taps: only the taps, not the zeros between them.

    y[n, o, i, j] = Σ_k Σ_a Σ_b c[o, k, a, b] · x[n, o // m, i + d · (first[o, k, 0] + a) − p, …]

A kernel of 17 × 17 that has 34 bilinear elements is 136 products instead of 289, of rows that
follow each other in memory; the cost does not grow with the extent. On the CPU the sum is made by
``ops/depthwise_cpu.py``; elsewhere from the dense kernel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from snn_delays.errors import UsageError
from snn_delays.modules.eager import for_loops
from snn_delays.ops.compiled import loops, to_array, use_torch_threads
from snn_delays.ops.twice import gradients, in_torch

depthwise_cpu = loops("depthwise_cpu")  # None: the dense kernel serves.
Pair = tuple[int, int]


def convolve(
    x: Float[Tensor, "batch channels height width"],
    coefficients: Float[Tensor, "out k rows columns"],
    first: Int[Tensor, "out k 2"],
    extent: Pair,
    bias: Float[Tensor, " out"] | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Float[Tensor, "batch out new_height new_width"]:
    """``F.conv2d`` with ``kernel(coefficients, first, extent)`` and as many groups as channels.

    Strides above 1 cost as much as 1: what they step over is computed and left out.

    Args:
        coefficients: of a window of ``rows`` × ``columns`` taps for each of k elements.
        first: the tap of the kernel at which each window begins; it ends within the extent.
        extent: rows and columns of the kernel.
        padding: zeros on both sides of each axis.

    Raises:
        UsageError: a kernel larger than the padded input.
    """
    channels, outputs = x.shape[1], coefficients.shape[0]
    if depthwise_cpu is None or not for_loops(x, coefficients, *([] if bias is None else [bias])):
        return _product(x, coefficients, bias, first, extent, stride, padding, dilation)
    for size in _sizes(x, extent, padding, dilation):
        if size < 1:
            raise UsageError(
                f"A kernel of {extent} taps with dilation {dilation} is larger than the input "
                f"{tuple(x.shape[2:])} with padding {padding}. Pad more, or take a smaller extent."
            )
    if work(coefficients.shape[1:], dilation) > work((1, *extent), dilation):
        # Windows that overlap a lot: the whole kernel as one window has fewer taps.
        coefficients = kernel(coefficients, first, extent)
        first = torch.zeros_like(first[:, :1])
    if outputs != channels:
        x = x.repeat_interleave(outputs // channels, dim=1)
    bias = coefficients.new_zeros(outputs) if bias is None else bias
    settings = (coefficients, bias, first, extent, padding, dilation)
    if (x.shape[2], extent[0], padding[0]) == (1, 1, 0):
        # One row of each sample: the rows of all samples make planes that fill the tiles.
        y = _Taps.apply(x.transpose(0, 2), *settings).transpose(0, 2)  # pyright: ignore[reportOptionalMemberAccess]
    else:
        y = _Taps.apply(x, *settings)
    return _ordered(x, y[:, :, :: stride[0], :: stride[1]])  # pyright: ignore[reportOptionalSubscript]


def kernel(
    coefficients: Float[Tensor, "out k rows columns"], first: Int[Tensor, "out k 2"], extent: Pair
) -> Float[Tensor, "out 1 height width"]:
    """The dense kernel: windows where they belong, added up where they overlap."""
    rows, columns = (
        first[..., axis].long().unsqueeze(-1) + torch.arange(size, device=first.device)
        for axis, size in enumerate(coefficients.shape[2:])
    )
    index = rows.unsqueeze(-1) * extent[1] + columns.unsqueeze(-2)
    dense = coefficients.new_zeros(coefficients.shape[0], extent[0] * extent[1])
    dense = dense.scatter_add(1, index.flatten(1), coefficients.flatten(1))
    return dense.unflatten(1, extent).unsqueeze(1)


def _product(
    x: Tensor,
    coefficients: Tensor,
    bias: Tensor | None,
    first: Tensor,
    extent: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Tensor:
    dense = kernel(coefficients, first, extent)
    return F.conv2d(x, dense, bias, stride, padding, dilation, groups=x.shape[1])


def _sizes(x: Tensor, extent: Pair, padding: Pair, dilation: Pair) -> Pair:
    """Height and width of the result at stride 1."""
    height, width = (
        size + 2 * pad - spread * (taps - 1)
        for size, pad, spread, taps in zip(x.shape[2:], padding, dilation, extent, strict=True)
    )
    return height, width


class _Taps(torch.autograd.Function):
    """``_product`` at stride 1, one output for each channel, by compiled loops.

    The gradient of x is the same sum with mirrored taps; that of a coefficient is the product of
    the result's gradient with x, shifted by its tap.
    """

    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        coefficients: Tensor,
        bias: Tensor,
        first: Tensor,
        extent: Pair,
        padding: Pair,
        dilation: Pair,
    ) -> Tensor:
        ctx.settings = extent, padding, dilation
        ctx.save_for_backward(x, coefficients, bias, first)
        y = x.new_empty(*x.shape[:2], *_sizes(x, *ctx.settings))
        _accumulate(y, x, bias, *_parts(coefficients, first, padding, dilation))
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, coefficients, bias, first = ctx.saved_tensors
        extent, padding, dilation = ctx.settings
        if in_torch(grad):
            product = partial(
                _product,
                first=first,
                extent=extent,
                stride=(1, 1),
                padding=padding,
                dilation=dilation,
            )
            needed = ctx.needs_input_grad[:3]
            return *gradients(product, (x, coefficients, bias), needed, grad), *[None] * 4
        of_x, of_coefficients, of_bias = ctx.needs_input_grad[:3]
        grad = grad.contiguous()
        down, right, values = _parts(coefficients, first, padding, dilation)
        gx = gc = None
        if of_x:
            gx = torch.empty_like(x, memory_format=torch.contiguous_format)
            # A part that looks down and right from y to x is seen up and left from x.
            above = 1 - values.shape[2] - down
            _accumulate(gx, grad, torch.zeros_like(bias), above, -right, values.flip(2))
            gx = _ordered(x, gx)
        if of_coefficients:
            slices = depthwise_cpu.slices(*x.shape[:2])
            sums = values.new_empty(slices, *values.shape)
            use_torch_threads()
            depthwise_cpu.correlate(sums.numpy(), *map(to_array, (grad, x, down, right)))
            gc = _whole(sums.sum(0), coefficients.shape)
        gb = grad.sum((0, 2, 3)) if of_bias else None
        return gx, gc, gb, *[None] * 4


def _accumulate(out: Tensor, *inputs: Tensor) -> None:
    use_torch_threads()
    depthwise_cpu.accumulate(out.numpy(), *map(to_array, inputs))


def _ordered(x: Tensor, y: Tensor) -> Tensor:
    """y in x's order in memory, as ``F.conv2d`` gives it."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    order = torch.channels_last if last else torch.contiguous_format
    return y.contiguous(memory_format=order)


def _parts(
    coefficients: Tensor, first: Tensor, padding: Pair, dilation: Pair
) -> tuple[Tensor, Tensor, Tensor]:
    """What the loops add up: steps down and right from y to x ``[C, P]``, taps ``[C, P, size]``.

    Up to four taps one under the other make one part; the last of a window may be filled up.
    """
    rows, columns = coefficients.shape[2:]
    size = _part_size(rows, dilation)
    values = F.pad(coefficients, (0, 0, 0, -rows % size)).unflatten(2, (-1, size)).transpose(3, 4)
    down = torch.arange(0, rows, size).view(-1, 1) + first[..., 0, None, None].long()
    right = torch.arange(columns) + first[..., 1, None, None].long()
    shape = values.shape[:4]
    return (
        (down * dilation[0] - padding[0]).expand(shape).flatten(1),
        (right * dilation[1] - padding[1]).expand(shape).flatten(1),
        values.flatten(1, 3),
    )


def _whole(values: Tensor, shape: torch.Size) -> Tensor:
    """Parts ``[C, P, size]`` → coefficients ``[C, K, rows, columns]``, undone."""
    _, k, rows, columns = shape
    groups = values.shape[1] // max(1, k * columns)
    whole = values.unflatten(1, (k, groups, columns)).transpose(3, 4)
    return whole.flatten(2, 3)[:, :, :rows]


def work(window: Sequence[int], dilation: Pair) -> float:
    """Time of the loops for k windows of rows × columns, in that of a part of two taps."""
    k, rows, columns = window
    size = _part_size(rows, dilation)
    return k * columns * math.ceil(rows / size) * _PART_TIME[size]


# Each loads its rows once, so that taps that share them are added almost for nothing.
_PART_TIME = {1: 0.9, 2: 1.0, 4: 1.4}


def _part_size(rows: int, dilation: Pair) -> int:
    return 1 if dilation[0] > 1 else rows if rows < 3 else 4
