"""The wide way: a basis for all Gaussians of one width.

Wide Gaussians g_σ(· − d), d in [0, max_delay], are so much alike that few shapes φ_r span them:

    g_σ(j − d) = Σ_r ψ_r(d) · φ_r[j]
    y          = Σ_r (x ∗ φ_r) · W_rᵀ,    W_r[post, pre] = Σ_k w[post, pre, k]·ψ_r(d[post, pre, k])

so that one matrix product per basis shape does the work of one per tap; and the rank depends on
max_delay / σ alone. φ comes from a singular value decomposition; ψ_r is smooth in d, a short
Chebyshev series, so that no synapse's taps are ever formed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.polynomial import chebyshev
from torch import Tensor

# Steps of one block of the banded filter matrix: short blocks waste less on the band's corners,
# long ones make larger matrix products.
BLOCK = 16


class Basis(NamedTuple):
    """Shapes φ ``[rank, taps]`` and the Chebyshev coefficients of each ψ_r ``[terms, rank]``."""

    shapes: np.ndarray
    series: np.ndarray

    @property
    def rank(self) -> int:
        return len(self.shapes)


@functools.lru_cache(maxsize=256)
def basis(sigma: float, max_delay: int, tolerance: float) -> Basis:
    """Basis of the Gaussians of width ``sigma``, exact to ``tolerance`` of their largest tap.

    Delays are mapped to u = 2d / max_delay − 1 in [−1, 1], the Chebyshev polynomials' range.
    """
    fine = np.linspace(-1, 1, 4 * (max_delay + 1) + 1)
    check = _gaussians(fine, sigma, max_delay)
    terms, series, fitted = 2, np.zeros(0), np.inf
    while np.abs(fitted - check).max() > tolerance * check.max():
        terms += 1
        nodes = chebyshev.chebpts1(terms)
        series = np.linalg.solve(
            chebyshev.chebvander(nodes, terms - 1), _gaussians(nodes, sigma, max_delay)
        )
        fitted = chebyshev.chebvander(fine, terms - 1) @ series
    _, singular, shapes = np.linalg.svd(check, full_matrices=False)
    rank = max(int((singular > tolerance * singular[0]).sum()), 1)
    return Basis(shapes[:rank], series @ shapes[:rank].T)


def worthwhile(sigma: float, max_delay: int) -> bool:
    """Whether the Gaussians are wide enough; for narrower ones the rank is nearly that of taps."""
    return sigma > max(max_delay / 12, 0.5)


def tolerance(dtype: torch.dtype) -> float:
    """Error that the basis may have: a few times the rounding of the matrix products."""
    return 1e-12 if dtype == torch.float64 else 1e-6


def convolve(
    x: Float[Tensor, "time batch pre"],
    weight: Float[Tensor, "post pre contacts"],
    delay: Float[Tensor, "post_or_1 pre_or_1 contacts"],
    sigma: float,
    max_delay: int,
) -> Float[Tensor, "time batch post"]:
    """The equation of ``ops/reference.py`` for the Gaussian, in a basis."""
    shapes, series = basis(sigma, max_delay, tolerance(weight.dtype))
    inside = delay + (delay.clamp(0, max_delay) - delay).detach()
    psi = _series_sum(inside * (2 / max_delay) - 1, torch.as_tensor(series).to(weight))
    # [rank, post, pre]: the contacts of a pair add up before the product.
    mixed = (weight.unsqueeze(-1) * psi).sum(2).permute(2, 0, 1)
    return filtered_product(x, mixed, torch.as_tensor(shapes).to(weight))


def filtered_product(
    x: Float[Tensor, "time batch pre"],
    mixed: Float[Tensor, "rank post pre"],
    shapes: Float[Tensor, "rank taps"],
) -> Float[Tensor, "time batch post"]:
    """y[t] = Σ_r Σ_j φ_r[j] · x[t − j] · W_rᵀ."""
    if x.shape[0] * x.shape[1] == 0:
        return x.new_zeros(*x.shape[:2], mixed.shape[1]) + 0 * mixed.sum()
    device = x.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x, mixed, shapes = x.to(dtype), mixed.to(dtype), shapes.to(dtype)
    with torch.autocast(device, enabled=False):
        return _FilteredProduct.apply(x, mixed, shapes)  # pyright: ignore[reportReturnType]


class _FilteredProduct(torch.autograd.Function):
    """A block of time after the other: filter with every shape, then one matrix product each.

    A block's filtered inputs stay in the cache for their products, and are made again for the
    backward pass: cheaper than keeping rank copies of the whole input. Products may be in half
    precision; their sums are in single.
    """

    @staticmethod
    def forward(ctx, x: Tensor, mixed: Tensor, shapes: Tensor) -> Tensor:
        ctx.save_for_backward(x, mixed, shapes)
        y = x.new_zeros(*x.shape[:2], mixed.shape[1], dtype=_sum_dtype(x))
        for block, filtered, _ in _blocks(x, shapes):
            out = y[block].flatten(0, 1)
            for rows, matrix in zip(filtered, mixed, strict=True):
                _add_product(out, rows, matrix.T)
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, mixed, shapes = ctx.saved_tensors
        steps, batch, channels = x.shape
        ahead = shapes.shape[1] - 1
        padded = grad.new_zeros(ahead + steps, batch * channels, dtype=_sum_dtype(x))
        gmixed = torch.zeros_like(mixed, dtype=_sum_dtype(x))
        for block, filtered, band in _blocks(x, shapes):
            rows = grad[block].flatten(0, 1)
            if ctx.needs_input_grad[1]:
                for part, out in zip(filtered, gmixed, strict=True):
                    _add_product(out, rows.T, part)
            if ctx.needs_input_grad[0]:
                behind = torch.stack([rows @ matrix for matrix in mixed])
                window = padded[block.start : block.stop + ahead]
                _add_product(window, band.T, behind.view(band.shape[0], -1))
        gx = padded[ahead:].view(x.shape).to(x.dtype) if ctx.needs_input_grad[0] else None
        return gx, gmixed.to(mixed.dtype) if ctx.needs_input_grad[1] else None, None


def _sum_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _add_product(out: Tensor, a: Tensor, b: Tensor) -> None:
    """out += a @ b, where ``out`` may be the more precise."""
    if out.dtype == a.dtype:
        out.addmm_(a, b)
    else:
        out.add_(a @ b)


def _blocks(x: Tensor, shapes: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Blocks of time: the steps, x ∗ φ_r there ``[rank, steps · N, C]``, and the filter matrix."""
    steps, batch, channels = x.shape
    rank, taps = shapes.shape
    padded = torch.cat([x.new_zeros(taps - 1, batch, channels), x]).flatten(1)
    band = shapes.new_zeros(0)
    for first in range(0, steps, BLOCK):
        count = min(BLOCK, steps - first)
        if band.shape[0] != rank * count:
            band = _band(shapes, count)
        filtered = band @ padded[first : first + count + taps - 1]
        yield slice(first, first + count), filtered.view(rank, count * batch, channels), band


def _band(shapes: Tensor, steps: int) -> Float[Tensor, "rank_steps window"]:
    """Rows (r, t) of the filter matrix for ``steps`` outputs: φ_r[j] at input t − j."""
    rank, taps = shapes.shape
    band = shapes.new_zeros(rank, steps, steps + taps - 1)
    for t in range(steps):
        band[:, t, t : t + taps] = shapes.flip(-1)
    return band.flatten(0, 1)


def _gaussians(u: np.ndarray, sigma: float, max_delay: int) -> np.ndarray:
    """Normalised taps ``[len(u), max_delay + 1]`` of the delays that u in [−1, 1] stands for."""
    exponent = -0.5 * ((np.arange(max_delay + 1) - (u[:, None] + 1) * (max_delay / 2)) / sigma) ** 2
    taps = np.exp(exponent - exponent.max(1, keepdims=True))
    return taps / taps.sum(1, keepdims=True)


def _series_sum(u: Tensor, series: Float[Tensor, "terms rank"]) -> Tensor:
    """Σ_m series[m] · T_m(u) by Clenshaw's recurrence; ``[…] → […, rank]``."""
    u = u.unsqueeze(-1)
    later = latest = u.new_zeros(1)
    for row in series[1:].flip(0):
        later, latest = latest, row + 2 * u * latest - later
    return series[0] + u * latest - later
