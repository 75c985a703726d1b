"""``ops/lowrank.py`` on CPUs: W_r of some neurons post at a time, so that the cache holds them.

W_r[post, pre], rank times as many numbers as there are synapses, never exist at once: they are
made of weights and delays where they are multiplied, and made again backward. Beside weights,
delays and their gradients a layer of any size needs a few blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.modules.ranged import require_finite
from snn_delays.ops import products, spikes
from snn_delays.ops.compiled import loops, use_torch_threads
from snn_delays.ops.twice import gradients, in_torch

lowrank_cpu = loops("lowrank_cpu")  # None: ``ops/lowrank.py`` serves.
# Numbers of W_r that are there at once, neurons post of a block at least, and input's rows at most.
NUMBERS, LEAST, ROWS = 2**21, 64, 1024
# Steps of a block: short ones waste less on the corners of the filters' band, whose share falls
# with the number of pre; long ones make larger products.
STEPS, OF_PRE, OF_TAPS = 8, 32, 8


class Form(NamedTuple):
    """A basis in the precision of the products.

    Shape:
        shapes ``[rank, taps]``, series ``[terms, rank]``; see ``ops/lowrank_basis.py``.
    """

    shapes: Tensor
    series: Tensor
    even: int
    max_delay: int


Whole = Callable[[Tensor, Tensor, Tensor], Tensor]


def convolve(
    x: Float[Tensor, "time batch pre"],
    weight: Float[Tensor, "post pre k"],
    delay: Float[Tensor, "post_or_1 pre_or_1 k"],
    form: Form,
    whole: Whole,
) -> Float[Tensor, "time batch post"]:
    """y[t] = Σ_r Σ_j φ_r[j] · x[t − j] · W_rᵀ.

    Args:
        whole: the same function in torch, for gradients of gradients.
    """
    for some in delay.detach().split(LEAST):
        if not some.isfinite().all():
            require_finite(delay)
    delay = delay.expand(weight.shape)
    return _Blocks.apply(x.contiguous(), weight, delay, form, whole)  # pyright: ignore[reportReturnType]


class _Blocks(torch.autograd.Function):
    """Products come before filters forward, since x are spikes: few are not zero. Backward, one
    filtering of the output's gradient serves both others."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, delay: Tensor, form: Form, whole: Whole) -> Tensor:
        ctx.save_for_backward(x, weight, delay)
        ctx.form, ctx.whole = form, whole
        steps, batch, pre = x.shape
        rank = len(form.shapes)
        size = _steps(x, form)
        counts = spikes.per_block(x, size)
        few = spikes.few(x, counts)
        y = x.new_empty(steps, batch, len(weight))
        for part in _parts(len(weight), rank * pre):
            matrices = _mixed(weight[part], delay[part], form, columns=True).view(1, pre, -1)
            wide = matrices.shape[2]
            sparse = few and spikes.fits(wide)
            own = x.new_zeros(steps, batch * (wide // rank))
            for number, (block, window, band) in enumerate(blocks(steps, size, form.shapes)):
                if counts is not None and not counts[number]:
                    continue
                rows = x[block].flatten(0, 1)
                z = x.new_empty(1, len(rows), wide)
                if sparse:
                    spikes.multiply(rows, matrices, z)
                else:
                    products.multiply(rows[None], matrices, z)
                z = z.view(-1, batch, rank, wide // rank).permute(2, 0, 1, 3)
                own[window].addmm_(band.T, z.reshape(len(band), -1))
            y[:, :, part] = own.view(steps, batch, -1)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, delay = ctx.saved_tensors
        form: Form = ctx.form
        of_x, *of_synapses = ctx.needs_input_grad[:3]
        if in_torch(grad):
            found = gradients(ctx.whole, (x, weight, delay), (of_x, *of_synapses), grad)
            return *found, None, None
        steps, batch, pre = x.shape
        rank = len(form.shapes)
        size = _steps(x, form)
        counts = spikes.per_block(x, size)
        channels = spikes.Channels(x, size) if spikes.few(x, counts) else None
        gx = torch.empty_like(x) if of_x else None
        gweight = torch.empty_like(weight) if any(of_synapses) else None
        gdelay = torch.empty_like(weight) if any(of_synapses) else None
        for part in _parts(len(weight), rank * pre):
            ahead = grad[:, :, part].reshape(steps, -1).contiguous()
            wide = rank * ahead.shape[1] // batch
            sparse = channels is not None and spikes.fits(wide)
            matrices = sums = None
            if gx is not None:
                matrices = _mixed(weight[part], delay[part], form, columns=False).view(1, -1, pre)
            if gweight is not None:
                sums = x.new_zeros(1, pre, wide) if sparse else x.new_zeros(1, wide, pre)
            for number, (block, window, band) in enumerate(blocks(steps, size, form.shapes)):
                silent = counts is not None and not counts[number]
                if silent and gx is None:
                    continue
                filtered = torch.mm(band, ahead[window]).view(rank, -1, batch, wide // rank)
                filtered = filtered.permute(1, 2, 0, 3).reshape(1, -1, wide)
                rows = x[block].flatten(0, 1)
                if sums is not None and not silent:
                    if sparse and channels is not None:
                        channels.add_product(number, filtered, sums)
                    else:
                        products.multiply(filtered.mT, rows[None], sums, more=True)
                if gx is not None and matrices is not None:
                    to = gx[block].view(1, -1, pre)
                    products.multiply(filtered, matrices, to, more=part.start > 0)
            if sums is not None and gweight is not None and gdelay is not None:
                own = _unmixed(sums, weight[part], delay[part], form, columns=sparse)
                gweight[part], gdelay[part] = own
        return gx, gweight, gdelay, None, None


def _parts(post: int, numbers: int) -> Iterator[slice]:
    """Neurons post of a block, of which each has so many numbers."""
    return spikes.blocks(post, max(LEAST, NUMBERS // numbers // LEAST * LEAST))


def _steps(x: Tensor, form: Form) -> int:
    steps, batch, pre = x.shape
    wished = max(STEPS, pre // OF_PRE, form.shapes.shape[1] // OF_TAPS)
    return min(max(STEPS, min(wished, ROWS // batch)), steps)


def blocks(steps: int, size: int, shapes: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Blocks of time: their steps, the steps that these reach, and the filters between them.

    The filter matrix ``[rank · block, window]`` has φ_r[j] in row (r, t) and column t + j.
    """
    rank, taps = shapes.shape
    band = shapes.new_zeros(rank, size, size + taps - 1)
    band.as_strided((rank, size, taps), (band.stride(0), band.stride(1) + 1, 1)).copy_(
        shapes.unsqueeze(1)
    )
    for block in spikes.blocks(steps, size):
        reach = min(block.start + size + taps - 1, steps)
        filters = band[:, : block.stop - block.start, : reach - block.start].flatten(0, 1)
        yield block, slice(block.start, reach), filters


def _mixed(weight: Tensor, delay: Tensor, form: Form, columns: bool) -> Tensor:
    """W_r of some neurons post: ``[rank, post, pre]``, or ``[pre, rank, post]`` if ``columns``."""
    post, pre, _ = weight.shape
    rank = form.series.shape[1]
    out = weight.new_empty((pre, rank, post) if columns else (rank, post, pre))
    series = form.series.T.contiguous().numpy()
    use_torch_threads()
    settings = series, form.even, _numbers(form), columns
    lowrank_cpu.mix(out.numpy(), *_synapses(weight, delay, form), *settings)
    return out


def _unmixed(
    grad: Tensor, weight: Tensor, delay: Tensor, form: Form, columns: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of weights and delays from that of ``_mixed``."""
    values, places = _synapses(weight, delay, form)
    gweight, gdelay = (grad.new_empty(values.shape) for _ in range(2))
    flows = gweight.numpy(), gdelay.numpy(), grad.numpy(), values, places, form.series.numpy()
    use_torch_threads()
    lowrank_cpu.unmix(*flows, form.even, _numbers(form), columns)
    return gweight.permute(1, 2, 0), gdelay.mul_(2 / form.max_delay).permute(1, 2, 0)


def _synapses(weight: Tensor, delay: Tensor, form: Form) -> tuple[np.ndarray, np.ndarray]:
    """Weights, and delays as numbers u in [−1, 1]: ``[k, post, pre]``."""
    weight, delay = (one.detach().permute(2, 0, 1).contiguous() for one in (weight, delay))
    u = delay.clamp(0, form.max_delay).mul_(2 / form.max_delay).sub_(1)
    return weight.numpy(), u.numpy()


def _numbers(form: Form) -> np.ndarray:
    """−1, 0, 1, 2, … in the precision of the products."""
    series = form.series.numpy()
    return np.arange(-1, max(len(series), 3), dtype=series.dtype)
