"""Depthwise convolution by its few taps, against ``F.conv2d`` with the dense kernel."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from snn_delays.errors import UsageError
from snn_delays.ops import depthwise

FORMATS = ["contiguous", "channels_last", "strided"]


def problem(
    batch: int,
    channels: int,
    size: tuple[int, int],
    extent: tuple[int, int],
    count: int,
    window: tuple[int, int],
    *,
    multiplier: int = 1,
    dtype: torch.dtype = torch.float64,
    form: str = "contiguous",
) -> tuple[Tensor, Tensor, Tensor]:
    """x, coefficients and first taps; windows at every corner of the extent among them."""
    x = torch.randn(batch, channels, *size, dtype=dtype)
    if form == "channels_last":
        x = x.to(memory_format=torch.channels_last)
    if form == "strided":
        x = torch.randn(batch, channels, size[0], 2 * size[1], dtype=dtype)[..., ::2]
    window = min(window[0], extent[0]), min(window[1], extent[1])
    outputs = channels * multiplier
    coefficients = torch.randn(outputs, count, *window, dtype=dtype)
    most = torch.tensor(extent) - torch.tensor(window)
    first = (torch.rand(outputs, count, 2) * (most + 1)).int()
    first[:, :1] = most.int()
    first[:, 1:2] = 0
    return x, coefficients, first


def expected(
    x: Tensor, coefficients: Tensor, first: Tensor, extent: Any, **settings: Any
) -> Tensor:
    """Every window set into a kernel of zeros, one by one."""
    outputs, count, rows, columns = coefficients.shape
    kernel = coefficients.new_zeros(outputs, 1, *extent)
    for output in range(outputs):
        for k in range(count):
            top, left = first[output, k].tolist()
            around = (left, extent[1] - left - columns, top, extent[0] - top - rows)
            one = F.pad(coefficients[output, k], around).expand(outputs, 1, *extent)
            here = torch.arange(outputs).view(-1, 1, 1, 1) == output
            kernel = kernel + torch.where(here, one, 0)
    return F.conv2d(x, kernel, groups=x.shape[1], **settings)


def compare(x: Tensor, coefficients: Tensor, first: Tensor, extent: Any, **settings: Any) -> None:
    limit = 1e-10 if x.dtype is torch.float64 else 1e-4
    bias = torch.randn(len(coefficients), dtype=x.dtype)
    exact = [one.double().requires_grad_() for one in (x, coefficients, bias)]
    truth = expected(exact[0], exact[1], first, extent, bias=exact[2], **settings)
    judge = torch.randn_like(truth)
    wanted = [truth, *torch.autograd.grad(truth, exact, judge)]
    leaves = [one.detach().requires_grad_() for one in (x, coefficients, bias)]
    y = depthwise.convolve(leaves[0], leaves[1], first, extent, leaves[2], **settings)
    found = [y, *torch.autograd.grad(y, leaves, judge.to(y.dtype))]
    for name, one, other in zip(("y", "x", "taps", "bias"), found, wanted, strict=True):
        assert one.dtype is x.dtype
        assert one.shape == other.shape, name
        scale = max(1.0, other.abs().max().item()) if other.numel() else 1.0
        torch.testing.assert_close(one.double(), other, rtol=0, atol=limit * scale, msg=name)


@pytest.mark.parametrize("threads", [1, 2])
@given(
    seed=st.integers(0, 2**16),
    batch=st.sampled_from([0, 1, 2, 5]),
    channels=st.sampled_from([1, 3, 40]),
    size=st.tuples(st.integers(1, 37), st.integers(1, 37)),
    extent=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    count=st.integers(1, 4),
    form=st.sampled_from(FORMATS),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_values_and_gradients(
    threads, seed, batch, channels, size, extent, window, count, form, dtype
):
    torch.manual_seed(seed)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        inputs = problem(batch, channels, size, extent, count, window, dtype=dtype, form=form)
        # Enough that one output is left, and up to more than the kernel reaches.
        padding = tuple(
            max((taps - have + 1) // 2, int(torch.randint(0, taps + 2, ())))
            for taps, have in zip(extent, size, strict=True)
        )
        compare(*inputs, extent, padding=padding)
    finally:
        torch.set_num_threads(before)


@given(
    seed=st.integers(0, 2**16),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    multiplier=st.integers(1, 3),
    window=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_strides_dilation_and_multiplier(seed, stride, dilation, multiplier, window):
    torch.manual_seed(seed)
    inputs = problem(2, 3, (19, 33), (5, 7), 3, window, multiplier=multiplier)
    compare(*inputs, (5, 7), padding=(3, 8), stride=stride, dilation=dilation)


@pytest.mark.parametrize("batch", [1, 9])
@pytest.mark.parametrize("settings", [{}, {"stride": (1, 2)}, {"dilation": (3, 4)}])
def test_one_axis(batch: int, settings: dict[str, Any]):
    inputs = problem(batch, 3, (1, 60), (1, 9), 3, (1, 2))
    compare(*inputs, (1, 9), padding=(0, 5), **settings)
    y = depthwise.convolve(*inputs, (1, 9), padding=(0, 5), **settings)
    assert y.is_contiguous()


def test_planes_larger_than_several_tiles_and_than_the_cache():
    inputs = problem(1, 2, (130, 259), (23, 41), 26, (2, 2), dtype=torch.float32)
    compare(*inputs, (23, 41), padding=(11, 20))


def test_many_elements_cost_no_more_than_the_whole_kernel(monkeypatch: pytest.MonkeyPatch):
    seen = []
    parts = depthwise._parts

    def note(coefficients: Tensor, *rest: Any) -> Any:
        seen.append(coefficients.shape[1:])
        return parts(coefficients, *rest)

    monkeypatch.setattr(depthwise, "_parts", note)
    for count, window in ((6, (6, 2, 2)), (8, (1, 5, 5))):
        compare(*problem(2, 3, (9, 11), (5, 5), count, (2, 2)), (5, 5), padding=(2, 2))
        assert seen.pop() == window


def test_no_elements_give_zeros():
    y = depthwise.convolve(
        torch.randn(2, 3, 5, 5), torch.randn(3, 0, 2, 2), torch.zeros(3, 0, 2).int(), (3, 3)
    )
    assert y.shape == (2, 3, 3, 3)
    assert y.count_nonzero() == 0


def test_the_order_in_memory_is_that_of_the_input():
    x, coefficients, first = problem(2, 3, (9, 11), (5, 5), 2, (2, 2), form="channels_last")
    x.requires_grad_()
    y = depthwise.convolve(x, coefficients, first, (5, 5), None, (1, 1), (2, 2))
    assert y.is_contiguous(memory_format=torch.channels_last)
    (gx,) = torch.autograd.grad(y.square().sum(), x)
    assert gx.is_contiguous(memory_format=torch.channels_last)


def test_thread_counts_change_nothing():
    x, coefficients, first = problem(5, 3, (40, 40), (9, 9), 4, (2, 2), dtype=torch.float32)
    leaves = x.requires_grad_(), coefficients.requires_grad_()
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            y = depthwise.convolve(x, coefficients, first, (9, 9), None, (1, 1), (4, 4))
            results.append([y, *torch.autograd.grad(y.square().sum(), leaves)])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_gradients_of_gradients():
    x, coefficients, first = problem(2, 2, (6, 7), (5, 5), 2, (2, 2))

    bias = torch.randn(2, dtype=torch.float64)

    def of(x: Tensor, coefficients: Tensor, bias: Tensor) -> Tensor:
        return depthwise.convolve(x, coefficients, first, (5, 5), bias, (1, 2), (2, 2))

    leaves = x.requires_grad_(), coefficients.requires_grad_(), bias.requires_grad_()
    assert torch.autograd.gradcheck(of, leaves)
    assert torch.autograd.gradgradcheck(of, leaves)


def test_gradients_come_in_batches_and_by_transforms():
    x, coefficients, first = problem(2, 2, (6, 7), (5, 5), 2, (2, 2))

    def loss(x: Tensor, coefficients: Tensor) -> Tensor:
        return (
            depthwise.convolve(x, coefficients, first, (5, 5), None, (1, 1), (2, 2))
            .square()
            .sum((0, 2, 3))
        )

    leaves = x.requires_grad_(), coefficients.requires_grad_()
    losses = loss(*leaves)
    together = torch.autograd.grad(losses, leaves, torch.eye(2).double(), is_grads_batched=True)
    by_func = torch.func.jacrev(loss, argnums=(0, 1))(*(leaf.detach() for leaf in leaves))
    for number, one in enumerate(loss(*leaves)):
        each = torch.autograd.grad(one, leaves, retain_graph=True)
        for a, b, c in zip(together, by_func, each, strict=True):
            torch.testing.assert_close(a[number], c)
            torch.testing.assert_close(b[number], c)


def test_a_plain_pass_takes_the_loops(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("computed in torch")

    monkeypatch.setattr(depthwise, "_product", refuse)
    x, coefficients, first = problem(2, 2, (6, 7), (5, 5), 2, (2, 2))
    y = depthwise.convolve(x.requires_grad_(), coefficients, first, (5, 5), None, (1, 1), (2, 2))
    y.sum().backward()
    with pytest.raises(AssertionError, match="in torch"):
        depthwise.convolve(x.half(), coefficients.half(), first, (5, 5), None, (1, 1), (2, 2))


def test_a_kernel_that_does_not_fit_is_refused():
    x, coefficients, first = problem(1, 2, (4, 30), (5, 5), 2, (2, 2))
    with pytest.raises(UsageError, match=r"larger than the input \(4, 30\) with padding \(0, 0\)"):
        depthwise.convolve(x, coefficients, first, (5, 5))
