"""The method for wide kernels: a basis for all Gaussians of one width.

Wide Gaussians g_σ(· − d), d in [0, max_delay], are so much alike that few shapes φ_r span them:

    g_σ(j − d) = Σ_r ψ_r(d) · φ_r[j]
    y          = Σ_r (x ∗ φ_r) · W_rᵀ,    W_r[post, pre] = Σ_k w[post, pre, k]·ψ_r(d[post, pre, k])

so that one matrix product per basis shape does the work of one per tap; and the rank depends on
max_delay / σ alone. φ comes from a singular value decomposition; ψ_r is smooth in d, a short
Chebyshev series, so that no synapse's taps are ever formed.
"""

from __future__ import annotations

import functools
from functools import partial

import torch
from jaxtyping import Float
from numpy.polynomial import chebyshev
from torch import Tensor

from snn_delays.interpolation import at_least_single, inside
from snn_delays.modules.eager import autocasts, for_loops
from snn_delays.ops import dense, lowrank_blocks
from snn_delays.ops.lowrank_basis import KEPT, basis, tolerance
from snn_delays.ops.lowrank_blocks import Form, lowrank_cpu
from snn_delays.ops.twice import gradients, in_torch

# Steps of one block of the banded filter matrix: short blocks waste less on the band's corners,
# long ones make larger matrix products, which on a GPU are few launches.
BLOCK, BLOCK_ON_GPU = 8, 34


@functools.lru_cache(maxsize=KEPT)
def _basis_there(
    sigma: float, max_delay: int, tolerance: float, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Shapes, series and the series of ψ's derivative as tensors, copied once: a copy in every
    pass would make the host wait for a GPU."""
    shapes, series, _ = basis(sigma, max_delay, tolerance)
    with torch.inference_mode(False):
        found = [torch.as_tensor(one) for one in (shapes, series, chebyshev.chebder(series))]
        shapes, series, slopes = (one.to(device, dtype) for one in found)
    return shapes, series, slopes


def product_dtype(like: Tensor) -> torch.dtype:
    """Precision of the matrix products: that of autocast, where it is on."""
    return torch.get_autocast_dtype(like.device.type) if autocasts(like) else like.dtype


def convolve(
    x: Float[Tensor, "time batch pre"],
    weight: Float[Tensor, "post pre k"],
    delay: Float[Tensor, "post_or_1 pre_or_1 k"],
    sigma: float,
    max_delay: int,
) -> Float[Tensor, "time batch post"]:
    """The equation of ``ops/reference.py`` for the Gaussian, in a basis."""
    if x.numel() and lowrank_cpu is not None and for_loops(x, weight, delay) and not autocasts(x):
        limit = tolerance(x.dtype)
        shapes, series, _ = _basis_there(sigma, max_delay, limit, x.device, x.dtype)
        form = Form(shapes, series, basis(sigma, max_delay, limit).even, max_delay)
        whole = partial(_in_torch, sigma=sigma, max_delay=max_delay)
        return lowrank_blocks.convolve(x, weight, delay, form, whole)
    return filtered_product(x, *mixture(weight, delay, sigma, max_delay))


def _in_torch(x: Tensor, weight: Tensor, delay: Tensor, sigma: float, max_delay: int) -> Tensor:
    return _product(x, *mixture(weight, delay, sigma, max_delay))


def mixture(
    weight: Float[Tensor, "post pre k"],
    delay: Float[Tensor, "post_or_1 pre_or_1 k"],
    sigma: float,
    max_delay: int,
) -> tuple[Float[Tensor, "rank post pre"], Float[Tensor, "rank taps"]]:
    """W and φ of the sums Σ_r W_r[post, pre] · φ_r[j] that kernels are in a basis."""
    # Series in single precision at least; half precision is for the products.
    single = at_least_single(weight.dtype)
    u = inside(delay.to(single), max_delay) * (2 / max_delay) - 1
    settings = (sigma, max_delay, tolerance(product_dtype(weight)))
    shapes, series, slopes = _basis_there(*settings, u.device, u.dtype)
    psi = _Series.apply(u, series, slopes)
    # [rank, post, pre]: the synapses of a pair add up before the product.
    mixed = (weight.to(single).unsqueeze(-1) * psi).sum(2).permute(2, 0, 1)
    return mixed, shapes


def filtered_product(
    x: Float[Tensor, "time batch pre"],
    mixed: Float[Tensor, "rank post pre"],
    shapes: Float[Tensor, "rank taps"],
) -> Float[Tensor, "time batch post"]:
    """y[t] = Σ_r Σ_j φ_r[j] · x[t − j] · W_rᵀ."""
    if x.shape[0] * x.shape[1] == 0:
        return x.new_zeros(*x.shape[:2], mixed.shape[1]) + 0 * mixed.sum()
    dtype = product_dtype(x)
    x, mixed, shapes = x.to(dtype), mixed.to(dtype), shapes.to(dtype)
    with torch.autocast(x.device.type, enabled=False):
        return _FilteredProduct.apply(x, mixed, shapes)  # pyright: ignore[reportReturnType]


def _product(x: Tensor, mixed: Tensor, shapes: Tensor) -> Tensor:
    """``filtered_product`` in torch alone."""
    kernel = torch.einsum("rop,rj->opj", mixed, shapes)
    return dense.product(x, kernel).to(at_least_single(x.dtype))


class _FilteredProduct(torch.autograd.Function):
    """A block of time after the other: the products z_r = x · W_rᵀ, then their filters.

    Backward, one filtering of the output's gradient serves both others. What a block needs stays
    in the cache, so that rank copies of a sequence never exist. Products may be in half precision;
    their sums are in single.
    """

    @staticmethod
    def forward(ctx, x: Tensor, mixed: Tensor, shapes: Tensor) -> Tensor:
        ctx.save_for_backward(x, mixed, shapes)
        _, post, _ = mixed.shape
        y = x.new_zeros(x.shape[0], x.shape[1] * post, dtype=at_least_single(x.dtype))
        matrices = mixed.transpose(1, 2).contiguous()
        for block, window, band in lowrank_blocks.blocks(len(x), _block_steps(x), shapes):
            z = torch.matmul(x[block].flatten(0, 1), matrices)
            _add_product(y[window], band.T, z.view(band.shape[0], -1))
        return y.view(*x.shape[:2], post)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, mixed, shapes = ctx.saved_tensors
        if in_torch(grad):
            return gradients(_product, (x, mixed, shapes), ctx.needs_input_grad, grad)
        of_x, of_mixed = ctx.needs_input_grad[:2]
        rank, post, pre = mixed.shape
        ahead = grad.to(x.dtype).flatten(1)
        gx = torch.empty_like(x) if of_x else None
        single = at_least_single(x.dtype)
        gmatrices = mixed.new_zeros(rank, pre, post, dtype=single) if of_mixed else None
        for block, window, band in lowrank_blocks.blocks(len(x), _block_steps(x), shapes):
            filtered = torch.mm(band, ahead[window]).view(rank, -1, post)
            if gmatrices is not None:
                rows = x[block].flatten(0, 1)
                for part, out in zip(filtered, gmatrices, strict=True):
                    _add_product(out, rows.T, part)
            if gx is not None:
                gx[block] = _product_sum(filtered, mixed).view(x[block].shape)
        gmixed = None if gmatrices is None else gmatrices.transpose(1, 2).to(mixed.dtype)
        return gx, gmixed, None


def _add_product(out: Tensor, a: Tensor, b: Tensor) -> None:
    """out += a @ b, where ``out`` may be the more precise."""
    if out.dtype == a.dtype:
        out.addmm_(a, b)
    else:
        out.add_(a @ b)


def _product_sum(a: Tensor, b: Tensor) -> Tensor:
    """Σ_r a[r] @ b[r], summed in single precision at least."""
    if a.dtype != at_least_single(a.dtype):
        return torch.bmm(a, b).sum(0, dtype=at_least_single(a.dtype))
    out = a[0] @ b[0]
    for left, right in zip(a[1:], b[1:], strict=True):
        out.addmm_(left, right)
    return out


def _block_steps(x: Tensor) -> int:
    return BLOCK if x.is_cpu else min(BLOCK_ON_GPU, x.shape[0])


class _Series(torch.autograd.Function):
    """Σ_m series[m] · T_m(u): ``[…] → […, rank]``, as a product with the polynomials' values."""

    @staticmethod
    def forward(ctx, u: Tensor, series: Float[Tensor, "terms rank"], slopes: Tensor) -> Tensor:
        ctx.save_for_backward(u, slopes)
        return _polynomials(u, series.shape[0]) @ series

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        u, slopes = ctx.saved_tensors
        slope = _polynomials(u, slopes.shape[0]) @ slopes
        return (grad * slope).sum(-1), None, None


def _polynomials(u: Tensor, count: int) -> Tensor:
    """T_0(u) … T_{count−1}(u) by their recurrence: ``[…] → […, count]``."""
    values = [torch.ones_like(u), u]
    while len(values) < count:
        values.append(2 * u * values[-1] - values[-2])
    return torch.stack(values[:count], -1)
