"""Delays in convolutions over space: every method is the reference, in values and gradients."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snn_delays.interpolation import INTERPOLATIONS
from snn_delays.ops import convolution
from snn_delays.ops.convolution_dense import Geometry, product

CLOSE = 1e-9


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Tensor], dict]:
    """An input, weights and delays in double precision, and how to convolve them."""
    space, groups = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    own, per_group, count = (
        draw(st.integers(1, 2)),
        draw(st.integers(1, 2)),
        draw(st.integers(1, 3)),
    )
    kernel = [draw(st.integers(1, 3)) for _ in range(space)]
    stride = tuple(draw(st.integers(1, 3)) for _ in range(space))
    padding = tuple(draw(st.integers(0, 2)) for _ in range(space))
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(space))
    size = [draw(st.integers(2 * k, 2 * k + 3)) for k in kernel]
    steps, batch = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    max_delay = draw(st.sampled_from([1, 2, 6, 19, 40]))
    density = draw(st.sampled_from([0.0, 0.1, 1.0]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    like = {"generator": generator, "dtype": torch.float64}
    x = torch.randn(steps, batch, groups * own, *size, **like)
    x = x * (torch.rand(x.shape, **like) < density)
    weight = torch.randn(groups * per_group, own, *kernel, count, **like)
    shared = draw(st.sampled_from(["none", "out", "in", "all"]))
    shape = list(weight.shape)
    if shared != "none":
        shape[2:-1] = [1] * space
        shape[0] = shape[0] if shared == "out" else 1
        shape[1] = shape[1] if shared == "in" else 1
    # A little out of range as well, where delays act as the edge.
    delay = torch.rand(shape, **like) * (max_delay + 2) - 1
    settings = {
        "sigma": draw(st.sampled_from([0.0, 0.4, 1.0, 7.0])),
        "max_delay": max_delay,
        "interpolation": draw(st.sampled_from(INTERPOLATIONS)),
        "geometry": Geometry(stride, padding, dilation, groups),
    }
    return {"x": x, "weight": weight, "delay": delay}, settings


def values_and_gradients(tensors: dict[str, Tensor], settings: dict, method: str) -> list[Tensor]:
    own = {name: one.clone().requires_grad_() for name, one in tensors.items()}
    y = convolution.delay_convolution(**own, **settings, method=method)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    return [y, *torch.autograd.grad((y * upstream).sum(), list(own.values()))]


@given(case=cases(), method=st.sampled_from(["dense", "taps"]))
def test_every_method_is_the_reference(case: tuple[dict[str, Tensor], dict], method: str) -> None:
    wanted = values_and_gradients(*case, "reference")
    for one, other in zip(values_and_gradients(*case, method), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=CLOSE, atol=CLOSE)


def test_the_reference_is_every_synapse_by_itself() -> None:
    x = torch.randn(7, 2, 4, 5, 6, dtype=torch.float64)
    weight = torch.randn(2, 2, 3, 2, 2, dtype=torch.float64)
    delay = torch.randint(0, 5, weight.shape).double()
    geometry = Geometry((2, 1), (1, 0), (1, 2), 2)
    y = convolution.reference(x, weight, delay, 0.0, 4, "gaussian", geometry)
    expected = torch.zeros_like(y)
    for o, i, r, s, k in itertools.product(*map(range, weight.shape)):
        d = int(delay[o, i, r, s, k])
        for t, p, q in itertools.product(range(d, 7), range(y.shape[3]), range(y.shape[4])):
            row, column = 2 * p + r - 1, q + 2 * s
            if 0 <= row < 5:
                seen = x[t - d, :, (o // 1) * 2 + i, row, column]
                expected[t, :, o, p, q] += weight[o, i, r, s, k] * seen
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("space", [1, 2])
def test_without_delays_it_is_torchs_convolution(space: int) -> None:
    size = (6,) if space == 1 else (6, 5)
    x = torch.randn(3, 2, 4, *size, dtype=torch.float64)
    weight = torch.randn(6, 2, *[3] * space, 1, dtype=torch.float64)
    settings = {"sigma": 0.0, "max_delay": 3, "interpolation": "gaussian"}
    geometry = Geometry((2,) * space, (1,) * space, (2,) * space, 2)
    y = convolution.delay_convolution(
        x, weight, torch.zeros_like(weight), geometry=geometry, **settings
    )
    plain = torch.nn.functional.conv1d if space == 1 else torch.nn.functional.conv2d
    expected = plain(x.flatten(0, 1), weight[..., 0], None, 2, 1, 2, 2).unflatten(0, (3, 2))
    torch.testing.assert_close(y, expected)


def test_taps_differentiate_twice() -> None:
    x = torch.randn(5, 2, 2, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 2, 1, dtype=torch.float64, requires_grad=True)
    delay = (torch.rand(3, 2, 2, 1, dtype=torch.float64) * 4).requires_grad_()

    def sums(x: Tensor, weight: Tensor, delay: Tensor) -> Tensor:
        return convolution.delay_convolution(
            *(x, weight, delay),
            **{"sigma": 0.6, "max_delay": 4, "interpolation": "gaussian", "method": "taps"},
            geometry=Geometry((1,), (1,), (1,), 1),
        )

    assert torch.autograd.gradcheck(sums, (x, weight, delay))
    assert torch.autograd.gradgradcheck(sums, (x, weight, delay))


def test_spikes_are_few_or_not() -> None:
    weight = torch.randn(4, 2, 3, 3, 1)
    few = (torch.rand(20, 2, 2, 8, 8) < 0.02).float()
    kernel = (0.5, 20, 1)
    assert convolution.method_for(few, weight, *kernel) == "taps"
    assert convolution.method_for(torch.rand_like(few), weight, *kernel) == "dense"
    more = (torch.rand(20, 2, 2, 8, 8) < 0.15).float()
    assert convolution.method_for(more, weight, *kernel) == "dense"
    assert convolution.method_for(more, weight, 0.5, 20, 2) == "taps"
    assert convolution.method_for(few, weight, torch.tensor(0.5), 20, 1) == "dense"
    assert convolution.method_for(few.half(), weight.half(), *kernel, "taps") == "dense"


@pytest.mark.parametrize(("steps", "batch"), [(0, 2), (3, 0)])
@pytest.mark.parametrize("method", ["dense", "taps"])
def test_nothing_to_convolve(steps: int, batch: int, method: str) -> None:
    x = torch.randn(steps, batch, 2, 5)
    weight = torch.randn(3, 2, 3, 1, requires_grad=True)
    y = convolution.delay_convolution(
        *(x, weight, torch.zeros_like(weight)),
        **{"sigma": 0.5, "max_delay": 4, "interpolation": "gaussian", "method": method},
        geometry=Geometry((1,), (0,), (1,), 1),
    )
    assert y.shape == (steps, batch, 3, 3)
    y.sum().backward()
    assert weight.grad is not None
    assert not weight.grad.any()


def test_history_stands_before_the_first_step() -> None:
    x, kernel = torch.randn(9, 2, 3, 4), torch.randn(2, 3, 3, 5)
    geometry = Geometry((1,), (1,), (1,), 1)
    whole = product(x, kernel, geometry)
    torch.testing.assert_close(product(x[1:6], kernel, geometry, history=True)[0], whole[5])
