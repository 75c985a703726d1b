"""Depthwise convolutions from few taps are those of the dense kernel, for every parameter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snn_delays import UsageError
from snn_delays.dcls import DclsConv1d, DclsConv2d, DclsConv3d
from snn_delays.ops import depthwise, spacings_plan

CONVS: dict[int, Any] = {1: DclsConv1d, 2: DclsConv2d}


def results(layer: Any, x: Tensor, method: Any) -> list[Tensor]:
    """The output, and the gradients of x and of all parameters."""
    layer.method = method
    y = layer(x)
    assert layer.method_used == method
    judge = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y)
    return [y, *torch.autograd.grad(y, [x, *layer.parameters()], judge)]


@given(
    seed=st.integers(0, 2**16),
    dimensions=st.integers(1, 2),
    learned=st.sampled_from([(0,), (1,), (0, 1)]),
    interpolation=st.sampled_from(["bilinear", "triangle", "gaussian"]),
    sigma_learned=st.sampled_from([False, "axis", "element"]),
    extents=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    settings=st.fixed_dictionaries(
        {
            "kernel_count": st.integers(1, 4),
            "stride": st.integers(1, 2),
            "dilation": st.integers(1, 2),
            "padding": st.integers(0, 9),
            "bias": st.booleans(),
            "padding_mode": st.sampled_from(["zeros", "replicate"]),
        }
    ),
    whole=st.booleans(),
)
def test_taps_equal_the_dense_kernel(
    seed, dimensions, learned, interpolation, sigma_learned, extents, settings, whole
):
    torch.manual_seed(seed)
    layer = CONVS[dimensions](
        3,
        6,
        groups=3,
        extent=extents[:dimensions],
        learned_axes=(0,) if dimensions == 1 else learned,
        interpolation=interpolation,
        sigma=None if interpolation == "bilinear" else 0.7,
        sigma_learned=False if interpolation == "bilinear" else sigma_learned,
        **settings,
    ).double()
    with torch.no_grad():
        for places, limit in zip(layer.position, layer.limits, strict=True):
            places.uniform_(-limit - 1, limit + 1)  # beyond the ends, too
            if whole:  # where a triangle has a kink
                places[..., 0] = places[..., 0].round() + limit % 1
        if layer.log_sigma is not None:
            layer.log_sigma += 0.3 * torch.randn_like(layer.log_sigma)
    sizes = [settings["dilation"] * (one - 1) + 4 for one in layer.extent]
    x = torch.randn(2, 3, *sizes, dtype=torch.float64, requires_grad=True)
    for one, other in zip(results(layer, x, "taps"), results(layer, x, "dense"), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-8)


def test_taps_equal_the_reference_at_the_size_of_convnext():
    layer: Any = DclsConv2d(4, 4, 34, extent=17, padding=8, groups=4)
    with torch.no_grad():
        layer.position.uniform_(-8, 8)
    x = torch.randn(2, 4, 28, 28, requires_grad=True)
    for one, other in zip(results(layer, x, "taps"), results(layer, x, "reference"), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_a_penalty_on_gradients_reaches_positions():
    layer: Any = DclsConv2d(2, 2, 3, extent=5, padding=2, groups=2, interpolation="gaussian")
    layer.double()
    x = torch.randn(1, 2, 7, 7, dtype=torch.float64, requires_grad=True)
    found = []
    for method in ("taps", "dense"):
        layer.method = method
        (g,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(g.square().sum(), [x, *layer.parameters()]))
    assert all(one.abs().max() > 0 for one in found[0])
    torch.testing.assert_close(*found, rtol=0, atol=1e-8)


def test_the_fastest_method_is_taken_where_it_can_be(monkeypatch: pytest.MonkeyPatch):
    large: Any = DclsConv2d(3, 3, 34, extent=17, padding=8, groups=3)
    x = torch.randn(2, 3, 20, 20)
    large(x)
    assert large.method_used == "taps"
    large(x[0])  # without a batch
    assert large.method_used == "taps"
    few: Any = DclsConv2d(3, 3, 2, extent=3, padding=1, groups=3)
    few(x)
    assert few.method_used == "dense"
    mixed: Any = DclsConv2d(3, 3, 34, extent=17, padding=8)
    mixed(x)
    assert mixed.method_used == "dense"
    for method in ("auto", "taps"):
        large.method = method
        with torch.autocast("cpu", torch.bfloat16):
            assert large(x).dtype == torch.bfloat16
        assert large.method_used == "dense"
    monkeypatch.setattr(depthwise, "depthwise_cpu", None)
    large(x)
    assert large.method_used == "dense"


def test_taps_are_refused_where_there_are_none():
    with pytest.raises(UsageError, match="'taps' needs groups = in_channels, in one or two dim"):
        DclsConv2d(4, 4, 2, extent=3, groups=2, method="taps")
    with pytest.raises(UsageError, match=r"got groups=4 of 4 channels in 3\. Use method='auto'"):
        DclsConv3d(4, 4, 2, extent=3, groups=4, method="taps")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("method", ["auto", "taps"])
def test_torchs_tools_see_the_dense_kernel(method: Any):
    layer: Any = DclsConv2d(3, 3, 5, extent=9, padding=4, groups=3, method=method)
    x = torch.randn(2, 3, 12, 12)
    y = layer(x)
    assert layer.method_used == "taps"
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), y)
    torch.testing.assert_close(torch.func.vmap(layer)(x.unsqueeze(1)).squeeze(1), y)
    each = torch.func.grad(lambda x: layer(x).square().sum())(x)
    leaf = x.requires_grad_()
    (expected,) = torch.autograd.grad(layer(leaf).square().sum(), leaf)
    torch.testing.assert_close(each, expected, rtol=1e-4, atol=1e-5)
    with torch.device("meta"):
        assert layer.to("meta")(x.to("meta")).shape == y.shape


def test_the_plan_takes_taps_where_they_are_faster():
    def chosen(extent: int, window: tuple[int, int, int], stride: int = 1, size: int = 56) -> str:
        sides = ((size, size), (extent, extent), window, (stride, stride), (1, 1))
        return spacings_plan.choose(*sides)

    assert chosen(17, (34, 2, 2)) == chosen(23, (26, 5, 5)) == chosen(7, (34, 2, 2)) == "taps"
    assert chosen(17, (34, 2, 2), size=7) == chosen(17, (34, 2, 2), stride=2) == "taps"
    # Few taps anyhow, or most of what is computed left out.
    assert chosen(3, (3, 2, 2)) == chosen(7, (20, 2, 2), stride=3) == "dense"
    # The whole kernel is the most that taps can cost.
    assert chosen(17, (900, 2, 2)) == "taps"
