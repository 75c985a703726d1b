"""Neurons as kernels give the numbers of the loops on the CPU, values and gradients."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from snn_delays.neurons import (
    AdaptiveNode,
    AdLIFNode,
    CAdLIFNode,
    LeakyReadout,
    LIFNode,
    ParametricLIFNode,
    PLIFNode,
    SEAdLIFNode,
    SiLIFNode,
)
from snn_delays.neurons.cubalif import CuBaLIFNode
from snn_delays.ops import lif
from snn_delays.ops.surrogates import SURROGATES, made

SIZE = 19
OF_SIZE = [AdaptiveNode, AdLIFNode, CAdLIFNode, SEAdLIFNode, SiLIFNode, PLIFNode]


def compare(
    kernel_device: Any,
    node: nn.Module,
    steps: int = 13,
    dtype: torch.dtype = torch.float64,
    spiking: bool = True,
    transposed: bool = False,
) -> None:
    """Output, state and all gradients, of a sequence in two pieces, on the CPU and as kernels."""
    x = torch.randn(steps, 7, SIZE, dtype=dtype) * 1.5 + 0.3
    if transposed:
        x = x.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    judge = torch.randn_like(x)
    node = node.to(dtype)
    found = []
    for there in (False, True):
        one, cut = copy.deepcopy(node), steps // 3
        if not there:
            found.append(_results(one, x, judge, cut, "cpu"))
        else:
            with kernel_device() as device:
                found.append(_results(one, x, judge, cut, device))
    close = 1e-11 if dtype == torch.float64 else 2e-5
    for key, cpu in found[0].items():
        torch.testing.assert_close(
            found[1][key], cpu, rtol=close, atol=close * max(float(cpu.abs().max()), 1.0), msg=key
        )
    if spiking:
        assert 0.05 < found[0]["out"].mean() < 0.95


def _results(node: Any, x: Tensor, judge: Tensor, cut: int, device: str) -> dict[str, Tensor]:
    node, leaf = node.to(device), x.detach().clone().to(device).requires_grad_()
    functional.reset_net(node)
    out = torch.cat([node(leaf[:cut]), node(leaf[cut:])]) if cut else node(leaf)
    states = {name: one for name, one in node._memories.items() if isinstance(one, Tensor)}
    loss = (out * judge.to(device)).sum() + sum(one.square().sum() for one in states.values())
    loss.backward()
    assert leaf.grad is not None
    found = {"out": out, "gradient of x": leaf.grad, **states}
    for name, parameter in node.named_parameters():
        assert parameter.grad is not None
        found[f"gradient of {name}"] = parameter.grad
    return {name: one.detach().cpu() for name, one in found.items()}


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize(
    ("v_reset", "detach", "decay"),
    itertools.product((0.0, -0.3, None), (True, False), (True, False)),
)
def test_lif(kernel_device, v_reset, detach, decay, surrogate):
    function = made("test", surrogate, 1.5)
    settings = {"v_reset": v_reset, "detach_reset": detach, "decay_input": decay, "step_mode": "m"}
    compare(kernel_device, LIFNode(tau=1.7, surrogate_function=function, **settings))


@pytest.mark.parametrize("node", [LIFNode(tau=1.7, step_mode="m"), CAdLIFNode(SIZE)])
@pytest.mark.parametrize("steps", [1, 2, 17])
def test_other_lengths_single_precision_and_strides(kernel_device, node, steps):
    compare(kernel_device, node, steps, torch.float32, spiking=False, transposed=True)


@pytest.mark.parametrize("v_reset", [0.1, None])
@pytest.mark.parametrize("store", [False, True])
def test_a_learned_time_constant(kernel_device, v_reset, store):
    settings = {"v_reset": v_reset, "store_v_seq": store, "step_mode": "m"}
    compare(kernel_device, ParametricLIFNode(1.7, **settings))


@pytest.mark.parametrize("make", OF_SIZE)
@pytest.mark.parametrize(
    ("surrogate", "v_reset", "detach"),
    [
        ("boxcar", None, False),
        ("atan", 0.0, False),
        ("slayer", -0.2, True),
        ("sigmoid", None, True),
    ],
)
def test_neurons_with_constants_of_their_own(kernel_device, make, surrogate, v_reset, detach):
    settings = {"surrogate": surrogate, "v_reset": v_reset, "detach_reset": detach}
    node = make(SIZE, v_threshold=0.15, **settings)
    if make is AdaptiveNode:
        node = AdaptiveNode(SIZE, a=(-0.5, 0.5), b=(0, 1), v_threshold=0.15, **settings)
    compare(kernel_device, node)


@pytest.mark.parametrize("feedback", ["before", "after"])
def test_both_feedbacks(kernel_device, feedback):
    settings = {"a": (-1, 1), "b": (0, 2), "surrogate": "triangle", "feedback": feedback}
    compare(kernel_device, AdaptiveNode(SIZE, v_threshold=0.3, v_reset=0.1, **settings))


def test_leaky_currents_and_readouts(kernel_device):
    compare(kernel_device, CuBaLIFNode(tau=1.6, tau_syn=2.5, step_mode="m"))
    compare(kernel_device, LeakyReadout(3.0), spiking=False)


def test_single_steps_are_the_whole_sequence(kernel_device):
    x = torch.randn(6, 3, SIZE, dtype=torch.float64)
    for node in (LIFNode(tau=1.7, step_mode="m"), SiLIFNode(SIZE).double(), LeakyReadout(2.5)):
        with kernel_device() as device:
            node, moved = node.to(device), x.to(device)
            whole = node(moved)
            functional.reset_net(node)
            node.step_mode = "s"
            torch.testing.assert_close(torch.stack([node(one) for one in moved]), whole)


@pytest.mark.parametrize(
    "make", [lambda: LIFNode(tau=1.7, step_mode="m"), lambda: LeakyReadout(3.0)]
)
def test_gradients_of_gradients(kernel_device, make: Callable[[], nn.Module]):
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    found = []

    def second(device: str) -> Tensor:
        leaf = x.to(device).requires_grad_()
        weight = torch.linspace(-1, 1, x.numel(), dtype=x.dtype, device=device).view(x.shape)
        y = make()(leaf * leaf)
        (first,) = torch.autograd.grad((y * weight).sum(), leaf, create_graph=True)
        return torch.autograd.grad(first.square().sum(), leaf)[0].cpu()

    found.append(second("cpu"))
    with kernel_device() as device:
        found.append(second(device))
    torch.testing.assert_close(*found)
    assert found[0].abs().max() > 0


def test_equal_runs_give_equal_gradients(kernel_device):
    node, x = CAdLIFNode(SIZE), torch.randn(40, 7, SIZE)
    found = []
    with kernel_device() as device:
        node, x = node.to(device), x.to(device)
        for _ in range(2):
            functional.reset_net(node)
            node.zero_grad()
            node(x).square().sum().backward()
            found.append(torch.cat([one.grad for one in node.parameters() if one.grad is not None]))
    assert torch.equal(*found)
    assert found[0].abs().max() > 0


def test_the_kernels_are_what_runs(kernel_device, monkeypatch):
    called = []
    with kernel_device() as device:
        plain = lif.LOOPS.callers[device]
        noted = lambda name, *args: (called.append(name), plain(name, *args))  # noqa: E731
        monkeypatch.setitem(lif.LOOPS.callers, device, noted)
        x = torch.randn(4, 2, SIZE, device=device, requires_grad=True)
        LIFNode(step_mode="m").to(device)(x).sum().backward()
    assert called == ["forward", "backward"]
