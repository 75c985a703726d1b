"""``ops/taps.py`` where most synapses are absent: over a list of those that are there.

    y[t, post[e]] += Σ_q c[e, q] · x[t − first[e] − q, pre[e]]    for every synapse e

A synapse costs what it costs there, and one that is absent nothing. Forward the list is by post,
backward by pre.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from snn_delays.interpolation import interpolate_window
from snn_delays.ops import dense, taps
from snn_delays.ops.compiled import loops
from snn_delays.ops.taps import groups, parts_of, to_lanes
from snn_delays.ops.twice import gradients, in_torch

sparse_taps_cpu = loops("sparse_taps_cpu")
# Rows of one block of presynaptic neurons, which stay in the cache while a gradient is made.
BLOCK = 32
# Density from which the loops over all synapses are quicker.
MOST = 0.7


class Synapses(NamedTuple):
    """Those that are there, by post and then by pre.

    Shape:
        post, pre ``[E]``; ``shape`` is that of a dense kernel, ``(posts, pres, taps)``.
    """

    post: Int[Tensor, " synapses"]
    pre: Int[Tensor, " synapses"]
    shape: tuple[int, int, int]


def density(mask: Shaped[Tensor, "post pre k"] | None) -> float:
    """Share of synapses that are there, where it can be seen without waiting; else 1."""
    if mask is None or not mask.is_cpu or not mask.numel():
        return 1.0
    return int(mask.count_nonzero()) / mask.numel()


def share(density: float) -> float:
    """Time of the sums over so many synapses in that over all, as measured (``bench/sparse.py``).

    A part of it, that of bringing inputs into lanes, does not grow with their number.
    """
    return min(1.0, 0.05 + 1.7 * density) if density < MOST else 1.0


def convolve(
    x: Float[Tensor, "time batch pre"],
    weight: Float[Tensor, "post pre k"],
    delay: Float[Tensor, "post_or_1 pre_or_1 k"],
    mask: Shaped[Tensor, "post pre k"],
    sigma: float,
    max_delay: int,
    interpolation: str,
) -> Float[Tensor, "time batch post"]:
    """``taps.convolve`` of the synapses that have 1 in ``mask``, by compiled loops on the CPU."""
    there = mask.reshape(-1).nonzero().squeeze(1)
    posts, pres, k = weight.shape
    synapses = Synapses(there // (pres * k), there // k % pres, (posts, pres, max_delay + 1))
    of = delay.expand(weight.shape).reshape(-1)[there]
    width = taps.width(sigma, max_delay, interpolation, weight.dtype)
    first, spread = interpolate_window(of, sigma, max_delay, interpolation, width)
    coefficients = weight.reshape(-1)[there].unsqueeze(-1) * spread
    if sparse_taps_cpu is None or not x.is_cpu:
        return _product(x, coefficients, first, synapses)
    return _ListedSum.apply(x, coefficients, first, synapses)  # pyright: ignore[reportReturnType]


def _product(
    x: Float[Tensor, "time batch pre"],
    coefficients: Float[Tensor, "synapses width"],
    first: Int[Tensor, " synapses"],
    synapses: Synapses,
) -> Float[Tensor, "time batch post"]:
    """The sum above in torch alone."""
    posts, pres, length = synapses.shape
    index = (synapses.post * pres + synapses.pre) * length + first.long()
    index = index.unsqueeze(-1) + torch.arange(coefficients.shape[-1], device=first.device)
    kernel = coefficients.new_zeros(posts * pres * length)
    kernel = kernel.scatter_add(0, index.flatten(), coefficients.flatten())
    return dense.product(x, kernel.view(posts, pres, length))


class _ListedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, coefficients: Tensor, first: Tensor, synapses: Synapses) -> Tensor:
        ctx.synapses = synapses
        ctx.save_for_backward(x, coefficients, first)
        # Delays look back, rows are read forwards: the last tap first.
        parts, offsets = parts_of(coefficients.flip(-1))
        shift = offsets - first.unsqueeze(-1) - (coefficients.shape[-1] - 1)
        out = x.new_empty(*x.shape[:2], synapses.shape[0])
        table = _table(synapses.post, synapses.pre, synapses.shape[0], shift, parts)
        for samples in groups(x):
            _accumulate(out, to_lanes(x, samples), samples, table)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, coefficients, first = ctx.saved_tensors
        synapses = ctx.synapses
        if in_torch(grad):
            same = partial(_product, first=first, synapses=synapses)
            needed = ctx.needs_input_grad[:2]
            return *gradients(same, (x, coefficients), needed, grad), None, None
        of_x, of_coefficients = ctx.needs_input_grad[:2]
        post, pre, (_, pres, _) = synapses
        parts, offsets = parts_of(coefficients)
        ahead = first.unsqueeze(-1) + offsets
        by_pre = pre.argsort(stable=True)
        forth = _table(pre[by_pre], post[by_pre], pres, ahead[by_pre], parts[by_pre])
        behind = (offsets - first.unsqueeze(-1) - (coefficients.shape[-1] - 1)).flatten()
        order = (pre // BLOCK * synapses.shape[0] + post).argsort(stable=True)
        each = parts.shape[1]
        order = (order.unsqueeze(1) * each + torch.arange(each)).flatten()
        listed = [one.repeat_interleave(each).numpy() for one in (post, pre)]
        turned = torch.zeros_like(parts)
        sums = turned.flatten(0, 1).numpy()
        gx = torch.empty_like(x, memory_format=torch.contiguous_format) if of_x else None
        for samples in groups(x):
            lanes = to_lanes(grad, samples)
            if gx is not None:
                _accumulate(gx, lanes, samples, forth)
            if of_coefficients:
                sparse_taps_cpu.correlate(
                    *(sums, lanes[0], listed[0], *to_lanes(x, samples)),
                    *(order.numpy(), listed[1], behind.numpy(), torch.get_num_threads()),
                )
        width = coefficients.shape[-1]
        gc = turned.flatten(-2)[..., :width].flip(-1) if of_coefficients else None
        return gx, gc, None, None


def _table(
    target: Tensor, source: Tensor, targets: int, shift: Tensor, parts: Tensor
) -> tuple[Tensor, ...]:
    """What ``accumulate`` takes of synapses that are listed by ``target``."""
    each = parts.shape[1]
    start = torch.searchsorted(target, torch.arange(targets + 1)) * each
    flat = (source.repeat_interleave(each), shift.flatten(), parts.flatten(0, 1).contiguous())
    return start, *flat


def _accumulate(out: Tensor, lanes: tuple, samples: np.ndarray, table: tuple[Tensor, ...]) -> None:
    threads = torch.get_num_threads()
    listed = (one.numpy() for one in table)
    sparse_taps_cpu.accumulate(out.numpy(), *lanes, samples, *listed, threads)
