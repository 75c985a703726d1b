"""Training on the chip's grid: forward as deployed, backward as if nothing were rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from drawn_networks import random_network, random_split
from torch import nn

from snn_delays.errors import UsageError
from snn_delays.export import compare, integer_table
from snn_delays.export.quantise import quantised
from snn_delays.export.quantised_training import (
    QuantisedWeight,
    StraightThroughDelayLayer,
    folded,
    make_quantisation_aware_,
    trained_scales,
)
from snn_delays.export.table_network import TableNetwork
from snn_delays.layers import DelayLayer, clamp_delays_
from snn_delays.losses import cross_entropy, score
from snn_delays.network import DelaySNN

NAMES = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    "options",
    [{}, {"kernel_count": 2, "bias": True}, {"granularity": "axonal"}, {"max_delay": 0, "tail": 3}],
    ids=str,
)
def test_folding_changes_nothing(options: dict[str, Any]) -> None:
    net = random_network(1, **options)
    twin, x = folded(net), random_split(2, 8).collate(range(8)).spikes
    assert not any(isinstance(module, nn.BatchNorm1d) for module in twin.modules())
    with torch.no_grad():
        torch.testing.assert_close(twin(x), net(x), rtol=1e-4, atol=1e-4)
    # A network that was built without normalisation takes its parameters.
    fresh = random_network(9, **options | {"bias": True, "batch_norm": False})
    fresh.load_state_dict(twin.state_dict())


def test_folding_into_a_smaller_range() -> None:
    twin = folded(random_network(1), max_delay=3)
    assert twin.max_delay == 3
    assert twin.tail == random_network(1).tail
    assert 2.9 < max(float(delay.detach().max()) for delay in twin.delay_parameters()) <= 3
    for wrong in (0, 8):
        with pytest.raises(UsageError, match=r"finetune.max_delay must be from 1 to .* 7 steps"):
            folded(random_network(1), max_delay=wrong)


@pytest.mark.parametrize("by_neuron", [False, True])
@pytest.mark.parametrize("levels", [1, 7])
def test_weights_on_their_grid(levels: int, by_neuron: bool) -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 6, 2) * torch.linspace(0.1, 1, 5)[:, None, None]
    module = QuantisedWeight(weight, levels, by_neuron=by_neuron)
    assert module.log_scale.shape == ((5, 1, 1) if by_neuron else (1, 1, 1))
    number = module(weight) / module.log_scale.exp()
    torch.testing.assert_close(number, number.round(), atol=1e-4, rtol=0)
    assert int(number.abs().max().round()) == levels


def test_gradients_pass_straight_through() -> None:
    """Inside the range dw = 1 and ds = n − w / s; beyond it dw = 0 and ds = ±L."""
    module = QuantisedWeight(torch.ones(1, 4), 3, by_neuron=False)
    module.damping = 1.0
    scale = 0.2
    with torch.no_grad():
        module.log_scale.fill_(np.log(scale))
    weight = torch.tensor([[0.31, -0.45, 2.0, -2.0]], requires_grad=True)
    for index, slope in enumerate((2 - 0.31 / scale, -2 + 0.45 / scale, 3.0, -3.0)):
        weight.grad = module.log_scale.grad = None
        module(weight)[0, index].backward()
        inside = torch.zeros(1, 4)
        inside[0, index] = float(index < 2)
        torch.testing.assert_close(weight.grad, inside)
        torch.testing.assert_close(
            float(module.log_scale.grad) / scale, slope, rtol=1e-4, atol=1e-4
        )


def test_delays_act_rounded_and_move_by_the_kernel() -> None:
    torch.manual_seed(1)
    soft = DelayLayer(5, 4, max_delay=6, sigma=0.7, bias=True)
    hard = StraightThroughDelayLayer.of(soft)
    x, out = torch.rand(12, 3, 5), torch.randn(12, 3, 4)
    torch.testing.assert_close(hard(x), soft.rounded()(x))

    def gradients(layer: DelayLayer) -> list[Any]:
        inputs = x.clone().requires_grad_()
        layer.history = None
        (layer(inputs) * out).sum().backward()
        found = [inputs.grad, layer.weight.grad, layer.delay.grad]
        layer.zero_grad()
        return found

    x_hard, weight_hard, delay_hard = gradients(hard)
    _, _, delay_soft = gradients(soft)
    rounded = soft.rounded()
    rounded.delay.requires_grad_(True)
    x_rounded, weight_rounded, _ = gradients(rounded)
    torch.testing.assert_close(delay_hard, delay_soft)
    torch.testing.assert_close(x_hard, x_rounded)
    torch.testing.assert_close(weight_hard, weight_rounded)
    assert float(delay_hard.abs().min()) > 0


@pytest.mark.parametrize("scale", ["layer", "neuron"])
@pytest.mark.parametrize("options", [{}, {"granularity": "dendritic"}, {"max_delay": 0, "tail": 3}])
def test_learns_and_becomes_the_same_table(scale: Any, options: dict[str, Any]) -> None:
    net = make_quantisation_aware_(folded(random_network(3, **options)), 3, scale)
    split = random_split(4, 24)
    batch = split.collate(range(24))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = cross_entropy(score(net(batch.spikes), None, net.readout), batch.labels)
        loss.backward()
        optimizer.step()
        clamp_delays_(net)
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    net.eval()
    table = integer_table(net, dt_ms=10.0, class_names=NAMES)
    scales = trained_scales(net)
    assert scales is not None
    assert [one.size for one in scales] == ([16, 14, 1] if scale == "neuron" else [1, 1, 1])
    small = quantised(table, 3, scales=scales)
    assert {int(n) for layer in small.layers for n in layer.synapses.weight} <= set(range(-3, 4))
    for network in (net.rounded(), TableNetwork(small)):
        agreement = compare(small, network, split)
        assert agreement.spikes_total > 300
        assert agreement.spikes_differing <= agreement.spikes_total / 500


def test_checkpoints_fit() -> None:
    net = make_quantisation_aware_(folded(random_network(5)), 4, "neuron")
    options = {"max_delay": 7, "tau": 2.0, "batch_norm": False, "bias": True}
    fresh = make_quantisation_aware_(DelaySNN((12, 16, 14, 4), **options), 4, "neuron").eval()
    fresh.load_state_dict(net.state_dict())
    x = random_split(6, 4).collate(range(4)).spikes
    torch.testing.assert_close(fresh(x), net(x))


def test_refused() -> None:
    with pytest.raises(UsageError, match="must be folded before"):
        make_quantisation_aware_(random_network(0), 4)
    with pytest.raises(UsageError, match="bits must be a whole number from 2"):
        make_quantisation_aware_(folded(random_network(0)), 1)
    assert trained_scales(random_network(0)) is None
