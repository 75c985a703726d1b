"""Every fast path computes the function of ``ops/reference.py``, in values and in gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snn_delays.ops import lif, lowrank_basis, plan, reference, taps

SHAPES = {
    "time": st.integers(1, 40),
    "batch": st.sampled_from([0, 1, 2, 5, 31, 33, 70]),
    "pre": st.integers(1, 5),
    "post": st.integers(1, 5),
    "kernel_count": st.integers(1, 3),
    "max_delay": st.integers(1, 30),
    "granularity": st.sampled_from(["synaptic", "axonal", "dendritic"]),
    "seed": st.integers(0, 1000),
}
# Largest error allowed, relative to the largest number of the reference. A narrow kernel leaves
# out taps, and a basis leaves out directions, that single precision cannot see.
EXACT, SINGLE = 1e-9, 1e-4


def problem(time, batch, pre, post, kernel_count, max_delay, granularity, seed, dtype):
    draw = torch.Generator().manual_seed(seed)
    rows = 1 if granularity == "axonal" else post
    columns = 1 if granularity == "dendritic" else pre
    x = torch.randn(time, batch, pre, generator=draw, dtype=dtype)
    weight = torch.randn(post, pre, kernel_count, generator=draw, dtype=dtype)
    # Some delays on integers and on both edges, where kernels have kinks; some nearly half-way.
    delay = max_delay * torch.rand(rows, columns, kernel_count, generator=draw, dtype=dtype)
    kind = torch.rand(delay.shape, generator=draw)
    delay = torch.where(kind < 0.3, delay.round(), delay)
    delay = torch.where(kind > 0.8, (delay.floor() + 0.49).clamp(max=max_delay), delay)
    return [tensor.requires_grad_() for tensor in (x, weight, delay)]


def values_and_gradients(method: str, inputs: list[Tensor], **settings) -> list[Tensor]:
    y = plan.delay_convolution(*inputs, method=method, **settings)
    probe = torch.sin(torch.arange(y.numel(), dtype=y.dtype)).view_as(y)
    grads = torch.autograd.grad((y * probe).sum(), inputs, allow_unused=True)
    return [
        y.detach(),
        *(torch.zeros_like(i) if g is None else g for i, g in zip(inputs, grads, strict=True)),
    ]


def assert_same(method: str, inputs: list[Tensor], limit: float, **settings) -> None:
    expected = values_and_gradients("reference", inputs, **settings)
    found = values_and_gradients(method, inputs, **settings)
    # Products of spectra round relative to the terms, of which the sum may have none.
    x, weight = (i.abs().max().item() if i.numel() else 0.0 for i in inputs[:2])
    terms = {"y": x * weight, "x": weight, "weight": x, "delay": x * weight}
    for name, a, b in zip(("y", "x", "weight", "delay"), found, expected, strict=True):
        assert a.shape == b.shape
        scale = b.abs().max().item() if b.numel() else 0.0
        # A delay's gradient is a difference of large terms: measure it against their size.
        scale = max(scale, expected[2].abs().max().item() if name == "delay" else 0.0)
        scale = max(scale, terms[name] if method == "fft" else 0.0)
        assert (a - b).abs().max().item() <= limit * scale if b.numel() else True, name


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, EXACT), (torch.float32, SINGLE)])
@pytest.mark.parametrize("method", ["taps", "fft", "dense", "auto"])
@given(
    interpolation=st.sampled_from(["gaussian", "triangle"]),
    sigma=st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.5, 0.9, 1.0, 2.3, 7.0]),
    **SHAPES,
)
def test_taps_and_dense_equal_the_reference(method, dtype, limit, interpolation, sigma, **shapes):
    assert_same(
        method,
        problem(**shapes, dtype=dtype),
        limit,
        sigma=sigma,
        max_delay=shapes["max_delay"],
        interpolation=interpolation,
    )


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, EXACT), (torch.float32, SINGLE)])
@given(sigma=st.sampled_from([0.0, 0.05, 0.5, 1.5, 3.0, 12.27, 40.0]), **SHAPES)
def test_lowrank_equals_the_reference(dtype, limit, sigma, **shapes):
    assert_same(
        "lowrank",
        problem(**shapes, dtype=dtype),
        limit,
        sigma=sigma,
        max_delay=shapes["max_delay"],
        interpolation="gaussian",
    )


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, EXACT), (torch.float32, SINGLE)])
@pytest.mark.parametrize("method", ["taps", "fft", "dense", "lowrank"])
@given(
    beyond=st.integers(1, 30),
    batch=st.integers(1, 40),
    pre=st.integers(1, 9),
    post=st.sampled_from([3, 64, 128, 320]),
    kernel_count=st.integers(1, 2),
    max_delay=st.integers(1, 50),
    sigma=st.sampled_from([0.0, 0.5, 1.3, 5.0, 20.0]),
    density=st.sampled_from([0.0, 0.02, 0.2]),
    seed=st.integers(0, 1000),
)
def test_spikes_that_fall_silent_equal_the_reference(
    method, dtype, limit, sigma, density, beyond, **shapes
):
    """What is computed for zeros is left out: rows, tiles, whole blocks, one sample or another."""
    time = shapes["max_delay"] + beyond
    inputs = problem(**shapes, time=time, granularity="synaptic", dtype=dtype)
    x = inputs[0].detach()
    ends = torch.randint(0, len(x) + 1, x.shape[1:])
    x *= (torch.rand(x.shape) < density) & (torch.arange(len(x))[:, None, None] < ends)
    settings = {"sigma": sigma, "max_delay": shapes["max_delay"], "interpolation": "gaussian"}
    assert_same(method, inputs, limit, **settings)


def test_the_rank_follows_the_width_and_not_the_range():
    ranks = [len(lowrank_basis.basis(m / 2, m, 1e-6)[0]) for m in (24, 49, 99, 199, 399)]
    assert max(ranks) - min(ranks) <= 1
    assert max(ranks) <= 7


@pytest.mark.parametrize("max_delay", [24, 399])
def test_a_narrow_kernel_needs_five_taps_whatever_the_range(max_delay: int):
    assert taps.width(0.5, max_delay, "gaussian", torch.float32) == 5
    assert taps.width(0.0, max_delay, "gaussian", torch.float32) == 1


def test_the_plan_takes_each_way_where_it_is_cheap():
    def chosen(sigma: float, kernel_count: int = 1, device: str = "cpu, spikes") -> str:
        return plan.choose(sigma, 24, "gaussian", torch.float32, kernel_count, device)

    assert [chosen(sigma) for sigma in (12.27, 2.4, 0.5, 0.0)] == [
        "lowrank",
        "dense",
        "taps",
        "taps",
    ]
    assert chosen(0.98) == "taps"
    assert chosen(2.0) == "dense"
    assert chosen(0.5, kernel_count=4) == "dense"
    assert chosen(0.5, device="gpu") == "dense"


def test_the_plan_tells_spikes_from_currents():
    assert plan.device_class(torch.randn(5, 2, 3)) == "cpu"
    assert plan.device_class((torch.rand(50, 4, 9) < 0.1).float()) == "cpu, spikes"
    assert plan.device_class(torch.zeros(0, 2, 3)) == "cpu"


@pytest.mark.parametrize("decay_input", [True, False])
def test_the_numba_operator_is_a_good_citizen_of_torch(decay_input: bool):
    current = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    v = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    inverse_tau = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    firing = [1.0, 0.0, False, True, False, 5.0]
    torch.library.opcheck(lif.lif, (current, v, inverse_tau, decay_input, firing))


@pytest.mark.parametrize("sigma", [0.0, 0.3, 0.7])
def test_without_numba_the_dense_kernel_gives_the_same(
    monkeypatch: pytest.MonkeyPatch, sigma: float
):
    inputs = problem(9, 2, 4, 3, 2, 10, "synaptic", 0, torch.float64)
    settings = {"sigma": sigma, "max_delay": 10, "interpolation": "gaussian"}
    compiled = values_and_gradients("taps", inputs, **settings)
    monkeypatch.setattr(taps, "taps_cpu", None)
    for a, b in zip(values_and_gradients("taps", inputs, **settings), compiled, strict=True):
        torch.testing.assert_close(a, b)


def test_equal_threads_give_equal_numbers():
    x, weight, delay = problem(40, 70, 9, 8, 1, 20, "synaptic", 0, torch.float32)
    settings = {"sigma": 0.5, "max_delay": 20, "interpolation": "gaussian"}
    first, second = (values_and_gradients("taps", [x, weight, delay], **settings) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_reference_is_the_loop_over_synapses_at_integer_delays():
    x, weight, _ = problem(12, 3, 4, 5, 2, 6, "synaptic", 0, torch.float64)
    delay = torch.randint(0, 7, weight.shape)
    expected = reference.integer_delays(x.detach(), weight.detach(), delay)
    for method in ("reference", "dense", "taps"):
        y = plan.delay_convolution(
            x,
            weight,
            delay.double(),
            sigma=0.0,
            max_delay=6,
            interpolation="gaussian",
            method=method,
        )
        torch.testing.assert_close(y, expected)


@pytest.mark.parametrize(("batch", "pre", "post"), [(16, 16, 128), (19, 37, 140), (3, 40, 70)])
@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_squares_of_samples_that_are_turned_into_lanes_equal_the_reference(
    batch: int, pre: int, post: int, sigma: float
):
    shape = {"time": 21, "batch": batch, "pre": pre, "post": post, "kernel_count": 1}
    inputs = problem(**shape, max_delay=5, granularity="synaptic", seed=1, dtype=torch.float64)
    settings = {"sigma": sigma, "max_delay": 5, "interpolation": "gaussian"}
    assert_same("taps", inputs, EXACT, **settings)


@pytest.mark.parametrize(("sigma", "counted"), [(0.0, False), (2.0, False), (0.5, True)])
def test_spikes_are_counted_where_the_choice_depends_on_them(
    sigma: float, counted: bool, monkeypatch: pytest.MonkeyPatch
):
    counts: list[int] = []

    def count(x: Tensor, steps: int) -> None:
        counts.append(steps)

    monkeypatch.setattr(plan.spikes, "per_block", count)
    x, (weight, delay) = torch.rand(100, 32, 256), torch.rand(2, 256, 256, 1)
    plan.method_for(x, weight, delay, sigma, 24, "gaussian")
    assert bool(counts) == counted
