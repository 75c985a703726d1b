"""A few shapes that span all Gaussians of one width on the taps 0 … max_delay.

    g_σ(j − d) = Σ_r ψ_r(d) · φ_r[j],    ψ_r(d) = Σ_m series[m, r] · T_m(u),  u = 2d/max_delay − 1

φ are the leading singular vectors of all kernels, d in [0, max_delay]: no other shapes need so few.
Kernels are smooth in d, so that a series of Chebyshev polynomials T_m stands for all of them, and
the decomposition is that of its few coefficients. A basis takes milliseconds, as schedules that
change σ in every step need it.

Kernels of d and of max_delay − d are mirror images. So T_m of even m and of odd m have shapes of
their own, and half of the coefficients are 0.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial import chebyshev, legendre

# Of ``basis`` and of what is made of it; each layer asks for one in a pass.
KEPT = 32
# The coefficients that a series leaves out, against what it may be off by: slopes are more so.
# Below ``ROUNDING`` there is nothing but noise.
SHARE, ROUNDING = 1 / 64, 2e-13


class Basis(NamedTuple):
    """
    Shape:
        shapes φ ``[rank, taps]``, series ``[terms, rank]``. The first ``even`` shapes have T_0,
        T_2, … alone, those after them T_1, T_3, …
    """

    shapes: np.ndarray
    series: np.ndarray
    even: int


@functools.lru_cache(maxsize=KEPT)
def basis(sigma: float, max_delay: int, tolerance: float) -> Basis:
    """Basis of the Gaussians of width ``sigma``, exact to a few ``tolerance`` of their largest tap.

    At the edges their slopes in u, the gradients of delays, have up to terms² times that error.
    """
    series = _chebyshev(sigma, max_delay, tolerance)
    terms = len(series)
    # Singular values are to weigh all delays alike: a quadrature that is exact for products of
    # two polynomials stands for the integral over d.
    places, weights = legendre.leggauss(terms)
    root = np.sqrt(weights)[:, None] * chebyshev.chebvander(places, terms - 1)
    halves = [np.linalg.svd(root[:, i::2] @ series[i::2], full_matrices=False) for i in (0, 1)]
    largest = max(singular[0] for _, singular, _ in halves)
    found, coefficients = [], []
    for i, (_, singular, vectors) in enumerate(halves):
        shapes = vectors[: int((singular > tolerance * largest).sum())]
        mixed = np.zeros((terms, len(shapes)))
        mixed[i::2] = series[i::2] @ shapes.T
        found.append(shapes)
        coefficients.append(mixed)
    return Basis(np.concatenate(found), np.concatenate(coefficients, 1), len(found[0]))


def rank(sigma: float, max_delay: int, tolerance: float) -> float:
    """About how many shapes ``basis`` has, by a formula.

    A Gaussian's spectrum falls to the tolerance at ω = √(2 ln 1/tolerance) / σ, and a band of that
    width has ω / π independent values in a step; the edges add some.
    """
    depth = math.log(1 / tolerance)
    return max_delay * math.sqrt(2 * depth) / (math.pi * sigma) + depth / 5


def worthwhile(sigma: float, max_delay: int) -> bool:
    """Whether the Gaussians are wide enough; for narrower ones the rank is nearly that of taps.

    On long kernels narrow ones have fewer shapes than taps too, but hundreds, where a window of
    taps is less.
    """
    return max_delay > 0 and sigma > max(0.5, min(max_delay / 12, 2), max_delay / 50)


def tolerance(dtype: torch.dtype) -> float:
    """Error that the basis may have: a few times the rounding of the matrix products."""
    return {torch.float64: 1e-12, torch.float32: 1e-6}.get(dtype, 1e-3)


def _chebyshev(sigma: float, max_delay: int, tolerance: float) -> np.ndarray:
    """Coefficients ``[terms, taps]`` of all taps as functions of u, up to the last large one.

    More nodes until the last coefficients are small: these fall faster than any power.
    """
    limit = max(SHARE * tolerance, ROUNDING)
    count = 8
    while True:
        count *= 2
        nodes = chebyshev.chebpts1(count)
        kernels = _gaussians(nodes, sigma, max_delay)
        waves = np.cos(np.outer(np.arange(count), np.arccos(nodes)))
        waves[0] /= 2
        series = waves @ kernels * (2 / count)
        large = np.abs(series).max(1) > limit * kernels.max()
        terms = max(int(np.flatnonzero(large)[-1]) + 1, 2)
        if terms < 0.9 * count:
            return series[:terms]


def _gaussians(u: np.ndarray, sigma: float, max_delay: int) -> np.ndarray:
    """Normalised taps ``[len(u), max_delay + 1]`` of the delays that u in [−1, 1] stands for."""
    exponent = -0.5 * ((np.arange(max_delay + 1) - (u[:, None] + 1) * (max_delay / 2)) / sigma) ** 2
    taps = np.exp(exponent - exponent.max(1, keepdims=True))
    return taps / taps.sum(1, keepdims=True)
