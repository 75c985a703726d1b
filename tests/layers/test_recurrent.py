"""RecurrentDelayLayer: the scan is the loop, in values and gradients, in every step mode."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based import functional, neuron, surrogate
from torch import Tensor, nn

from snn_delays.errors import UsageError
from snn_delays.interpolation import INTERPOLATIONS
from snn_delays.layers import RecurrentDelayLayer, parameter_groups, rounded, set_sigma
from snn_delays.layers.granularity import GRANULARITIES
from snn_delays.network import DelaySNN
from snn_delays.neurons import LIFNode, ParametricLIFNode, lif
from snn_delays.neurons.cubalif import CuBaLIFNode
from snn_delays.neurons.plif import PLIFNode
from snn_delays.ops import recurrent_scan, reference

TIGHT: Any = {"rtol": 0.0, "atol": 1e-9}


@dataclass
class Case:
    layer: RecurrentDelayLayer
    x: Tensor
    upstream: Tensor


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A layer of any kind and currents for it, in float64; more samples than a group has lanes."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    size, steps, batch = draw(st.integers(1, 9)), draw(st.integers(1, 12)), draw(st.integers(1, 18))
    make = draw(st.sampled_from([LIFNode, ParametricLIFNode]))
    node = make(
        draw(st.sampled_from([1.5, 4.0])),
        decay_input=draw(st.booleans()),
        v_reset=draw(st.sampled_from([None, 0.0, -0.3])),
        detach_reset=draw(st.booleans()),
        surrogate_function=draw(st.sampled_from([surrogate.ATan(5.0), surrogate.Sigmoid(4.0)])),
        step_mode="m",
    )
    layer = RecurrentDelayLayer(
        size,
        node,
        draw(st.integers(1, 9)),
        dropout=draw(st.sampled_from([0.0, 0.4])),
        kernel_count=draw(st.integers(1, 3)),
        granularity=draw(st.sampled_from(RecurrentDelayLayer.granularities)),
        interpolation=draw(st.sampled_from(INTERPOLATIONS)),
        sigma=draw(st.sampled_from([None, 0.0, 0.5, 2.0])),
    ).double()
    shape = (steps, batch, size)
    x = 2 * torch.randn(shape, dtype=torch.float64)
    return Case(layer, x, torch.randn(shape, dtype=torch.float64))


def run(case: Case, method: Any, pieces: int = 1) -> list[Tensor]:
    """Spikes, v after them, and gradients to the input, weights, delays and the neurons."""
    layer = case.layer
    functional.reset_net(layer)
    torch.manual_seed(0)  # of dropout
    layer.method = method
    x = case.x.clone().requires_grad_()
    y = torch.cat([layer(piece) for piece in x.tensor_split(pieces) if len(piece)])
    v = layer.neuron.v  # pyright: ignore[reportOptionalMemberAccess]
    assert isinstance(v, Tensor)
    loss = (y * case.upstream).sum() + (v * case.upstream[0]).sum()
    gradients = torch.autograd.grad(loss, [x, *layer.parameters()], allow_unused=True)
    return [y.detach(), v.detach(), *(torch.zeros(1) if g is None else g for g in gradients)]


@given(cases())
def test_scan_is_the_loop(case: Case) -> None:
    expected = run(case, "reference")
    assert case.layer.method_used == "loop"
    found = run(case, "auto")
    assert case.layer.method_used == "scan"
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **TIGHT)


class Louder(LIFNode):
    """Neurons that make something of their currents before they take them."""

    def multi_step_forward(self, x_seq: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return super().multi_step_forward(2 * x_seq, *args, **kwargs)

    def single_step_forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return super().single_step_forward(2 * x, *args, **kwargs)


class LouderPLIF(PLIFNode):
    def multi_step_forward(self, x: Tensor) -> Tensor:
        return super().multi_step_forward(2 * x)


NOT_AS_LIF: dict[str, Any] = {
    "currents that leak": lambda: CuBaLIFNode(2.0, 3.0, step_mode="m"),
    "a method of one's own": lambda: Louder(2.0, decay_input=False, step_mode="m"),
    "one of a constant per neuron": lambda: LouderPLIF(5, 2.0),
}


@pytest.mark.parametrize("kind", NOT_AS_LIF)
def test_neurons_that_change_their_currents_first_do_so_in_a_loop_too(kind: str) -> None:
    torch.manual_seed(0)
    layer = RecurrentDelayLayer(5, NOT_AS_LIF[kind](), 4, sigma=0.0)
    x = torch.rand(12, 2, 5)
    with torch.no_grad():
        found = layer(x)
        node = layer.neuron
        functional.reset_net(layer)
        functional.set_step_mode(node, "s")
        limits = layer.weight, layer.delay, 0.0, 4, "gaussian", node
        expected = reference.recurrence(x, *limits)
    assert 0.1 < float(expected.mean()) < 0.9
    assert torch.equal(found, expected)


@given(cases())
def test_pieces_are_the_whole(case: Case) -> None:
    for one, other in zip(run(case, "auto", pieces=3), run(case, "auto"), strict=True):
        torch.testing.assert_close(one, other, **TIGHT)


@given(cases())
def test_the_loop_is_the_equation(case: Case) -> None:
    layer = case.layer.eval()
    functional.set_step_mode(layer.neuron, "s")
    functional.reset_net(layer)
    settings = (layer.sigma, layer.max_delay, layer.interpolation)
    expected = reference.recurrence(case.x, layer.weight, layer.delay, *settings, layer.neuron)
    torch.testing.assert_close(run(case, "reference")[0], expected.detach(), **TIGHT)


@given(cases())
def test_step_by_step_is_the_whole(case: Case) -> None:
    expected = run(case, "auto")[0]
    layer = case.layer
    for grad in (True, False):
        functional.reset_net(layer)
        torch.manual_seed(0)
        layer.step_mode = "s"
        with torch.set_grad_enabled(grad):
            found = torch.stack([layer(now) for now in case.x])
        layer.step_mode = "m"
        torch.testing.assert_close(found.detach(), expected, **TIGHT)


def test_wide_kernels_in_single_precision() -> None:
    """The basis of wide Gaussians, and the taps of narrow ones, at the size that they are for."""
    torch.manual_seed(0)
    for sigma in (0.5, 12.0):
        layer = RecurrentDelayLayer(40, lif(2.0), 24, sigma=sigma)
        x = torch.randn(50, 5, 40)
        spikes = layer(x)
        functional.reset_net(layer)
        layer.method = "reference"
        assert (spikes != layer(x)).float().mean() < 0.01  # where v meets the threshold


def test_a_spike_comes_back_after_its_delay() -> None:
    """One neuron that is driven once fires again each time its own spike comes back."""
    layer = RecurrentDelayLayer(1, lif(1.0001), 9, sigma=0.0)
    with torch.no_grad():
        layer.weight.fill_(1.5)
        layer.delay.fill_(4.0)
    x = torch.zeros(14, 1, 1)
    x[1] = 1.5
    assert layer(x).flatten().nonzero().flatten().tolist() == [1, 5, 9, 13]


def test_delays_stay_between_one_step_and_the_largest() -> None:
    layer = RecurrentDelayLayer(5, lif(2.0), 7, kernel_count=2)
    assert 1 <= layer.delay.min() <= layer.delay.max() <= 7
    with torch.no_grad():
        layer.delay[0] = -3.0
        layer.delay[1] = 30.0
    assert layer.integer_delays()[:2].unique().tolist() == [1, 7]
    layer.clamp_()
    assert (layer.delay.min().item(), layer.delay.max().item()) == (1.0, 7.0)
    torch.testing.assert_close(
        layer.weight.flatten(1) @ layer.weight.flatten(1).T, torch.eye(5), atol=1e-5, rtol=0
    )


def test_one_mask_a_sequence() -> None:
    layer = RecurrentDelayLayer(30, lif(2.0), 3, dropout=0.5)
    x = torch.randn(4, 2, 30)
    layer(x)
    first = layer.kept
    layer(x)
    assert first is layer.kept
    assert sorted(first.unique().tolist()) == [0.0, 2.0]  # pyright: ignore[reportOptionalMemberAccess]
    functional.reset_net(layer)
    layer(x)
    assert not torch.equal(first, layer.kept)  # pyright: ignore[reportArgumentType]
    functional.reset_net(layer.eval())
    layer(x)
    assert layer.kept is None


def test_rounded_and_set_like_other_layers() -> None:
    net = nn.Sequential(RecurrentDelayLayer(6, lif(2.0), 7))
    set_sigma(net, 1.25)
    assert net[0].sigma == 1.25
    assert [group["name"] for group in parameter_groups(net)] == ["weights", "delays"]
    before = net[0].delay.detach().clone()
    delays = rounded(net)[0].delay
    assert torch.equal(delays, before.round())
    assert torch.equal(net[0].delay, before)


EVERY = nn.modules.module


@pytest.mark.parametrize(
    "hook",
    [
        lambda node, note: node.register_forward_hook(note),
        lambda node, note: node.register_forward_pre_hook(note),
        lambda node, note: node.register_full_backward_hook(note),
        lambda node, note: node.register_full_backward_pre_hook(note),
        lambda node, note: EVERY.register_module_forward_hook(note),
        lambda node, note: EVERY.register_module_forward_pre_hook(note),
        lambda node, note: EVERY.register_module_full_backward_hook(note),
        lambda node, note: EVERY.register_module_full_backward_pre_hook(note),
    ],
)
@pytest.mark.parametrize("make", [partial(LIFNode, tau=2.0), partial(PLIFNode, 3)])
def test_hooks_on_the_neurons_are_called(make: Any, hook: Any) -> None:
    layer, seen = RecurrentDelayLayer(3, make(step_mode="m"), 4), []

    def note(called: nn.Module, *_: Any) -> None:
        seen.extend([called] if called is layer.neuron else [])

    handle = hook(layer.neuron, note)
    try:
        layer(torch.randn(6, 2, 3).requires_grad_()).sum().backward()
    finally:
        handle.remove()
    assert len(seen) == 6
    assert layer.method_used == "loop"
    functional.reset_net(layer)
    layer(torch.randn(6, 2, 3))
    assert layer.method_used == "scan"


def test_neurons_without_a_scan_take_the_loop() -> None:
    torch.manual_seed(0)
    layer = RecurrentDelayLayer(4, neuron.IFNode(step_mode="m"), 4)
    x = torch.randn(9, 2, 4)
    y = layer(x)
    assert layer.method_used == "loop"
    y.sum().backward()
    assert layer.delay.grad is not None


@pytest.mark.parametrize("recurrent", [None, "all", "second"])
def test_networks(recurrent: str | None) -> None:
    make = partial(RecurrentDelayLayer, max_delay=5, granularity="axonal")
    which = {None: None, "all": make, "second": [None, make]}[recurrent]
    net = DelaySNN([6, 5, 4, 3], neuron=partial(lif, tau=2.0), recurrent=which)
    layers = [isinstance(block.neuron, RecurrentDelayLayer) for block in net.blocks]
    assert layers == [recurrent == "all", recurrent is not None, False]
    x = (torch.rand(12, 2, 6) < 0.3).float()
    y = net.eval()(x)
    functional.set_step_mode(net, "s")
    functional.reset_net(net)
    silence = torch.zeros(net.tail, 2, 6)
    torch.testing.assert_close(torch.stack([net(now) for now in torch.cat([x, silence])]), y)
    assert len(net.delay_parameters()) == 3 + sum(layers)


@pytest.mark.usefixtures("unchecked")
def test_refused() -> None:
    with pytest.raises(UsageError, match=r"max_delay must be a whole number of steps >= 1, got 0"):
        RecurrentDelayLayer(3, lif(2.0), 0)
    with pytest.raises(UsageError, match=r"neuron must be a module of neurons such as lif"):
        RecurrentDelayLayer(3, lif, 4)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match=r"dropout must lie in \[0, 1\), got 1"):
        RecurrentDelayLayer(3, lif(2.0), 4, dropout=1.0)
    with pytest.raises(UsageError, match=r"recurrent must be one for all or one for each of 2"):
        DelaySNN([4, 3, 3, 2], recurrent=[None])
    layer = RecurrentDelayLayer(3, lif(2.0), 4)
    with pytest.raises(UsageError, match=r"RecurrentDelayLayer: input must be \[T, N, 3\]"):
        layer(torch.zeros(5, 2, 4))
    y = layer(torch.randn(5, 2, 3, requires_grad=True))
    with pytest.raises(UsageError, match=r"gradients of gradients .* method='reference'"):
        torch.autograd.grad(y.sum(), layer.weight, create_graph=True)
    assert set(GRANULARITIES) >= {"synaptic", "axonal", "dendritic"}
    assert recurrent_scan.recurrent_cpu is not None
