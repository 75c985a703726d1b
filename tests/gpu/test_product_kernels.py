"""Delay convolutions as kernels give the numbers of torch's, values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from snn_delays.ops import dense


def results(x: Tensor, kernel: Tensor, device: str) -> list[Tensor]:
    x, kernel = (one.detach().to(device).requires_grad_() for one in (x, kernel))
    y = dense.convolve(x, kernel)
    judge = torch.linspace(-1, 1, y.numel()).sin().view(y.shape).to(device)
    found = [y, *torch.autograd.grad((y * judge).sum(), (x, kernel))]
    return [one.detach().cpu() for one in found]


@pytest.mark.parametrize("allow_tf32", [False, True])
@pytest.mark.parametrize(
    ("steps", "batch", "pre", "post", "taps"),
    [(9, 3, 5, 4, 4), (3, 2, 16, 48, 6), (1, 1, 1, 1, 2), (20, 7, 33, 20, 5), (40, 5, 16, 130, 3)],
)
def test_products(kernel_device, monkeypatch, steps, batch, pre, post, taps, allow_tf32):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allow_tf32)
    x, kernel = torch.randn(steps, batch, pre), torch.randn(post, pre, taps)
    wanted = [one.float() for one in results(x.double(), kernel.double(), "cpu")]
    called = []
    with kernel_device() as device:
        plain = dense.LOOPS.callers[device]
        noted = lambda name, *args: (called.append(name), plain(name, *args))  # noqa: E731
        monkeypatch.setitem(dense.LOOPS.callers, device, noted)
        found = results(x, kernel, device)
    assert called == ["product", "product", "sums"]
    for one, right in zip(found, wanted, strict=True):
        error = (one - right).norm() / right.norm()
        assert error < (2e-3 if allow_tf32 else 3e-6)


def test_gradients_of_gradients_and_of_one_input(kernel_device, monkeypatch):
    # In TF32 a second derivative is off by 5e-4 of the largest, and small ones by percents.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    x, kernel = torch.randn(6, 2, 5), torch.randn(3, 5, 4)

    def second(device: str) -> Tensor:
        one, other = (part.to(device).requires_grad_() for part in (x, kernel))
        (gx,) = torch.autograd.grad(
            dense.convolve(one, other).square().sum(), one, create_graph=True
        )
        return torch.autograd.grad(gx.square().sum(), other)[0].cpu()

    wanted = second("cpu")
    with kernel_device() as device:
        torch.testing.assert_close(second(device), wanted, rtol=1e-4, atol=0.1)  # of 12,000
        leaf = kernel.to(device).requires_grad_()
        y = dense.convolve(x.to(device), leaf)
        assert torch.autograd.grad(y.sum(), leaf)[0].shape == kernel.shape
