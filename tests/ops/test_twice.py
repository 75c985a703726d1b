"""A gradient can be differentiated again: by every method, for spikes, and through the neurons."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from drawn_networks import delay_snn
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor

from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.neurons import LIFNode, ParametricLIFNode, lif
from snn_delays.ops import dense, lowrank, lowrank_blocks, plan, taps, twice
from snn_delays.ops import lif as lif_ops
from snn_delays.ops.twice import gradients


def penalty_gradients(y: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    """Gradients of y and of a penalty on the gradients of a loss of y."""
    probe = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y)
    loss = (y * probe).sum() + y.square().sum()
    first = torch.autograd.grad(loss, inputs, create_graph=True)
    penalty = sum(g.square().sum() for g in first)
    assert isinstance(penalty, Tensor)
    second = torch.autograd.grad(penalty, inputs)
    return [*first, *second]


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8 * b.abs().max().item())


@pytest.mark.parametrize("spikes", [True, False])
@pytest.mark.parametrize(
    ("method", "sigma"), [("lowrank", 3.0), ("dense", 3.0), ("dense", 0.5), ("taps", 0.5)]
)
def test_penalties_on_gradients_are_those_of_the_reference(
    method: str, sigma: float, spikes: bool
) -> None:
    x = torch.randn(13, 3, 4, dtype=torch.float64)
    if spikes:
        x *= torch.rand_like(x) < 0.15
    weight = torch.randn(64, 4, 2, dtype=torch.float64)
    delay = 6 * torch.rand(1, 4, 2, dtype=torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (x, weight, delay)]
    settings: dict[str, Any] = {"sigma": sigma, "max_delay": 6, "interpolation": "gaussian"}
    assert plan.method_for(x, weight, delay, **settings, method=method) == method
    found, expected = (
        penalty_gradients(plan.delay_convolution(*inputs, **settings, method=one), inputs)
        for one in (method, "reference")
    )
    assert all(g.abs().max() > 0 for g in expected)
    assert_same(found, expected)


@pytest.mark.parametrize(("method", "sigma"), [("lowrank", 3.0), ("dense", 3.0), ("taps", 0.5)])
def test_second_derivatives_are_difference_quotients_of_the_first(
    method: str, sigma: float
) -> None:
    x = torch.zeros(6, 1, 3, dtype=torch.float64)
    x[[0, 2, 3], 0, [0, 1, 2]] = 1.0  # few spikes
    weight = torch.randn(2, 3, 1, dtype=torch.float64)
    delay = 0.1 + 3.8 * torch.rand(2, 3, 1, dtype=torch.float64)

    def y(*inputs: Tensor) -> Tensor:
        return plan.delay_convolution(
            *inputs, sigma=sigma, max_delay=4, interpolation="gaussian", method=method
        )

    assert torch.autograd.gradgradcheck(
        y, [tensor.requires_grad_() for tensor in (x, weight, delay)], atol=1e-4
    )


SETTINGS = [
    dict(zip(("v_reset", "detach_reset", "decay_input", "surrogate_function"), case, strict=True))
    for case in itertools.product(
        (None, 0.0, 0.15),
        (True, False),
        (True, False),
        (surrogate.ATan(3.0), surrogate.Sigmoid(2.0)),
    )
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(
    ("theirs", "ours", "tau"),
    [(neuron.LIFNode, LIFNode, "tau"), (neuron.ParametricLIFNode, ParametricLIFNode, "init_tau")],
)
def test_penalties_through_neurons_are_spikingjellys(
    theirs: type, ours: type, tau: str, settings: dict[str, Any]
) -> None:
    x = 2 * torch.randn(9, 2, 5, dtype=torch.float64)
    results = []
    for kind in (theirs, ours):
        node = kind(**{tau: 1.7}, **settings, v_threshold=0.6, step_mode="m").double()
        leaf = x.clone().requires_grad_()
        spikes = torch.cat([node(leaf[:4]), node(leaf[4:])])
        # Of the potential it ends with, too.
        y = torch.cat([spikes.flatten(), node.v.flatten()])
        results.append([y, *penalty_gradients(y, [leaf, *node.parameters()])])
    assert results[0][0].mean() > 0
    assert_same(results[1], results[0])


def test_a_penalty_on_the_input_gradient_trains_a_network() -> None:
    net = delay_snn([6, 16, 3], 8, sigma=0.6)
    x = (torch.rand(12, 2, 6) < 0.2).float().requires_grad_()
    (g,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
    g.square().sum().backward()
    for parameter in net.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    assert net.delay_parameters()[0].grad.abs().max() > 0


def test_a_hessian_of_delays_is_symmetric() -> None:
    layer = DelayLayer(3, 2, 5, sigma=0.6).double()
    x = torch.randn(9, 2, 3, dtype=torch.float64)
    shape = layer.delay.shape

    def loss(delay: Tensor) -> Tensor:
        y = torch.func.functional_call(layer, {"delay": delay.view(shape)}, (x,))
        layer.reset()
        return y.square().sum()

    delay = layer.delay.detach().flatten()
    hessian = torch.autograd.functional.hessian(loss, delay)
    torch.testing.assert_close(hessian, hessian.T)
    torch.testing.assert_close(hessian, torch.func.hessian(loss)(delay))


def test_inputs_that_depend_on_each_other_are_told_apart() -> None:
    a = torch.randn(4, dtype=torch.float64, requires_grad=True)
    b = 2 * a
    g = torch.ones(4, dtype=torch.float64)
    ga, none, gb = gradients(lambda a, c, b: a * b * c, (a, g, b), (True, False, True), g)
    assert none is None
    assert torch.equal(ga, b)
    assert torch.equal(gb, a)


def test_a_plain_backward_takes_the_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow path is for those alone who ask for a graph."""

    def refuse(*_: object) -> None:
        raise AssertionError("computed in torch")

    for module in (dense, lowrank, lowrank_blocks, taps, twice, lif_ops):
        monkeypatch.setattr(module, "gradients", refuse)
    x = (torch.rand(20, 2, 6) < 0.1).float()
    for sigma, method in ((4.0, "lowrank"), (4.0, "dense"), (0.5, "taps")):
        layer = DelayLayer(6, 64, 8, sigma=sigma, method=method)
        node = ParametricLIFNode(init_tau=2.0, step_mode="m")
        node(lif(2.0)(layer(x))).sum().backward()
