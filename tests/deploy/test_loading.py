"""A table read back as a network: the same numbers, the same table again, and it learns."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_networks import random_network, random_split
from drawn_tables import assert_same, random_table
from spikingjelly.activation_based import surrogate

from snn_delays.data import SpikeData
from snn_delays.deploy import compare, integer_table
from snn_delays.deploy.fixed_point import fixed_point
from snn_delays.deploy.loading import load_table, trainable
from snn_delays.deploy.quantise import quantised
from snn_delays.deploy.quantised_training import folded, make_quantisation_aware_
from snn_delays.errors import UsageError
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.losses import cross_entropy, score
from snn_delays.network import DelaySNN
from snn_delays.schedules import Constant
from snn_delays.table import from_nir, simulate, write_table
from snn_delays.training import fit

NAMES = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kernel_count": 3, "bias": True},
        {"granularity": "axonal", "v_reset": None},
        {"v_reset": -0.25, "v_threshold": 0.75, "readout": "max", "tail": 2},
        {"max_delay": 0, "tail": 3},
    ],
    ids=str,
)
def test_there_and_back(options: dict[str, Any], tmp_path: Path) -> None:
    table = integer_table(random_network(1, **options), dt_ms=5.0, class_names=NAMES)
    write_table(table, tmp_path / "delays.h5")
    net = load_table(tmp_path / "delays.h5")
    agreement = compare(table, net, random_split(2, 20))
    assert agreement.spikes_total > 100
    assert agreement.spikes_differing == agreement.predictions_differing == 0
    # A network has one range of delays for all layers, and no layer without delays.
    limit = net.max_delay
    again = integer_table(net, dt_ms=5.0, class_names=NAMES)
    assert_same(again.layers, tuple(replace(one, max_delay=limit) for one in table.layers))


@pytest.mark.parametrize("scale", ["layer", "neuron"])
def test_integer_weights_act_the_same(scale: Any) -> None:
    table = integer_table(random_network(3), dt_ms=10.0, class_names=NAMES)
    small = quantised(table, 6, scale=scale)
    split = random_split(4, 30)
    agreement = compare(small, trainable(small), split)
    assert agreement.spikes_total > 1000
    # Weights are rounded to float32 once more: a tie may tip.
    assert agreement.spikes_differing <= agreement.spikes_total / 1000
    # A fine membrane is nearly the float one.
    fine = fixed_point(small, decay_shift=20, weight_shift=16)
    agreement = compare(fine, trainable(fine), split)
    assert agreement.spikes_differing <= agreement.spikes_total / 100


def test_weights_learn_and_the_rest_stays() -> None:
    table = quantised(integer_table(random_network(5), dt_ms=10.0, class_names=NAMES), 3)
    net, batch = trainable(table), random_split(6, 16).collate(range(16))
    synapses = net.blocks[1].synapses
    absent = synapses.weight == 0
    assert 0 < int(absent.sum()) < absent.numel()
    delays = [delay.clone() for delay in net.delay_parameters()]
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = cross_entropy(score(net(batch.spikes), None, net.readout), batch.labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert bool((synapses.weight[absent] == 0).all())
    for now, before in zip(net.delay_parameters(), delays, strict=True):
        torch.testing.assert_close(now.detach(), before, rtol=0, atol=0)


def kept(net: DelaySNN) -> dict[str, torch.Tensor]:
    """Of each layer's weight, where it is not zero."""
    return {
        name: parameter.detach() != 0
        for name, parameter in net.named_parameters()
        if name.endswith(("synapses.weight", "weight.original"))
    }


def pickled(net: DelaySNN) -> DelaySNN:
    return pickle.loads(pickle.dumps(net))


def from_its_state(net: DelaySNN) -> DelaySNN:
    """Another network with the same synapses, whose weights come by way of the state dict."""
    copied = copy.deepcopy(net)
    with torch.no_grad():
        for block in copied.blocks:
            assert isinstance(block.synapses, DelayLayer)
            block.synapses.weight.fill_(1.0)
            assert block.synapses.present is not None
            block.synapses.present.fill_(True)
    copied.load_state_dict(net.state_dict())
    return copied


def on_the_grid(net: DelaySNN) -> DelaySNN:
    return make_quantisation_aware_(folded(net), 4, "neuron")


@pytest.mark.parametrize(
    "change",
    [copy.deepcopy, DelaySNN.rounded, folded, pickled, from_its_state, on_the_grid],
    ids=lambda change: change.__name__,
)
def test_absent_synapses_stay_absent_in_copies(change: Any) -> None:
    table = quantised(integer_table(random_network(5), dt_ms=10.0, class_names=NAMES), 3)
    net = change(trainable(table))
    present = kept(net)
    assert len(present) == 3
    assert all(0 < int(mask.sum()) < mask.numel() for mask in present.values())
    before = {name: net.get_parameter(name).detach().clone() for name in present}
    split = random_split(6, 16)
    rows = fit(
        net,
        SpikeData(split, split, split, NAMES, 10.0, "official", 0),
        schedule=Constant(start=0.0),
        **{"epochs": 6, "weight_lr": 0.05, "weight_decay": 1e-3, "accelerator": "cpu"},
    )
    assert rows[-1]["loss"] < rows[0]["loss"]
    for name, mask in present.items():
        now = net.get_parameter(name).detach()
        assert bool((now[~mask] == 0).all()), name
        moved = now[mask] != before[name][mask]
        assert float(moved.float().mean()) > 0.5, name
    again = integer_table(net, dt_ms=10.0, class_names=NAMES)
    for one, other in zip(again.layers, table.layers, strict=True):
        pairs = {(*pair,) for pair in zip(other.synapses.pre, other.synapses.post, strict=True)}
        assert {*zip(one.synapses.pre, one.synapses.post, strict=True)} <= pairs


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("beta", [0.0, 1.0, 1e-6, 1 - 2**-24], ids=str)
def test_membranes_that_keep_nothing_or_all(beta: float, reset: str) -> None:
    drawn = integer_table(
        random_network(1, v_reset=None if reset == "soft" else -0.25),
        dt_ms=5.0,
        class_names=NAMES,
    )
    layers = tuple(
        replace(one, neuron=replace(one.neuron, beta=np.full(one.n_post, beta, np.float32)))
        for one in drawn.layers
    )
    table = replace(drawn, layers=layers)
    net = trainable(table)
    split = random_split(2, 20)
    agreement = compare(table, net, split)
    assert agreement.spikes_total > 100
    assert agreement.spikes_differing <= agreement.spikes_total / 1000
    again = integer_table(net, dt_ms=5.0, class_names=NAMES)
    assert_same(*(tuple(one.neuron for one in each.layers) for each in (again, table)))
    # SpikingJelly's own way, which GPUs take, obeys the same equation.
    batch = split.collate(range(20)).spikes
    with torch.no_grad():
        expected = net(batch)
        for block in net.blocks[:-1]:
            block.neuron.surrogate_function = surrogate.PiecewiseQuadratic()
        assert float((net(batch) - expected).abs().max()) < 1e-3
    # And it learns.
    loss = cross_entropy(score(net(batch), None, net.readout), split.labels)
    loss.backward()
    for parameter in net.parameters():
        assert not parameter.requires_grad or bool(parameter.grad.isfinite().all())


def test_a_spiking_end_that_counts() -> None:
    """A graph that ends in spikes gets a readout that keeps nothing (beta 0)."""
    nir = pytest.importorskip("nir")
    weight, one = np.array([[0.7, -0.2], [0.3, 0.9]], np.float32), np.ones(2, np.float32)
    cells = nir.LIF(tau=0.005 * one, r=5 * one, v_leak=0 * one, v_threshold=one, v_reset=0 * one)
    table = from_nir(nir.NIRGraph.from_list(nir.Linear(weight), cells), dt_ms=1.0)
    assert not table.layers[-1].neuron.beta.any()
    x = torch.rand(30, 3, 2).round()
    with torch.no_grad():
        v, fired = trainable(table)(x, return_spikes=True)
    assert 0 < int(fired[0].sum()) < fired[0].numel()
    torch.testing.assert_close(v, fired[0])
    for sample in range(3):
        expected = simulate(table, x[:, sample].numpy().astype(np.int64)).potentials
        np.testing.assert_array_equal(v[:, sample], expected)


def test_neurons_that_differ_are_refused() -> None:
    with pytest.raises(UsageError, match=r"load_table: layer 0: beta must be the same .* TableN"):
        trainable(random_table(7, (4, 5, 3)))


@pytest.mark.parametrize("integer", [False, True])
def test_resets_in_proportion_to_thresholds(integer: bool) -> None:
    """… as far as rounding to float32, or to whole numbers, lets them be."""
    net = random_network(4, v_reset=-0.2, batch_norm=False)
    table = quantised(integer_table(net, dt_ms=10.0, class_names=NAMES), 4, scale="neuron")
    table = fixed_point(table) if integer else table
    reset = table.layers[0].neuron.v_reset / table.layers[0].neuron.v_threshold
    assert np.ptp(reset) > 0
    assert trainable(table).blocks[0].neuron.v_reset == pytest.approx(-0.2, abs=2e-3)


def test_thresholds_below_zero_are_refused_where_they_differ() -> None:
    table = integer_table(random_network(4), dt_ms=10.0, class_names=NAMES)
    layer = table.layers[0]
    threshold = np.where(np.arange(layer.n_post) == 2, -1, 1).astype(np.float32)
    odd = replace(layer, neuron=replace(layer.neuron, v_threshold=threshold))
    with pytest.raises(UsageError, match="v_threshold, where it is not above 0, must be the same"):
        trainable(replace(table, layers=(odd, *table.layers[1:])))


def test_without_a_file() -> None:
    with pytest.raises(UsageError, match="no such delay table"):
        load_table("nowhere/delays.h5")


def test_numpy_stays_out_of_the_network() -> None:
    net = trainable(integer_table(random_network(8), dt_ms=10.0, class_names=NAMES))
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    assert isinstance(net.blocks[0].neuron.v_threshold, float)
    assert not isinstance(net.blocks[0].neuron.v_threshold, np.floating)
