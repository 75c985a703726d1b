"""Half precision: the weights' is the result's, by any method, width, mode, and under autocast."""

from __future__ import annotations

import itertools

import pytest
import torch
from drawn_networks import delay_snn
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from snn_delays import losses
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.neurons import LeakyReadout, LIFNode, ParametricLIFNode, lif
from snn_delays.ops.plan import METHODS

HALVES = (torch.float16, torch.bfloat16)
# A few roundings, relative to the largest number; a basis of low rank is off by one in a thousand.
LIMIT = {torch.float16: 3e-3, torch.bfloat16: 1e-2}
WAYS = [
    (method, interpolation, sigma, mode)
    for method, interpolation, sigma, mode in itertools.product(
        METHODS, ("gaussian", "triangle"), (5.27, 0.5, 1e-3, 0.0), "ms"
    )
    if not (method == "lowrank" and interpolation == "triangle")
    and not (method != "auto" and mode == "s")  # where there is but one
]


def run(net: nn.Module, x: Tensor, mode: str) -> Tensor:
    functional.reset_net(net)
    functional.set_step_mode(net, mode)
    return net(x) if mode == "m" else torch.stack([net(step) for step in x])


def spikes(*shape: int) -> Tensor:
    return (torch.rand(shape) < 0.2).float()


def assert_close(found: list[Tensor], expected: list[Tensor], limit: float) -> None:
    largest = 0.0  # a delay's gradient is a difference of terms as large as a weight's
    for got, exact in zip(found, expected, strict=True):
        largest = max(largest, exact.abs().max().item())
        assert got.isfinite().all()
        assert (got.float() - exact).abs().max() <= limit * largest


def values_and_gradients(layer: DelayLayer, x: Tensor, mode: str) -> tuple[list[Tensor], Tensor]:
    y = run(layer, x, mode)
    probe = torch.cos(torch.arange(float(y.numel()))).view_as(y)
    learned = [layer.weight] if layer.sigma == 0 else [layer.weight, layer.delay]
    return [y, *torch.autograd.grad((y.float() * probe).sum(), learned)], y


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(("method", "interpolation", "sigma", "mode"), WAYS)
def test_a_layer_in_half_precision_is_the_layer(
    method: str, interpolation: str, sigma: float, mode: str, dtype: torch.dtype
) -> None:
    layer = DelayLayer(
        8, 6, 10, method=method, interpolation=interpolation, sigma=sigma, bias=True
    ).to(dtype)
    assert layer.sigma == sigma
    exact = DelayLayer(8, 6, 10, interpolation=interpolation, sigma=sigma, bias=True)
    with torch.no_grad():
        for mine, theirs in zip(exact.parameters(), layer.parameters(), strict=True):
            mine.copy_(theirs)
    x = spikes(14, 2, 8)
    found, y = values_and_gradients(layer, x.to(dtype), mode)
    assert y.dtype == dtype
    expected, _ = values_and_gradients(exact, x, "m")
    # At σ = 0.001 a delay's gradient is all or nothing, as rounding has it.
    last = 2 if 0 < sigma < 0.1 else None
    assert_close(found[:1], expected[:1], LIMIT[dtype])
    # Step by step, torch adds the gradients of fourteen steps up in half precision.
    limit = LIMIT[dtype] * (1 if mode == "m" else 4)
    assert_close(found[1:last], expected[1:last], limit)
    with torch.no_grad():
        assert torch.equal(run(layer, x.to(dtype), mode), y)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(("method", "interpolation", "sigma", "mode"), WAYS)
def test_under_autocast_products_alone_are_in_half_precision(
    method: str, interpolation: str, sigma: float, mode: str, dtype: torch.dtype
) -> None:
    layer = DelayLayer(8, 6, 10, method=method, interpolation=interpolation, sigma=sigma)
    x = spikes(14, 2, 8)
    expected, _ = values_and_gradients(layer, x, "m")
    for grad in (True, False):
        for given in (x, x.to(dtype)):  # as another layer under autocast may hand it over
            with torch.autocast("cpu", dtype), torch.set_grad_enabled(grad):
                y = run(layer, given, mode)
            assert y.dtype == torch.float32
            assert_close([y], expected[:1], LIMIT[dtype])


# --- neurons --------------------------------------------------------------------------------------

# Numbers that half precision holds exactly, the potentials they lead to as well.
CURRENTS = torch.randint(-4, 8, (4, 3, 5), generator=torch.Generator().manual_seed(0)) / 4
NODES = {
    "hard reset": lambda: lif(2.0),
    "soft reset": lambda: lif(2.0, v_reset=None),
    "readout": lambda: LeakyReadout(2.0),
    "input decay": lambda: LIFNode(tau=2.0),
    "learnable": lambda: ParametricLIFNode(init_tau=2.0, decay_input=False),
}


@pytest.mark.parametrize("mode", ["m", "s"])
@pytest.mark.parametrize("dtype", [*HALVES, torch.float64])
@pytest.mark.parametrize("node", NODES)
def test_neurons_have_the_precision_of_their_input(
    node: str, dtype: torch.dtype, mode: str
) -> None:
    expected = run(NODES[node](), CURRENTS, "m")
    half = torch.bfloat16 if dtype == torch.float64 else dtype
    for autocast in (False, True):
        for grad in (True, False):
            neuron = NODES[node]().to(dtype)
            x = CURRENTS.to(dtype).requires_grad_()
            with (
                torch.autocast("cpu", half, enabled=autocast),
                torch.set_grad_enabled(grad),
            ):
                y = run(neuron, x, mode)
            assert y.dtype == neuron.v.dtype == dtype
            assert torch.equal(y.float(), expected)
            if grad:
                y.sum().backward()
                assert x.grad is not None
                assert x.grad.dtype == dtype
                assert x.grad.isfinite().all()


# --- networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["m", "s"])
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("sigma", [12.27, 0.5, 0.0])
@pytest.mark.parametrize("training", [True, False])
def test_a_network_in_half_precision_runs_and_learns(
    sigma: float, dtype: torch.dtype, mode: str, training: bool
) -> None:
    net = delay_snn([8, 7, 4], 10, sigma=sigma, bias=True).to(dtype).train(training)
    v = run(net, spikes(14, 2, 8).to(dtype), mode)
    assert v.dtype == dtype
    assert v.isfinite().all()
    scores = losses.score(v, None, net.readout)
    losses.cross_entropy(scores, torch.tensor([0, 1])).backward()
    for name, parameter in net.named_parameters():
        resting = sigma == 0 and name.endswith("delay")
        assert resting or parameter.grad is not None
        assert parameter.grad is None or parameter.grad.isfinite().all()
    assert run(net.rounded(), spikes(14, 2, 8).to(dtype), mode).dtype == dtype


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("grad", [True, False])
def test_autocast_gives_one_precision_in_both_step_modes(dtype: torch.dtype, grad: bool) -> None:
    net = delay_snn([8, 7, 4], 10, sigma=0.5).eval()
    with torch.autocast("cpu", dtype), torch.set_grad_enabled(grad):
        whole, steps = (run(net, spikes(14, 2, 8), mode) for mode in "ms")
    assert whole.dtype == steps.dtype == torch.float32


@pytest.mark.parametrize("readout", losses.READOUTS)
@pytest.mark.parametrize("dtype", HALVES)
def test_scores_of_half_potentials_are_told_apart(readout: str, dtype: torch.dtype) -> None:
    v = torch.randn(300, 4, 6).to(dtype)
    lengths = torch.tensor([300, 200, 100, 1])
    scores = losses.score(v, lengths, readout)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, losses.score(v.float(), lengths, readout))
