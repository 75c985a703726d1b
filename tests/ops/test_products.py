"""Matrix products of our own are those of torch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.ops import products


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(
    count=st.integers(1, 3),
    sizes=st.tuples(st.integers(0, 60), st.integers(0, 20), st.integers(1, 700)),
    turned=st.booleans(),
    seed=st.integers(0, 99),
)
def test_many_products_at_once(dtype, count, sizes, turned, seed):
    draw = torch.Generator().manual_seed(seed)
    m, k, n = sizes
    a = torch.randn(count, k, m, generator=draw, dtype=dtype).mT
    a = a if turned else a.contiguous()
    b = torch.randn(count, k, n, generator=draw, dtype=dtype)
    out = products.multiply(a, b, torch.full((count, m, n), torch.nan, dtype=dtype))
    tolerance = 1e-4 if dtype is torch.float32 else 1e-11
    torch.testing.assert_close(out, torch.bmm(a, b), rtol=0, atol=tolerance)
    products.multiply(a, b, out, more=True)
    torch.testing.assert_close(out, 2 * torch.bmm(a, b), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(
    rows=st.lists(st.integers(0, 40), min_size=0, max_size=2),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 99),
)
def test_a_linear_map_is_that_of_torch(dtype, rows, sizes, seed):
    draw = torch.Generator().manual_seed(seed)
    pre, post = sizes
    x = torch.randn(*rows, pre, generator=draw, dtype=dtype).requires_grad_()
    weight = torch.randn(post, pre, generator=draw, dtype=dtype).requires_grad_()
    judge = torch.randn(*rows, post, generator=draw, dtype=dtype)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "ROWS", 16)
        for linear in (products.linear, torch.nn.functional.linear):
            y = linear(x, weight)
            found.append([y, *torch.autograd.grad(y, (x, weight), judge)])
    tolerance = 2e-4 if dtype is torch.float32 else 1e-11
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


def test_gradients_of_gradients_of_a_linear_map():
    x, weight = torch.randn(3, 4).double(), torch.randn(20, 4).double()
    leaves = [leaf.requires_grad_() for leaf in (x, weight)]
    assert torch.autograd.gradcheck(products.linear, leaves)
    assert torch.autograd.gradgradcheck(products.linear, leaves)
