"""DelayLayer as a good citizen of torch and SpikingJelly: copies, files, dtypes, compilers."""

from __future__ import annotations

import copy
import io
import shutil

import pytest
import torch
from drawn_networks import through_a_file, through_pickle
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn
from torch._dynamo.utils import counters

from snn_delays.interpolation import INTERPOLATIONS
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.layers.granularity import GRANULARITIES


def trained_layer(**options: object) -> tuple[DelayLayer, Tensor]:
    """A layer in the middle of training: gradients, and a memory that hangs on a graph."""
    delayed = DelayLayer(3, 4, 5, **options)
    x = torch.randn(7, 2, 3)
    # The input has a graph too, as when a layer below made it.
    delayed(x * torch.ones(1, requires_grad=True)).sum().backward(retain_graph=True)
    assert delayed.history is not None
    assert delayed.history.requires_grad
    return delayed, x


# --- copies and files -----------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.deepcopy, through_pickle, through_a_file])
@pytest.mark.parametrize("trained", [False, True])
def test_a_copy_is_equal_and_independent(duplicate: object, trained: bool) -> None:
    original = trained_layer(sigma=0.9)[0] if trained else DelayLayer(3, 4, 5, sigma=0.9)
    copied = duplicate(original)
    x = torch.randn(6, 2, 3)
    # Memory included: both go on from the same history.
    assert torch.equal(copied(x), original(x))
    assert copied.sigma == 0.9
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(0.7)
    copied.sigma = 3.0
    functional.reset_net(copied)
    assert original.sigma == 0.9
    assert original.history is not None
    assert not torch.equal(copied.weight, original.weight)
    # And the copy learns for itself.
    copied(x).sum().backward()
    assert copied.weight.grad is not None


def test_a_copy_leaves_the_graph_of_the_original_usable() -> None:
    original, x = trained_layer()
    copy.deepcopy(original)
    original(x).sum().backward()  # through the memory, too
    assert original.history.requires_grad


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_the_state_dict_goes_round_with_sigma(granularity: str) -> None:
    saved = DelayLayer(3, 4, 5, kernel_count=2, bias=True, granularity=granularity, sigma=0.81)
    file = io.BytesIO()
    torch.save(saved.state_dict(), file)
    file.seek(0)
    fresh = DelayLayer(3, 4, 5, kernel_count=2, bias=True, granularity=granularity)
    x = torch.randn(9, 2, 3)
    expected = saved(x)
    assert not torch.equal(fresh(x), expected)
    functional.reset_net(fresh)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert fresh.sigma == 0.81
    assert torch.equal(fresh(x), expected)


def test_the_memory_stays_out_of_the_state_dict() -> None:
    delayed, _ = trained_layer(bias=True)
    assert set(delayed.state_dict()) == {"weight", "delay", "bias", "_sigma"}


# --- dtypes ---------------------------------------------------------------------------------------


def test_to_float64_takes_the_memory_along() -> None:
    delayed, x = trained_layer()
    delayed.to(torch.float64)
    assert delayed.history.dtype == torch.float64
    y = delayed(x.double())
    assert y.dtype == torch.float64
    whole = copy.deepcopy(delayed)
    functional.reset_net(whole)
    torch.testing.assert_close(y, whole(torch.cat([x, x]).double())[7:])


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("mode", ["m", "s"])
def test_bf16_autocast_is_finite_and_close(interpolation: str, mode: str) -> None:
    delayed = DelayLayer(40, 30, 24, interpolation=interpolation, step_mode=mode, bias=True)
    spikes = (torch.rand(30, 4, 40) < 0.2).float()
    judge = torch.randn(30, 4, 30)

    def run(autocast: bool) -> tuple[Tensor, list[Tensor]]:
        functional.reset_net(delayed)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = delayed(spikes) if mode == "m" else torch.stack([delayed(s) for s in spikes])
        return y.float(), list(torch.autograd.grad((y * judge).sum(), list(delayed.parameters())))

    (exact, exact_grads), (rough, rough_grads) = run(False), run(True)
    # bfloat16 has 8 bits: 2^-8 per rounding, relative to the largest value.
    for got, expected in zip([rough, *rough_grads], [exact, *exact_grads], strict=True):
        assert got.isfinite().all()
        assert (got - expected).abs().max() < 0.03 * expected.abs().max()
    assert not torch.equal(rough, exact)  # autocast was really on


# --- among SpikingJelly's modules -----------------------------------------------------------------


def spiking_network() -> nn.Sequential:
    net = nn.Sequential(
        layer.Linear(5, 6),
        neuron.LIFNode(tau=2.0, detach_reset=True),
        DelayLayer(6, 7, 4, sigma=0.6),
        neuron.LIFNode(tau=2.0, detach_reset=True),
        DelayLayer(7, 3, 3, granularity="axonal"),
    )
    with torch.no_grad():
        net[0].weight.mul_(6)  # so that spikes arrive
        net[2].weight.mul_(3)
    return net


def test_between_spikingjelly_nodes_in_both_step_modes() -> None:
    net = spiking_network()
    x = torch.rand(15, 2, 5)
    functional.set_step_mode(net, "m")
    assert {module.step_mode for module in net} == {"m"}
    whole = net(x)
    assert whole.shape == (15, 2, 3)
    assert whole.std() > 0.01
    functional.reset_net(net)
    functional.set_step_mode(net, "s")
    torch.testing.assert_close(torch.stack([net(step) for step in x]), whole)
    functional.reset_net(net)
    functional.set_step_mode(net, "m")
    net(x).square().sum().backward()
    for delayed in (net[2], net[4]):
        assert delayed.delay.grad.abs().max() > 0
    # A second pass without reset goes through the graph of the first: cut it, as for neurons.
    functional.detach_net(net)
    net(x).sum().backward()


# --- torch.compile --------------------------------------------------------------------------------


@pytest.fixture
def _fresh_compiler() -> None:
    torch._dynamo.reset()
    counters.clear()


# As users run it: the annotation checks of the test suite are no code for a compiler.
compiled = pytest.mark.usefixtures("unchecked", "_fresh_compiler")
NO_COMPILER = not any(shutil.which(name) for name in ("g++", "clang++"))


@compiled
@pytest.mark.skipif(NO_COMPILER, reason="torch's inductor needs a C++ compiler")
def test_inductor_gives_the_same_values_and_gradients() -> None:
    delayed = DelayLayer(3, 4, 5, kernel_count=2)
    fast = torch.compile(delayed, fullgraph=True)
    x = torch.randn(8, 2, 3)
    results = []
    for each in (delayed, fast):
        functional.reset_net(delayed)
        y = each(x)
        grads = torch.autograd.grad(y.square().sum(), list(delayed.parameters()))
        results.append([y, *grads])
    for eager, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, eager, rtol=1e-4, atol=1e-5)


@compiled
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_schedule_of_sigma_does_not_recompile_without_end(interpolation: str) -> None:
    delayed = DelayLayer(3, 4, 5, interpolation=interpolation)
    fast = torch.compile(delayed, backend="aot_eager", fullgraph=True)
    x = torch.randn(8, 2, 3)
    for sigma in (12.27, 9.0, 7.5, 6.0, 4.4, 3.0, 2.2, 1.6, 1.0, 0.8, 0.6, 0.5, 0.0, 0.3):
        delayed.sigma = sigma
        outputs = []
        for each in (delayed, fast):
            functional.reset_net(delayed)
            outputs.append(each(x))
        torch.testing.assert_close(outputs[1], outputs[0])
        outputs[1].sum().backward()
    # One graph for the first σ, one for every other, one for 0; torch gives up at 8.
    assert counters["stats"]["unique_graphs"] <= 3


@compiled
def test_compiled_pieces_go_on_from_the_past() -> None:
    delayed = DelayLayer(3, 4, 5)
    fast = torch.compile(delayed, backend="aot_eager", fullgraph=True)
    x = torch.randn(40, 2, 3)
    whole = delayed(x)
    functional.reset_net(delayed)
    torch.testing.assert_close(torch.cat([fast(piece) for piece in x.split(8)]), whole)
    # One graph for silence, one for a history; no more however long it goes on.
    assert counters["stats"]["unique_graphs"] <= 2
