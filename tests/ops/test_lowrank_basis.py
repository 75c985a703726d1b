"""The basis of wide Gaussians: exact between the delays it was made of, small, and quick."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import chebyshev

from snn_delays.interpolation import gaussian
from snn_delays.ops.lowrank_basis import basis, rank, tolerance, worthwhile


def errors(sigma: float, max_delay: int, limit: float) -> tuple[float, float]:
    """Of the kernels, and of their slopes in u, against the largest tap; at more delays than made
    it."""
    shapes, series, _ = basis(sigma, max_delay, limit)
    near_edges = np.cos(np.linspace(0, np.pi, 8 * len(series) + 3))
    u = np.concatenate([near_edges, np.linspace(-1, 1, 301)])
    delay = torch.from_numpy((u + 1) * max_delay / 2)
    kernels = gaussian(delay, sigma, torch.arange(max_delay + 1.0, dtype=torch.float64)).numpy()
    taps = np.arange(max_delay + 1)
    slopes = kernels * (taps - (kernels @ taps)[:, None]) / sigma**2 * (max_delay / 2)
    found = chebyshev.chebval(u, series).T @ shapes
    found_slopes = chebyshev.chebval(u, chebyshev.chebder(series)).T @ shapes
    return (
        float(np.abs(found - kernels).max() / kernels.max()),
        float(np.abs(found_slopes - slopes).max() / kernels.max()),
    )


@given(
    max_delay=st.integers(1, 400),
    relative=st.floats(0.02, 3),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
)
def test_kernels_and_their_slopes_are_exact_at_all_delays(max_delay, relative, dtype):
    sigma, limit = max(relative * max_delay, 0.6), tolerance(dtype)
    of_values, of_slopes = errors(sigma, max_delay, limit)
    assert of_values < 10 * limit
    # A polynomial's slope is at most its degree's square times its value (Markov).
    assert of_slopes < 10 * limit * len(basis(sigma, max_delay, limit).series) ** 2


@pytest.mark.parametrize("max_delay", [24, 250])
@pytest.mark.parametrize("relative", [0.08, 0.25, 0.5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_no_basis_of_that_error_has_fewer_shapes(max_delay, relative, dtype):
    """As many as singular values of all kernels are above the tolerance, give or take one."""
    sigma, limit = relative * max_delay, tolerance(dtype)
    delay = torch.linspace(0, max_delay, 4 * max_delay + 1, dtype=torch.float64)
    kernels = gaussian(delay, sigma, torch.arange(max_delay + 1.0, dtype=torch.float64))
    singular = torch.linalg.svdvals(kernels)
    least = int((singular > limit * singular[0]).sum())
    assert abs(len(basis(sigma, max_delay, limit).shapes) - least) <= 1


@pytest.mark.parametrize("sigma", [2.5, 12.27, 90.0])
def test_shapes_of_even_and_odd_polynomials_are_apart_and_mirrored(sigma: float):
    shapes, series, even = basis(sigma, 24, 1e-6)
    assert 0 < even < len(shapes)
    assert not series[1::2, :even].any()
    assert not series[::2, even:].any()
    np.testing.assert_allclose(shapes[:even], shapes[:even, ::-1], atol=1e-7)
    np.testing.assert_allclose(shapes[even:], -shapes[even:, ::-1], atol=1e-7)


@given(max_delay=st.integers(8, 600), relative=st.floats(0.02, 1.0))
def test_the_formula_of_the_rank_is_near_it(max_delay: int, relative: float):
    sigma = relative * max_delay
    for dtype in (torch.float32, torch.float64):
        expected = len(basis(sigma, max_delay, tolerance(dtype)).shapes)
        if expected < max_delay / 2:  # of short kernels it is at most the number of taps
            assert abs(rank(sigma, max_delay, tolerance(dtype)) - expected) < 1.5 + expected / 12


@pytest.mark.parametrize("max_delay", [3, 24, 60, 2000])
def test_narrow_kernels_have_no_basis(max_delay: int):
    least = {3: 0.5, 24: 2.0, 60: 2.0, 2000: 40.0}[max_delay]
    assert worthwhile(1.01 * least, max_delay)
    assert not worthwhile(least, max_delay)


def test_a_kernel_of_one_tap_needs_none():
    assert not worthwhile(5.0, 0)


@pytest.mark.parametrize("sigma", [41.0, 167.3, 1000.27])
def test_a_basis_of_a_long_kernel_comes_from_few_delays(sigma: float, monkeypatch):
    """What is decomposed grows with the kernel's range in σ, not in steps."""
    sizes = []
    svd = np.linalg.svd

    def spy(a, **settings):
        sizes.append(a.shape)
        return svd(a, **settings)

    monkeypatch.setattr(np.linalg, "svd", spy)
    basis(sigma + 0.003, 2000, tolerance(torch.float64))
    assert sizes
    assert max(min(size) for size in sizes) < 30 + 8 * 2000 / sigma
