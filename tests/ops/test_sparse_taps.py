"""Loops over the synapses that are there, against the reference with the mask in its weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays.interpolation import INTERPOLATIONS
from snn_delays.layers.granularity import GRANULARITIES
from snn_delays.ops import plan, reference, sparse_taps


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    density=st.sampled_from([0.0, 0.1, 0.5]),
    sigma=st.sampled_from([0.0, 0.5, 2.0, 12.0]),
    interpolation=st.sampled_from(INTERPOLATIONS),
    granularity=st.sampled_from(GRANULARITIES),
    kernel_count=st.integers(1, 2),
    native=st.booleans(),
)
def test_listed_synapses_equal_the_reference(
    seed, density, sigma, interpolation, granularity, kernel_count, native
):
    torch.manual_seed(seed)
    steps, batch, pre, post = (int(torch.randint(1, most, ())) for most in (40, 20, 20, 40))
    shape = [1 if granularity == "axonal" else post, 1 if granularity == "dendritic" else pre]
    x = (torch.rand(steps, batch, pre, dtype=torch.float64) < 0.3).double()
    x[:, :, 0] = 0
    weight = torch.randn(post, pre, kernel_count, dtype=torch.float64)
    delay = 25 * torch.rand(*shape, kernel_count, dtype=torch.float64) - 0.5
    leaves = [leaf.requires_grad_() for leaf in (x, weight, delay)]
    mask = torch.rand(weight.shape) < density
    acting, judge = torch.where(mask, weight, 0), torch.randn(steps, batch, post).double()
    kernel = (sigma, 24, interpolation)
    with pytest.MonkeyPatch.context() as patch:
        if not native:
            patch.setattr(sparse_taps, "sparse_taps_cpu", None)
        listed = sparse_taps.convolve(x, acting, delay, mask.to(torch.uint8), *kernel)
    expected = reference.delay_convolution(x, acting, delay, *kernel)
    found = [
        [y, *torch.autograd.grad(y, leaves, judge, retain_graph=True)] for y in (listed, expected)
    ]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_gradients_of_gradients():
    torch.manual_seed(0)
    x, weight = torch.rand(6, 2, 3).double(), torch.randn(4, 3, 1).double()
    delay = 5 * torch.rand(4, 3, 1).double()
    mask = torch.rand(4, 3, 1) < 0.5
    leaves = [leaf.requires_grad_() for leaf in (x, weight, delay)]

    def of(x, weight, delay):
        acting = torch.where(mask, weight, 0)
        return sparse_taps.convolve(x, acting, delay, mask, 0.6, 5, "gaussian")

    assert torch.autograd.gradgradcheck(of, leaves)


def test_the_plan_knows_how_many_synapses_there_are():
    def chosen(sigma, density):
        device = "cpu, spikes"
        return plan.choose(sigma, 24, "gaussian", torch.float32, 1, device, density)

    assert [chosen(2.0, density) for density in (1.0, 0.1)] == ["dense", "taps"]
    assert chosen(0.5, 1.0) == chosen(0.5, 0.9) == "taps"
    x = (torch.rand(9, 2, 30) < 0.1).float()
    weight, delay = torch.rand(30, 30, 1), torch.rand(30, 30, 1)
    given = {"sigma": 20.0, "max_delay": 40, "interpolation": "triangle"}
    mask = torch.rand(30, 30, 1) < 0.05
    assert plan.method_for(x, weight, delay, **given) == "dense"
    assert plan.method_for(x, weight, delay, **given, mask=mask) == "taps"
    same = [
        plan.delay_convolution(x, weight * mask, delay, **given, mask=one) for one in (None, mask)
    ]
    torch.testing.assert_close(*same)
