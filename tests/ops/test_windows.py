"""Windows of a few taps make the kernel that all taps of the extent make."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snn_delays.errors import UsageError
from snn_delays.interpolation import interpolate
from snn_delays.ops import depthwise, windows

SIGMAS = [0.0, 0.3, 0.5, 1.0, 2.4]


def whole(position: Tensor, sigma: float | Tensor, extent: int, interpolation: str) -> Tensor:
    """All taps of one axis, element by element."""
    sigma = 0.0 if interpolation == "bilinear" else sigma
    name = "triangle" if interpolation == "bilinear" else interpolation
    if not isinstance(sigma, Tensor) or sigma.ndim == 0:
        return interpolate(position, sigma, extent - 1, name)
    flat = zip(position.flatten(), sigma.expand_as(position).flatten(), strict=True)
    rows = [interpolate(one, width, extent - 1, name) for one, width in flat]
    return torch.stack(rows).unflatten(0, position.shape)


@given(
    seed=st.integers(0, 2**16),
    extent=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    interpolation=st.sampled_from(["bilinear", "triangle", "gaussian"]),
    sigma=st.sampled_from(SIGMAS),
    learned_sigma=st.booleans(),
    integers=st.booleans(),
)
def test_the_kernel_and_its_gradients(seed, extent, interpolation, sigma, learned_sigma, integers):
    torch.manual_seed(seed)
    weight = torch.randn(3, 4, dtype=torch.float64)
    # Inside, at both ends, and beyond them.
    position = torch.rand(2, 3, 4, dtype=torch.float64) * (torch.tensor(extent).view(2, 1, 1) + 1)
    position = position - 1
    if integers:
        position[:, :, :2] = position[:, :, :2].round()
    leaves = [weight.requires_grad_(), position.requires_grad_()]
    width: list[float | Tensor] = [sigma, sigma]
    if learned_sigma:
        own = (sigma + 0.1 + torch.rand(2, 3, 4, dtype=torch.float64)).requires_grad_()
        width = list(own)
        leaves += [own] if interpolation in ("triangle", "gaussian") else []
    sides = [
        windows.spread(*each, interpolation) for each in zip(position, width, extent, strict=True)
    ]
    found = depthwise.kernel(*windows.coefficients(weight, sides[0], sides[1]), extent)
    rows, columns = (
        whole(*each, interpolation) for each in zip(position, width, extent, strict=True)
    )
    expected = torch.einsum("ok,okh,okw->ohw", weight, rows, columns).unsqueeze(1)
    judge = torch.randn_like(expected)
    for one, other in zip(
        [found, *torch.autograd.grad(found, leaves, judge, allow_unused=True)],
        [expected, *torch.autograd.grad(expected, leaves, judge, allow_unused=True)],
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("interpolation", "sigma", "taps"),
    [("gaussian", 0.0, 1), ("bilinear", 0.5, 2), ("triangle", 0.5, 4), ("gaussian", 0.5, 5)],
)
def test_few_taps_are_enough(interpolation: str, sigma: float, taps: int):
    position = 0.1 + 15 * torch.rand(3, 4)
    first, weights = windows.spread(position, sigma, 17, interpolation)
    assert weights.shape == (3, 4, taps)
    assert first.min() >= 0
    assert first.max() <= 17 - taps


@pytest.mark.parametrize("learned", [(0,), (1,), (0, 1)])
def test_axes_that_are_not_learned_have_taps_of_their_own(learned: tuple[int, ...]):
    extent, count = (3, 5), 2
    dense = [size for axis, size in enumerate(extent) if axis not in learned]
    weight = torch.randn(4, 1, *dense, count, dtype=torch.float64)
    position = 2 * torch.rand(len(learned), *weight.shape, dtype=torch.float64)
    centres = torch.tensor([(extent[axis] - 1) / 2 for axis in learned]).view(
        -1, *[1] * weight.ndim
    )
    sigmas = [0.5 + torch.rand(weight.shape).double(), 0.6][: len(learned)]
    found = depthwise.kernel(
        *windows.of_elements(weight, position - centres, sigmas, extent, learned, "gaussian"),
        extent,
    )
    expected = torch.zeros(4, *extent, dtype=torch.float64)
    for index in np.ndindex(*weight.shape):
        factors, others = [], list(index[2:-1])
        for axis, size in enumerate(extent):
            if axis not in learned:
                factors.append(torch.eye(size).double()[others.pop(0)])
                continue
            number = learned.index(axis)
            sigma = sigmas[number][index] if number == 0 else sigmas[number]
            factors.append(whole(position[number][index], sigma, size, "gaussian"))
        expected[index[0]] += weight[index] * torch.outer(*factors)
    torch.testing.assert_close(found.squeeze(1), expected)


def test_one_axis_is_one_row():
    weight, position = torch.randn(3, 1, 4), 6 * torch.rand(1, 3, 1, 4)
    coefficients, first = windows.of_elements(weight, position - 3, [0.0], (7,), (0,), "bilinear")
    assert coefficients.shape == (3, 4, 1, 2)
    assert first[..., 0].count_nonzero() == 0
    kernel = depthwise.kernel(coefficients, first, (1, 7))
    expected = (weight.unsqueeze(-1) * whole(position[0], 0.0, 7, "bilinear")).sum(2)
    torch.testing.assert_close(kernel.squeeze(2), expected)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("interpolation", ["triangle", "gaussian"])
def test_what_is_no_number_is_refused(number: float, interpolation: str):
    position, sigma = torch.rand(2, 3), torch.ones(2, 3)
    sigma[1, 1] = number
    with pytest.raises(UsageError, match="width sigma is NaN or infinite. Go back"):
        windows.spread(position, sigma, 5, interpolation)
    position[0, 0] = number
    with pytest.raises(UsageError, match="1 of 6 positions are NaN or infinite"):
        windows.spread(position, 0.5, 5, interpolation)
