"""Sparse training: what callbacks hold, and that a resumed run equals one never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_runs
import torch
from small_runs import SCHEDULE, SETTINGS, Silent, network, timeless
from torch import Tensor, nn

from snn_delays import DelayLayer, fit
from snn_delays.callbacks import Checkpoints
from snn_delays.callbacks.callback import Callback, Training
from snn_delays.data import SpikeData
from snn_delays.deploy.integer import integer_table
from snn_delays.deploy.loading import LoadedNetwork
from snn_delays.errors import UsageError
from snn_delays.layers import sparsity
from snn_delays.layers.networks import delay_layers
from snn_delays.rewiring import DeepR, FewDelays, FixedMask, MagnitudePruning, RigL
from snn_delays.schedules import Constant

data = small_runs.data
EACH = {
    "fixed": FixedMask(0.2),
    "magnitude": MagnitudePruning(0.2, until=0.75),
    "deepr": DeepR(0.2, l1=1.0, temperature=1.0),
    "rigl": RigL(0.2, every=2),
    "few": FewDelays(3, "post", since=0.5),
}


class Masks(Callback):
    """Writes down the first layer's mask after every batch."""

    def __init__(self) -> None:
        self.found: list[Tensor] = []

    def on_batch(self, training: Training) -> None:
        self.found.append(sparsity.there(delay_layers(training.net)[0]))


def trained(net: nn.Module, data: SpikeData, *callbacks: Callback, **settings: Any) -> Any:
    whole = {**SETTINGS, "schedule": SCHEDULE, **settings}
    return fit(net, data, callbacks=list(callbacks), **whole)


@pytest.mark.parametrize("name", EACH)
def test_a_resumed_run_equals_one_that_was_never_stopped(
    name: str, data: SpikeData, tmp_path: Path
):
    whole, parts = network(data), network(data)
    rows = trained(whole, data, EACH[name], Checkpoints(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        trained(parts, data, EACH[name], Checkpoints(tmp_path / "parts"), Silent(stop_at=2))
    parts = network(data)
    go_on = Checkpoints(tmp_path / "parts", resume=True)
    assert timeless(trained(parts, data, EACH[name], go_on)) == timeless(rows)
    for key, value in whole.state_dict().items():
        assert torch.equal(parts.state_dict()[key], value), key
    other = Checkpoints(tmp_path / "parts", resume=True)
    with pytest.raises(UsageError, match=r"is not what the run was trained with: callbacks"):
        trained(network(data), data, FixedMask(0.3), other)


@pytest.mark.parametrize("name", ["fixed", "deepr", "rigl"])
def test_the_number_of_synapses_stays(name: str, data: SpikeData):
    net, masks = network(data), Masks()
    trained(net, data, EACH[name], masks)
    first = delay_layers(net)[0]
    assert {int(mask.sum()) for mask in masks.found} == {round(0.2 * first.weight.numel())}
    changed = sum(
        not torch.equal(*pair) for pair in zip(masks.found, masks.found[1:], strict=False)
    )
    assert {"fixed": changed == 0, "deepr": changed > 3, "rigl": 0 < changed < 6}[name]
    assert not first.weight[~sparsity.there(first)].any()
    assert not first.dense_gradient


def test_magnitude_pruning_follows_its_schedule(data: SpikeData):
    pruning, masks, net = EACH["magnitude"], Masks(), network(data)
    trained(net, data, pruning, masks)
    each = len(masks.found) // 4
    total = delay_layers(net)[0].weight.numel()
    expected = [1 - 0.8 * (1 - (1 - min(1, epoch / 3)) ** 3) for epoch in (1, 2, 3, 4)]
    assert [int(mask.sum()) for mask in masks.found[::each]] == [round(total * s) for s in expected]
    for before, after in zip(masks.found, masks.found[1:], strict=False):
        assert not (after & ~before).any()


def test_few_delays_stay_few_while_weights_learn(data: SpikeData):
    net = network(data)
    trained(net, data, EACH["few"])
    for layer in delay_layers(net):
        assert all(len(delay.unique()) <= 3 for delay in layer.delay.flatten(1))
        assert torch.equal(layer.delay, layer.delay.round())


def test_what_grows_is_forgotten_by_the_optimiser():
    """Its moments are 0, of weight and delay; the others' are not touched."""
    torch.manual_seed(0)
    layer = DelayLayer(6, 5, 4, sigma=0.5)
    net, optimizer = nn.Sequential(layer), torch.optim.Adam(layer.parameters(), lr=0.05)
    config = {"settings": {"seed": 1}}
    training = Training(net, 1, config, [optimizer], epoch=1, batches=9)
    rewiring = DeepR(0.5, l1=1.0)
    rewiring.on_start(training)
    for training.batch in range(1, 10):
        before = sparsity.there(layer)
        rewiring.on_batch_start(training)
        optimizer.zero_grad()
        layer(torch.rand(7, 3, 6)).square().sum().backward()
        optimizer.step()
        kept = {p: optimizer.state[p]["exp_avg"].clone() for p in (layer.weight, layer.delay)}
        rewiring.on_batch(training)
        grown = sparsity.there(layer) & ~before
        assert not layer.weight[grown].any()
        for parameter, average in kept.items():
            now = optimizer.state[parameter]
            assert not now["exp_avg"][grown].any()
            assert not now["exp_avg_sq"][grown].any()
            assert torch.equal(now["exp_avg"][~grown], average[~grown])
        if grown.any():
            return
    raise AssertionError("nothing has grown")


def test_what_cannot_be_rewired_is_named(data: SpikeData):
    plain = nn.Sequential(nn.Linear(data.n_channels, data.n_classes))
    with pytest.raises(UsageError, match="FixedMask: needs a network with delay layers"):
        trained(plain, data, FixedMask(0.5), readout="mean")
    frozen = network(data)
    for layer in delay_layers(frozen):
        layer.weight.requires_grad_(False)
    with pytest.raises(UsageError, match="RigL: grows synapses by the gradients"):
        trained(frozen, data, RigL(0.5))
    for density in (0, 1.5):
        with pytest.raises(UsageError, match=r"DeepR: density must lie in \(0, 1\]"):
            DeepR(density)
    with pytest.raises(UsageError, match="RigL: every must be a whole number of batches >= 1"):
        RigL(0.5, every=0)
    with pytest.raises(UsageError, match="FewDelays: per must be one of layer, post, pre"):
        FewDelays(3, per="neuron")


def test_an_exported_network_has_the_synapses_that_are_left(data: SpikeData):
    net = network(data)
    trained(net, data, FixedMask(0.1), epochs=1)
    left = [sparsity.there(layer) for layer in delay_layers(net)]
    table = integer_table(net, dt_ms=data.dt_ms)
    loaded = LoadedNetwork(table)
    for one, layer, mask in zip(table.projections, delay_layers(loaded), left, strict=True):
        post, pre, _ = mask.nonzero(as_tuple=True)
        assert set(zip(one.post, one.pre, strict=True)) == set(
            zip(post.tolist(), pre.tolist(), strict=True)
        )
        assert torch.equal(sparsity.there(layer), mask)
    trained(loaded, data, DeepR(0.1), epochs=1, schedule=Constant(0.0))
    assert integer_table(loaded, dt_ms=data.dt_ms).synapses <= table.synapses


def test_a_run_goes_on_with_the_mask_that_it_has(data: SpikeData):
    net = network(data)
    trained(net, data, FixedMask(0.1), epochs=1)
    before = sparsity.there(delay_layers(net)[0])
    trained(net, data, FixedMask(0.1), epochs=1, seed=4)
    assert torch.equal(sparsity.there(delay_layers(net)[0]), before)
