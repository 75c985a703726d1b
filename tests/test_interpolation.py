"""g_σ: normalised, equal to its formula, and with gradients that can move every delay."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from snn_delays.errors import UsageError
from snn_delays.interpolation import INTERPOLATIONS, dense_kernel, interpolate

KINDS = pytest.mark.parametrize("kind", INTERPOLATIONS)
SIGMAS = st.one_of(st.just(0.0), st.floats(1e-3, 30.0))


def mean_tap(taps: Tensor) -> Tensor:
    """The delay that the taps amount to: Σ_j j · g_j."""
    return (taps * torch.arange(taps.shape[-1], dtype=taps.dtype)).sum(-1)


@given(
    delay=st.floats(-10, 30),
    sigma=st.one_of(SIGMAS, st.floats(1e-300, 1e-3)),
    max_delay=st.integers(1, 20),
    kind=st.sampled_from(INTERPOLATIONS),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_taps_are_not_negative_and_sum_to_one(
    delay: float, sigma: float, max_delay: int, kind: str, dtype: torch.dtype
) -> None:
    taps = interpolate(torch.tensor([delay], dtype=dtype), sigma, max_delay, kind)
    assert taps.shape == (1, max_delay + 1)
    assert taps.dtype == dtype
    assert (taps >= 0).all()
    assert taps.sum().item() == pytest.approx(1, abs=1e-5 if dtype == torch.float32 else 1e-12)


@given(data=st.data(), max_delay=st.integers(1, 20), sigma=st.floats(0.2, 30))
def test_gaussian_is_its_formula(data: st.DataObject, max_delay: int, sigma: float) -> None:
    delay = data.draw(st.floats(0, max_delay))
    bell = [math.exp(-0.5 * ((j - delay) / sigma) ** 2) for j in range(max_delay + 1)]
    expected = torch.tensor([value / sum(bell) for value in bell], dtype=torch.float64)
    got = interpolate(torch.tensor(delay, dtype=torch.float64), sigma, max_delay, "gaussian")
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@given(data=st.data(), max_delay=st.integers(1, 20), sigma=st.floats(0, 30))
def test_triangle_is_its_formula(data: st.DataObject, max_delay: int, sigma: float) -> None:
    delay = data.draw(st.floats(0, max_delay))
    heights = [max(1 + sigma - abs(j - delay), 0) for j in range(max_delay + 1)]
    expected = torch.tensor([value / sum(heights) for value in heights], dtype=torch.float64)
    got = interpolate(torch.tensor(delay, dtype=torch.float64), sigma, max_delay, "triangle")
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@KINDS
@pytest.mark.parametrize("device", DEVICES)
@given(sigma=st.just(0.0) | st.floats(1e-6, 30))
def test_a_sigma_in_a_tensor_rounds_as_a_number_does(kind: str, device: str, sigma: float) -> None:
    """So that recorded steps of training give the numbers of others."""
    delay = 20 * torch.rand(50, generator=torch.Generator().manual_seed(1))
    delay = delay.to(device)
    stored = torch.tensor(sigma, dtype=torch.float64, device=device)
    one, other = (interpolate(delay, each, 20, kind) for each in (sigma, stored))
    assert torch.equal(one, other)


@KINDS
@pytest.mark.parametrize("sigma", [0.0, 1e-300, 1e-40, 1e-20, 1e-7, 1e-3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_vanishing_sigma_an_integer_delay_is_one_tap(
    kind: str, sigma: float, dtype: torch.dtype
) -> None:
    delay = torch.arange(8, dtype=dtype)
    got = interpolate(delay, sigma, 7, kind)
    # The triangle leaves σ / (1 + 2σ) on each neighbour; 1 + σ is rounded to the dtype.
    atol = 2 * sigma + 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(got, torch.eye(8, dtype=dtype), rtol=0, atol=atol)


@given(
    delay=st.floats(0, 9, width=32),
    sigma=st.one_of(st.just(0.0), st.floats(1e-300, 1e-3)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_a_vanishing_gaussian_is_the_nearest_tap(
    delay: float, sigma: float, dtype: torch.dtype
) -> None:
    assume(abs(delay - math.floor(delay) - 0.5) > 1e-3)  # no tie between two taps
    got = interpolate(torch.tensor(delay, dtype=dtype), sigma, 9, "gaussian")
    assert got[round(delay)].item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("sigma", [1e-300, 1e-40, 1e-20, 1e-7])
def test_a_vanishing_gaussian_halves_a_tie_and_keeps_finite_gradients(sigma: float) -> None:
    delay = torch.tensor([2.5, 0.3, 4.0], requires_grad=True)
    taps = interpolate(delay, sigma, 4, "gaussian")
    mean_tap(taps).sum().backward()
    assert taps[0].tolist() == [0, 0, 0.5, 0.5, 0]
    assert delay.grad is not None
    assert delay.grad.isfinite().all()


# Away from the triangle's kinks, which lie at whole |j − d| and at |j − d| = 1 + σ.
@pytest.mark.parametrize(
    ("kind", "sigma"),
    [("gaussian", s) for s in (0.3, 0.5, 2.0, 12.27)] + [("triangle", s) for s in (0, 0.3, 1.7, 6)],
)
@pytest.mark.parametrize("max_delay", [1, 4, 9])
def test_gradients_are_the_finite_differences(kind: str, sigma: float, max_delay: int) -> None:
    delay = torch.tensor([0.13, 0.55, 0.81], dtype=torch.float64)
    delay = torch.cat([delay + shift for shift in range(max_delay)]).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: interpolate(d, sigma, max_delay, kind), (delay,))


@pytest.mark.parametrize("max_delay", [1, 4, 9])
def test_at_whole_delays_the_triangle_takes_the_central_difference(max_delay: int) -> None:
    whole = torch.arange(max_delay + 1, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(
        lambda d: interpolate(d, 0.0, max_delay, "triangle").sum(0), whole
    )  # [taps, delay]
    h = 1e-3
    ahead, behind = (interpolate(whole + s, 0.0, max_delay, "triangle") for s in (h, -h))
    torch.testing.assert_close(jacobian, ((ahead - behind) / (2 * h)).T, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("kind", "sigma"), [("gaussian", 0.5), ("triangle", 0.0)])
@pytest.mark.parametrize("max_delay", [1, 2, 5, 24])
def test_every_whole_delay_can_move_both_edges_included(
    kind: str, sigma: float, max_delay: int
) -> None:
    for start, target in itertools.product(range(max_delay + 1), (0, max_delay / 2, max_delay)):
        if start == target:
            continue
        delay = torch.tensor(float(start), requires_grad=True)
        loss = (mean_tap(interpolate(delay, sigma, max_delay, kind)) - target) ** 2
        loss.backward()
        assert delay.grad is not None
        assert delay.grad.isfinite()
        # Descending moves the delay towards the target.
        assert -delay.grad.item() * (target - start) > 1e-3


@KINDS
@given(beyond=st.floats(2**-7, 1e4, width=32), sigma=st.sampled_from([0.0, 0.5, 3.0]))
def test_a_delay_out_of_range_acts_as_the_edge_and_gets_its_gradient(
    kind: str, beyond: float, sigma: float
) -> None:
    if kind == "gaussian" and sigma == 0:
        sigma = 0.25
    outside = torch.tensor([-beyond, 12 + beyond], requires_grad=True)
    edge = torch.tensor([0.0, 12.0], requires_grad=True)
    taps = [interpolate(delay, sigma, 12, kind) for delay in (outside, edge)]
    assert torch.equal(taps[0], taps[1])
    for each in taps:
        ((mean_tap(each) - 6) ** 2).sum().backward()
    assert outside.grad is not None
    assert edge.grad is not None
    torch.testing.assert_close(outside.grad, edge.grad, rtol=1e-5, atol=0)
    assert outside.grad[0] < -1e-4  # descending moves it up
    assert outside.grad[1] > 1e-4  # and down


@KINDS
@given(shift=st.integers(0, 30), fraction=st.floats(0, 1), sigma=st.sampled_from([0.0, 0.5, 2.0]))
def test_away_from_the_edges_a_later_delay_is_the_same_taps_later(
    kind: str, shift: int, fraction: float, sigma: float
) -> None:
    assume(sigma > 0 or kind == "triangle" or abs(fraction - 0.5) > 1e-6)  # ties go to even
    early, late = (
        interpolate(torch.tensor(15 + fraction + s, dtype=torch.float64), sigma, 61, kind)
        for s in (0, shift)
    )
    torch.testing.assert_close(late[shift:], early[: 62 - shift], rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(3, 4, 2), (1, 4, 2), (3, 1, 2)])
@KINDS
def test_dense_kernel_sums_the_contacts_of_each_pair(shape: tuple[int, ...], kind: str) -> None:
    weight = torch.randn(3, 4, 2, dtype=torch.float64)
    delay = 6 * torch.rand(shape, dtype=torch.float64)
    kernel = dense_kernel(weight, delay, 1.5, 6, kind)
    assert kernel.shape == (3, 4, 7)
    everywhere = delay.expand(3, 4, 2)
    for post, pre in itertools.product(range(3), range(4)):
        expected = sum(
            weight[post, pre, k] * interpolate(everywhere[post, pre, k], 1.5, 6, kind)
            for k in range(2)
        )
        torch.testing.assert_close(kernel[post, pre], expected, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_interpolation_is_named() -> None:
    with pytest.raises(UsageError, match=r"one of gaussian, triangle, got 'cubic'"):
        interpolate(torch.zeros(1), 1.0, 3, "cubic")
