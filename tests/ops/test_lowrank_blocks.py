"""Wide kernels by blocks of neurons: equal to the reference, and of bounded memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snn_delays.errors import UsageError
from snn_delays.ops import lowrank, lowrank_blocks, plan
from snn_delays.ops.lowrank_basis import basis, tolerance
from snn_delays.ops.plan import Method

LIMITS = {torch.float64: 1e-9, torch.float32: 1e-4}


def drawn(steps, batch, post, pre, k, max_delay, density, dtype, delays="synaptic"):
    draw = torch.Generator().manual_seed(steps + 7 * pre)
    x = torch.randn(steps, batch, pre, generator=draw, dtype=dtype)
    x *= torch.rand(x.shape, generator=draw) < density
    weight = torch.randn(post, pre, k, generator=draw, dtype=dtype)
    shape = {"synaptic": (post, pre, k), "axonal": (1, pre, k), "dendritic": (post, 1, k)}[delays]
    delay = torch.rand(shape, generator=draw, dtype=dtype) * 1.2 * max_delay - 0.1 * max_delay
    return [one.requires_grad_() for one in (x, weight, delay)]


def gradients(method: Method, inputs: list[Tensor], sigma: float, max_delay: int) -> list[Tensor]:
    settings: dict[str, Any] = {"sigma": sigma, "max_delay": max_delay}
    settings["interpolation"] = "gaussian"
    y = plan.delay_convolution(*inputs, **settings, method=method)
    probe = torch.sin(torch.arange(y.numel(), dtype=y.dtype)).view_as(y)
    return [y.detach(), *torch.autograd.grad((y * probe).sum(), inputs)]


def assert_same(inputs: list[Tensor], sigma: float, max_delay: int) -> None:
    found = gradients("lowrank", inputs, sigma, max_delay)
    expected = gradients("reference", inputs, sigma, max_delay)
    scales = [one.abs().max().item() for one in expected]
    scales[3] = max(scales[2:])  # a difference of large terms
    for a, b, scale in zip(found, expected, scales, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max().item() <= LIMITS[a.dtype] * scale


@pytest.mark.parametrize("dtype", LIMITS)
@given(
    beyond=st.sampled_from([1, 9, 33]),
    batch=st.integers(1, 5),
    post=st.sampled_from([1, 15, 16, 33, 64]),
    pre=st.sampled_from([1, 16, 17, 40]),
    k=st.integers(1, 2),
    max_delay=st.integers(2, 60),
    relative=st.sampled_from([0.1, 0.25, 0.5, 1.0]),
    density=st.sampled_from([0.1, 1.0]),
    delays=st.sampled_from(["synaptic", "axonal", "dendritic"]),
)
def test_blocks_equal_the_reference(dtype, beyond, max_delay, relative, **shapes):
    """Sequences reach every tap: what is left out is a share of the largest."""
    shapes["steps"] = max_delay + beyond
    sigma = max(0.6, relative * max_delay)
    with pytest.MonkeyPatch.context() as small:
        small.setattr(lowrank_blocks, "LEAST", 16)
        small.setattr(lowrank_blocks, "NUMBERS", 1)
        assert_same(drawn(max_delay=max_delay, dtype=dtype, **shapes), sigma, max_delay)


@pytest.mark.parametrize("columns", [True, False])
@pytest.mark.parametrize(("post", "pre", "k"), [(16, 16, 1), (35, 300, 1), (5, 7, 3), (64, 48, 2)])
def test_coefficients_and_their_gradients_are_those_in_torch(post, pre, k, columns):
    sigma, max_delay = 4.0, 24
    _, weight, delay = drawn(1, 1, post, pre, k, max_delay, 1.0, torch.float64)
    limit = tolerance(torch.float64)
    found = basis(sigma, max_delay, limit)
    form = lowrank_blocks.Form(
        torch.from_numpy(found.shapes), torch.from_numpy(found.series), found.even, max_delay
    )
    expected, _ = lowrank.mixture(weight, delay, sigma, max_delay)
    mixed = lowrank_blocks._mixed(weight, delay, form, columns)
    turned = mixed.permute(1, 2, 0) if columns else mixed
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-12)
    grad = torch.randn(mixed.shape, dtype=mixed.dtype)
    found_ones = lowrank_blocks._unmixed(grad, weight, delay, form, columns)
    grad = grad.permute(1, 2, 0) if columns else grad
    for one, other in zip(
        found_ones, torch.autograd.grad(expected, (weight, delay), grad), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_no_more_than_a_block_of_a_large_layer_is_there_at_once(monkeypatch):
    """A layer's W_r would be rank times its synapses."""
    sizes: list[int] = []
    mixed = lowrank_blocks._mixed

    def seen(*args, **settings):
        sizes.append(mixed(*args, **settings).numel())
        return mixed(*args, **settings)

    monkeypatch.setattr(lowrank_blocks, "_mixed", seen)
    gradients("lowrank", drawn(3, 1, 1024, 512, 1, 24, 0.1, torch.float32), 12.0, 24)
    rank = len(basis(12.0, 24, 1e-6).shapes)
    assert len(sizes) > 2
    assert max(sizes) <= lowrank_blocks.NUMBERS < sum(sizes) // 2
    assert sum(sizes) == 2 * rank * 1024 * 512


def test_without_compiled_loops_the_numbers_are_the_same(monkeypatch):
    inputs = drawn(20, 3, 18, 20, 2, 12, 0.3, torch.float64)
    monkeypatch.setattr(lowrank, "lowrank_cpu", None)
    assert_same(inputs, 5.0, 12)


def test_delays_that_are_no_numbers_are_counted_over_the_whole_layer():
    x, weight, delay = drawn(4, 2, 130, 8, 1, 12, 1.0, torch.float32)
    with torch.no_grad():
        delay[3, 2], delay[120, 5] = torch.nan, torch.inf
    with pytest.raises(UsageError, match=r"2 of 1,040 delays are NaN or infinite"):
        lowrank.convolve(x, weight, delay, 6.0, 12)
