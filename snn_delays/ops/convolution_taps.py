"""Delays in convolutions over space, spike by spike: each adds the few taps of its synapses.

    y[t + first + q, o, p'] += c[o, i, s, k, q] · x[t, i, p]     for each x[t, i, p] ≠ 0

The cost is that of the spikes there are, and of the taps around each delay where g_σ is not zero;
where σ is so wide that these are more than the kernel has in all, of the dense kernel's.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from snn_delays.interpolation import dense_kernel, interpolate_window
from snn_delays.ops import spikes
from snn_delays.ops.compiled import loops, use_torch_threads
from snn_delays.ops.convolution_dense import Geometry, product
from snn_delays.ops.taps import width
from snn_delays.ops.twice import gradients, in_torch

convolution_cpu = loops("convolution_cpu")  # None: the dense kernel serves.
LANES = convolution_cpu.LANES if convolution_cpu is not None else 16  # numbers of a vector
# Numbers of the maps that the gradient of x is made in at a time: they stay in the cache.
KEPT = 2**18
# Share of inputs that are not zero below which they are taken one by one, per tap of the kernel,
# and the share of taps from which on torch makes the gradient of x (scripts/bench/delay_conv.py).
FEW_PER_TAP, MOST_TAPS = 0.003, 0.5
FEW = 0.25  # and at most, or of convolutions in groups, which torch makes slowly


def available() -> bool:
    """Whether there are compiled loops."""
    return convolution_cpu is not None


def worthwhile(x: Tensor, max_delay: int, groups: int) -> bool:
    """Whether x has so few spikes that they are quicker one by one."""
    counts = spikes.per_block(x.detach().flatten(2).contiguous(), len(x))
    few = FEW if groups > 1 else min(FEW_PER_TAP * (max_delay + 1), FEW)
    return counts is not None and bool(counts.sum() < few * x.numel())


def convolve(
    x: Float[Tensor, "time batch channels *space"],
    weight: Float[Tensor, "out in *kernel k"],
    delay: Float[Tensor, "out_or_1 in_or_1 *kernel_or_1 k"],
    sigma: float,
    max_delay: int,
    interpolation: str,
    geometry: Geometry,
) -> Float[Tensor, "time batch out *space_after"]:
    """The equation of ``ops/convolution.py`` with the taps of each delay's neighbourhood alone."""
    taps = width(sigma, max_delay, interpolation, weight.dtype)
    vectors = math.ceil(taps / LANES), math.ceil((max_delay + 1) / LANES)
    if taps > 1 and weight.shape[-1] * vectors[0] > vectors[1]:  # of kernel_count synapses
        kernel = dense_kernel(weight, delay, sigma, max_delay, interpolation)
        coefficients = kernel.unsqueeze(-2)
        first = torch.zeros(coefficients.shape[:-1], dtype=torch.int64)
    else:
        found, spread = interpolate_window(delay, sigma, max_delay, interpolation, taps)
        coefficients = weight.unsqueeze(-1) * spread
        first = found.long().expand(weight.shape)
    return _SpikeBySpike.apply(x, coefficients, first, max_delay, geometry)  # pyright: ignore[reportReturnType]


def _product(
    x: Tensor, coefficients: Tensor, first: Tensor, max_delay: int, geometry: Geometry
) -> Tensor:
    """The same in torch alone."""
    index = first.unsqueeze(-1) + torch.arange(coefficients.shape[-1])
    kernel = coefficients.new_zeros(*coefficients.shape[:-2], max_delay + 1)
    return product(x, kernel.scatter_add(-1, index.flatten(-2), coefficients.flatten(-2)), geometry)


class _SpikeBySpike(torch.autograd.Function):
    """``_product`` by compiled loops.

    gc[o, i, s, k, q] = Σ over spikes of x · grad[t + first + q, n, o, p'],
    gx[t, n, i, p] = Σ c[o, i, s, k, q] · grad[t + first + q, n, o, p'].
    """

    @staticmethod
    def forward(
        ctx, x: Tensor, coefficients: Tensor, first: Tensor, max_delay: int, geometry: Geometry
    ) -> Tensor:
        ctx.max_delay, ctx.geometry = max_delay, geometry
        ctx.save_for_backward(x, coefficients, first)
        kernel, size = tuple(coefficients.shape[2:-2]), tuple(x.shape[3:])
        after = geometry.after(kernel, size)
        ctx.target = targets(geometry, kernel, size)
        shifts, table = first.flatten(2, -2).contiguous(), _table(coefficients)
        out = x.new_empty(*x.shape[:2], len(coefficients), *after)
        if out.numel():
            use_torch_threads()
            flat = x.detach().flatten(2).contiguous().numpy()
            ctx.spikes = convolution_cpu.by_place(flat)
            convolution_cpu.scatter(
                out.flatten(3).numpy(),
                *(*ctx.spikes, ctx.target, shifts.numpy()),
                *(_whole_vectors(table).numpy(), torch.get_num_threads()),
            )
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, coefficients, first = ctx.saved_tensors
        of_x, of_coefficients = needed = ctx.needs_input_grad[:2]
        fixed = {"first": first, "max_delay": ctx.max_delay, "geometry": ctx.geometry}
        if in_torch(grad) or not grad.numel():
            found = gradients(partial(_product, **fixed), (x, coefficients), needed, grad)
            return *found, None, None, None
        use_torch_threads()
        threads, maps = torch.get_num_threads(), grad.flatten(3).contiguous()
        shifts, table = first.flatten(2, -2).contiguous(), _table(coefficients)
        gx = gc = None
        taps = coefficients.shape[-2] * coefficients.shape[-1]
        wide = taps > MOST_TAPS * (ctx.max_delay + 1)
        if of_x and wide and ctx.geometry.groups == 1:
            gx = gradients(partial(_product, **fixed), (x, coefficients), (True, False), grad)[0]
            gx = gx if gx is None else gx.detach()
        elif of_x:
            gx = torch.empty(x.shape, dtype=x.dtype)
            own = coefficients.shape[1]
            block = max(1, min(own, KEPT // max(1, gx[:, 0, 0].numel())))
            convolution_cpu.back(
                *(gx.flatten(3).numpy(), maps.numpy(), ctx.target),
                *(shifts.numpy(), table.numpy()),
                *(ctx.max_delay + 1, block, threads),
            )
        if of_coefficients:
            sums = torch.zeros_like(_whole_vectors(table))
            convolution_cpu.gather(
                *(sums.numpy(), maps.numpy(), *ctx.spikes, ctx.target, shifts.numpy()),
                threads,
            )
            gc = sums[..., : coefficients.shape[-1]].reshape(coefficients.shape)
        return gx, gc, None, None, None


def targets(
    geometry: Geometry, kernel: tuple[int, ...], size: tuple[int, ...]
) -> Int[NDArray, "places spots"]:
    """Which position of the output each of the input reaches by each of the kernel's; −1: none."""
    found = np.zeros((math.prod(size), math.prod(kernel)), np.int64)
    inside = np.ones(found.shape, bool)
    after = geometry.after(kernel, size)
    places = np.indices(size).reshape(len(size), -1, 1)
    spots = np.indices(kernel).reshape(len(kernel), 1, -1)
    for axis, n in enumerate(after):
        to = places[axis] + geometry.padding[axis] - spots[axis] * geometry.dilation[axis]
        step = geometry.stride[axis]
        inside &= (to >= 0) & (to % step == 0) & (to // step < n)
        found = found * n + to // step
    return np.where(inside, found, -1)


def _table(coefficients: Tensor) -> Tensor:
    """``[O, I, *S, K, W] → [O, I, S, K, W]``."""
    return coefficients.detach().flatten(2, -3).contiguous()


def _whole_vectors(coefficients: Tensor) -> Tensor:
    """Taps filled up with zeros to whole vectors; a single one stays so."""
    taps = coefficients.shape[-1]
    return coefficients if taps == 1 else torch.nn.functional.pad(coefficients, (0, -taps % LANES))
