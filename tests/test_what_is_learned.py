"""Weights, delays or widths that learn or do not, and losses of the delays themselves."""

from __future__ import annotations

import math
from typing import Any

import pytest
import small_runs
import torch
from small_runs import SETTINGS, network
from torch import nn

from snn_delays import DelayLayer, fit, parameter_groups, rounded, set_sigma
from snn_delays.cli.model import delay_snn
from snn_delays.data import SpikeData
from snn_delays.errors import UsageError
from snn_delays.interpolation import INTERPOLATIONS
from snn_delays.layers.networks import delay_layers, synapses_of
from snn_delays.layers.ternary import ternary_
from snn_delays.neurons import lif
from snn_delays.ops import reference
from snn_delays.regularisers import ClusteredDelays, SmallDelays
from snn_delays.schedules import Constant

data = small_runs.data


def test_ternary_weights_have_the_spread_of_their_initialisation():
    torch.manual_seed(0)
    weight = torch.empty(40, 30, 1)
    nn.init.kaiming_uniform_(weight.flatten(1), nonlinearity="relu")
    before = weight.clone()
    ternary_(weight)
    values, counts = weight.unique(return_counts=True)
    assert values[1] == 0
    assert values[0] == -values[2]
    assert counts[1] == 400
    torch.testing.assert_close(weight.square().mean(), before.square().mean())
    assert (weight * before >= 0).all()
    assert before[weight == 0].abs().max() <= before[weight != 0].abs().min()


def built(data: SpikeData, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    whole = {"delays": "learned", "weights": "learned", "hidden": [8], "max_delay": 6, "tau": 2.0}
    whole |= {"dropout": 0.0, "batch_norm": True, "granularity": "synaptic", "kernel_count": 1}
    whole |= {"interpolation": "gaussian", "sigma_learned": False, "bias": False, "tail": None}
    whole |= {"recurrent": None, "recurrent_max_delay": 24, "recurrent_dropout": 0.0}
    whole |= {"first_delays": None, "recurrent_first_delays": None}
    whole |= {"recurrent_layers": None}
    whole |= {"readout": "sum_softmax", "method": "auto", **settings}
    return delay_snn(
        n_channels=data.n_channels, n_classes=data.n_classes, neuron=lambda: lif(2.0), **whole
    )


@pytest.mark.parametrize("weights", ["learned", "fixed", "ternary"])
@pytest.mark.parametrize("delays", ["learned", "fixed", "none"])
def test_what_is_frozen_stays(data: SpikeData, weights: str, delays: str):
    if weights != "learned" and delays != "learned":
        with pytest.raises(UsageError, match="leaves no synapse anything to learn"):
            built(data, weights=weights, delays=delays)
        return
    net = built(data, weights=weights, delays=delays)
    before = {name: value.clone() for name, value in net.named_parameters()}
    fit(net, data, schedule=Constant(1.0), **{**SETTINGS, "epochs": 1})
    for name, value in net.named_parameters():
        frozen = {"weight": weights != "learned", "delay": delays == "fixed"}
        kind = name.rpartition(".")[2] if "synapses" in name else ""
        assert torch.equal(value, before[name]) == frozen.get(kind, False), name
    if weights == "ternary":
        assert all(len(one.weight.unique()) == 3 for one in synapses_of(net).values())


def test_only_what_is_known_is_learned(data: SpikeData):
    with pytest.raises(UsageError, match=r"model\.weights must be one of learned, fixed, ternary"):
        built(data, weights="binary")


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("mode", ["m", "s"])
def test_a_learned_width_has_its_gradient(interpolation: Any, mode: Any):
    torch.manual_seed(0)
    layer = DelayLayer(
        *(5, 4, 6), sigma=1.3, sigma_learned=True, interpolation=interpolation, step_mode=mode
    ).double()
    x, judge = torch.rand(9, 2, 5).double(), torch.randn(9, 2, 4).double()
    y = layer(x) if mode == "m" else torch.stack([layer(step) for step in x])
    (y * judge).sum().backward()
    sigma = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    same = reference.delay_convolution(x, layer.weight, layer.delay, sigma, 6, interpolation)
    (same * judge).sum().backward()
    assert layer.sigma == pytest.approx(1.3)
    torch.testing.assert_close(y, same)
    assert layer.log_sigma is not None
    torch.testing.assert_close(layer.log_sigma.grad, sigma.grad * sigma.detach())


def test_a_learned_width_is_left_alone_by_schedules_and_rounded_at_the_end(data: SpikeData):
    net = built(data, sigma_learned=True)
    first = delay_layers(net)[0]
    assert first.sigma == pytest.approx(3.27)
    set_sigma(net, 0.1)
    assert first.sigma == pytest.approx(3.27)
    undecayed = next(one for one in parameter_groups(net) if one["name"] == "undecayed")
    assert any(one is first.log_sigma for one in undecayed["params"])
    fit(net, data, schedule=Constant(1.0, integer_from=0.75), **SETTINGS)
    assert first.sigma != pytest.approx(3.27)
    assert first.rounding == "integer"
    net.eval()
    x = data.valid.collate(range(8)).spikes
    assert torch.equal(rounded(net)(x), net(x))
    again = built(data, sigma_learned=True).eval()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(x), net(x))
    with pytest.raises(UsageError, match="sigma must be a number of steps > 0, got 0"):
        first.sigma = 0
    assert math.isfinite(first.sigma)


@pytest.mark.parametrize("granularity", ["synaptic", "axonal", "dendritic"])
def test_small_delays_are_a_mean_over_synapses(granularity: Any):
    torch.manual_seed(0)
    net = nn.Sequential(DelayLayer(5, 4, 6, granularity=granularity), nn.Linear(4, 3))
    layer = delay_layers(net)[0]
    layer.set_mask(torch.rand(4, 5, 1) < 0.5)
    delay, weight = layer.delay.expand(4, 5, 1), layer.weight.detach().abs()
    torch.testing.assert_close(SmallDelays(0.5)(net), 0.5 * delay[layer.mask != 0].mean())
    found = SmallDelays(0.5, weighted=True)(net)
    torch.testing.assert_close(found, 0.5 * (delay * weight).sum() / weight.sum())
    found.backward()
    assert layer.weight.grad is None
    assert layer.delay.grad is not None
    assert SmallDelays(0.5)(nn.Linear(2, 2)) == 0


def test_regularisers_shape_delays_in_training(data: SpikeData):
    def trained(regulariser: Any) -> nn.Module:
        net = network(data)
        settings = {**SETTINGS, "epochs": 6, "delay_lr": 0.3}
        fit(net, data, schedule=Constant(1.0), regulariser=regulariser, **settings)
        return net

    small, few = SmallDelays(10.0), ClusteredDelays(10.0, 2)
    free = trained(None)
    assert small(trained(small)) < 0.7 * small(free)
    assert few(trained(few)) < 0.2 * few(free)


def test_a_regulariser_that_is_none_is_named():
    with pytest.raises(UsageError, match="SmallDelays: strength must be a number >= 0, got -1"):
        SmallDelays(-1)
    with pytest.raises(UsageError, match="ClusteredDelays: count must be a whole number >= 1"):
        ClusteredDelays(1.0, 0)
