"""The published method: build the dense kernel, convolve along time.

Costs max_delay + 1 matrix products per step, whatever σ is; the arithmetic runs at the machine's
peak, so that only an algorithm that does less work can beat it. Where x are spikes, two of the
three convolutions of a training step can: they multiply only what is not zero. On GPUs the three
are kernels of ``ops/dense_gpu.py``, whose time does not hang on what cuDNN finds for a shape.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from snn_delays.modules.eager import autocasts, for_loops
from snn_delays.ops import products, spikes
from snn_delays.ops.compiled import Loops
from snn_delays.ops.twice import gradients, in_torch

LOOPS = Loops(cpu=None, cuda="dense_gpu")
# Numbers of a tensor that kernels can count.
MOST = 2**31

# Steps whose gradient stays in the cache while all taps add to it, and steps whose spikes do.
BLOCK, SPIKES_BLOCK = 16, 4


def convolve(
    x: Float[Tensor, "time batch pre"], kernel: Float[Tensor, "post pre taps"]
) -> Float[Tensor, "time batch post"]:
    """y[t] = Σ_j K[:, :, j] · x[t − j]; x is silent before t = 0."""
    if x.shape[0] * x.shape[1] == 0:
        # Nothing to convolve, but the kernel stays part of the graph.
        return x.new_zeros(*x.shape[:2], kernel.shape[0]) + 0 * kernel.sum()
    if for_loops(x, kernel) and not autocasts(x):
        x = x.contiguous()
        if spikes.few(x, spikes.per_block(x.detach(), x.shape[0])):
            return _SpikeConvolution.apply(x, kernel)  # pyright: ignore[reportReturnType]
    if kernel.shape[2] == 1:
        return products.linear(x, kernel[:, :, 0])
    if _for_kernels(x, kernel):
        return _ShiftedProducts.apply(x.contiguous(), kernel)  # pyright: ignore[reportReturnType]
    return product(x, kernel)


def _for_kernels(x: Tensor, kernel: Tensor) -> bool:
    """Whether kernels of a GPU take these, which know single precision and few formats."""
    if x.dtype is not torch.float32 or kernel.shape[2] == 1 or not LOOPS.take(x, kernel):
        return False
    most = x.shape[0] * x.shape[1] * max(kernel.shape[0], kernel.shape[1])
    return not autocasts(x) and most < MOST


def product(
    x: Float[Tensor, "time batch pre"], kernel: Float[Tensor, "post pre taps"]
) -> Float[Tensor, "time batch post"]:
    """``convolve`` in torch alone."""
    if kernel.shape[2] == 1:
        return F.linear(x, kernel[:, :, 0])
    # conv1d is a cross-correlation over its last axis: turn the kernel round, move time last.
    padded = F.pad(x.permute(1, 2, 0), (kernel.shape[2] - 1, 0))
    return F.conv1d(padded, kernel.flip(-1)).permute(2, 0, 1)


class _SpikeConvolution(torch.autograd.Function):
    """The same for spikes, on the CPU. The gradient that goes back to them is dense as ever."""

    @staticmethod
    def forward(ctx, x: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(x, kernel)
        return spikes.convolve(x, kernel.permute(2, 1, 0).contiguous())

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, kernel = ctx.saved_tensors
        if in_torch(grad):
            return gradients(product, (x, kernel), ctx.needs_input_grad, grad)
        grad = grad.contiguous()
        gx = gkernel = None
        if ctx.needs_input_grad[0]:
            gx = _of_spikes(grad, kernel.permute(2, 0, 1).contiguous())
        if ctx.needs_input_grad[1]:
            gmatrices = spikes.Channels(x, SPIKES_BLOCK).correlate(grad, kernel.shape[2])
            gkernel = gmatrices.permute(2, 1, 0)
        return gx, gkernel


def _of_spikes(grad: Tensor, matrices: Tensor) -> Tensor:
    """gx[t] = Σ_j grad[t + j] @ matrices[j]."""
    steps, batch, post = grad.shape
    gx = grad.new_zeros(steps, batch, matrices.shape[2])
    if len(matrices) == 1:
        products.multiply(grad.flatten(0, 1)[None], matrices, gx.flatten(0, 1)[None])
        return gx
    for block in spikes.blocks(steps, BLOCK):
        for j, matrix in enumerate(matrices[: steps - block.start]):
            ahead = grad[block.start + j : block.stop + j].reshape(-1, post)
            gx[block].flatten(0, 1)[: len(ahead)].addmm_(ahead, matrix)
    return gx


class _ShiftedProducts(torch.autograd.Function):
    """The same on a GPU.

    As in convolutions of torch ``torch.backends.cudnn.allow_tf32`` says whether factors are cut to
    the 10 bits of TF32. If not, three products of such parts make up for what is cut.
    """

    @staticmethod
    def forward(ctx, x: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(x, kernel)
        y = x.new_empty(*x.shape[:2], kernel.shape[0])
        matrices = kernel.detach().permute(2, 0, 1).contiguous()
        LOOPS.call("product", y, x.detach(), matrices, False, _precision())
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, kernel = ctx.saved_tensors
        if in_torch(grad):
            return gradients(product, (x, kernel), ctx.needs_input_grad, grad)
        grad, gx, gkernel = grad.contiguous(), None, None
        if ctx.needs_input_grad[0]:
            gx = torch.empty_like(x)
            matrices = kernel.detach().permute(2, 1, 0).contiguous()
            LOOPS.call("product", gx, grad, matrices, True, _precision())
        if ctx.needs_input_grad[1]:
            post, pre, taps = kernel.shape
            sums = x.new_empty(taps, post, pre)
            LOOPS.call("sums", sums, grad, x.detach(), _precision())
            gkernel = sums.permute(1, 2, 0)
        return gx, gkernel


def _precision() -> str:
    return "tf32" if precisions()[0] == "tf32" else "tf32x3"


def precisions() -> tuple[str, ...]:
    """How torch multiplies in single precision: first in convolutions, then elsewhere.

    As of torch 2.9 on; what was there before raises where someone uses this.
    """
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    if (conv := getattr(cudnn, "conv", None)) is None:
        return "tf32" if cudnn.allow_tf32 else "ieee", torch.get_float32_matmul_precision()
    return conv.fp32_precision, *(one.fp32_precision for one in (cuda.matmul, cudnn.rnn))
