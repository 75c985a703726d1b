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
from spikingjelly.activation_based import functional, surrogate

from snn_delays.data import SpikeData
from snn_delays.deploy.fixed_point import fixed_point
from snn_delays.deploy.integer import integer_table
from snn_delays.deploy.loading import LoadedNetwork, load_table
from snn_delays.deploy.quantise import quantised
from snn_delays.deploy.quantised_training import folded, make_quantisation_aware_
from snn_delays.deploy.verify import compare
from snn_delays.errors import UsageError
from snn_delays.layers.networks import delay_layers, rounded
from snn_delays.losses import cross_entropy, score
from snn_delays.schedules import Constant
from snn_delays.table.equality import same_network
from snn_delays.table.hdf5 import write_table
from snn_delays.table.population import Population
from snn_delays.table.simulator import simulate
from snn_delays.training import fit

NAMES = ("a", "b", "c", "d")


def with_values(population: Population, **values: Any) -> Population:
    """The population with these numbers for all its neurons, or one each, where it has them."""
    changed = {
        name: np.broadcast_to(np.float32(value), (population.size,)).copy()
        for name, value in values.items()
        if name in population.parameters
    }
    return replace(population, parameters={**population.parameters, **changed})


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
    assert_same(integer_table(net, dt_ms=5.0, class_names=NAMES), table)


@pytest.mark.parametrize("scale", ["population", "neuron"])
def test_integer_weights_act_the_same(scale: Any) -> None:
    table = integer_table(random_network(3), dt_ms=10.0, class_names=NAMES)
    small = quantised(table, 6, scale=scale)
    split = random_split(4, 30)
    agreement = compare(small, LoadedNetwork(small), split)
    assert agreement.spikes_total > 1000
    # Weights are rounded to float32 once more: a tie may tip.
    assert agreement.spikes_differing <= agreement.spikes_total / 1000
    # A fine membrane is nearly the float one.
    fine = fixed_point(small, beta_shift=20, weight_shift=16)
    agreement = compare(fine, LoadedNetwork(fine), split)
    assert agreement.spikes_differing <= agreement.spikes_total / 100


def test_weights_learn_and_the_rest_stays() -> None:
    table = quantised(integer_table(random_network(5), dt_ms=10.0, class_names=NAMES), 3)
    net, batch = LoadedNetwork(table), random_split(6, 16).collate(range(16))
    synapses = net.synapses["hidden0_to_hidden1"]
    absent = synapses.weight == 0
    assert 0 < int(absent.sum()) < absent.numel()
    delays = [layer.delay.clone() for layer in delay_layers(net)]
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
    for layer, before in zip(delay_layers(net), delays, strict=True):
        torch.testing.assert_close(layer.delay, before, rtol=0, atol=0)


def kept(net: LoadedNetwork) -> dict[str, torch.Tensor]:
    """Of each layer's weight, where it is not zero."""
    return {
        name: parameter.detach() != 0
        for name, parameter in net.named_parameters()
        if name.endswith((".weight", "weight.original"))
    }


def pickled(net: LoadedNetwork) -> LoadedNetwork:
    return pickle.loads(pickle.dumps(net))


def from_its_state(net: LoadedNetwork) -> LoadedNetwork:
    """Another network with the same synapses, whose weights come by way of the state dict."""
    copied = copy.deepcopy(net)
    with torch.no_grad():
        for layer in delay_layers(copied):
            layer.weight.fill_(1.0)
            assert layer.mask is not None
            layer.mask.fill_(True)
    copied.load_state_dict(net.state_dict())
    return copied


def on_the_grid(net: LoadedNetwork) -> LoadedNetwork:
    return make_quantisation_aware_(folded(net), 4, "neuron")


@pytest.mark.parametrize(
    "change",
    [copy.deepcopy, rounded, folded, pickled, from_its_state, on_the_grid],
    ids=lambda change: change.__name__,
)
def test_absent_synapses_stay_absent_in_copies(change: Any) -> None:
    table = quantised(integer_table(random_network(5), dt_ms=10.0, class_names=NAMES), 3)
    net = change(LoadedNetwork(table))
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
    for one, other in zip(again.projections, table.projections, strict=True):
        pairs = {(*pair,) for pair in zip(other.pre, other.post, strict=True)}
        assert {*zip(one.pre, one.post, strict=True)} <= pairs


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("beta", [0.0, 1.0, 1e-6, 1 - 2**-24], ids=str)
def test_membranes_that_keep_nothing_or_all(beta: float, reset: str) -> None:
    drawn = integer_table(
        random_network(1, v_reset=None if reset == "soft" else -0.25),
        dt_ms=5.0,
        class_names=NAMES,
    )
    table = drawn.map(population=lambda one: with_values(one, beta=beta))
    net = LoadedNetwork(table)
    split = random_split(2, 20)
    agreement = compare(table, net, split)
    assert agreement.spikes_total > 100
    assert agreement.spikes_differing <= agreement.spikes_total / 1000
    again = integer_table(net, dt_ms=5.0, class_names=NAMES)
    for one, other in zip(again.populations, table.populations, strict=True):
        np.testing.assert_array_equal(one.parameters["beta"], other.parameters["beta"])
    # SpikingJelly's own way, which GPUs take, obeys the same equation.
    batch = split.collate(range(20)).spikes
    with torch.no_grad():
        expected = net(batch)
        for name in net.populations[:-1]:
            net.neurons[name].surrogate_function = surrogate.PiecewiseQuadratic()
        assert float((net(batch) - expected).abs().max()) < 1e-3
    # And it learns.
    loss = cross_entropy(score(net(batch), None, net.readout), split.labels)
    loss.backward()
    for parameter in net.parameters():
        assert not parameter.requires_grad or bool(parameter.grad.isfinite().all())


def test_a_spiking_end_that_counts() -> None:
    table = random_table(7, (2, 3, 2), readout="spike_count")
    table = table.map(population=lambda one: with_values(one, beta=0.5, v_reset=0.0))
    x = torch.rand(30, 3, 2).round()
    net = LoadedNetwork(table)
    with torch.no_grad():
        y, fired = net(x, return_spikes=True)
    torch.testing.assert_close(y, fired["readout"])
    assert 0 < int(y.sum()) < y.numel()
    for sample in range(3):
        expected = simulate(table, x[:, sample].numpy().astype(np.int64)).spikes["readout"]
        np.testing.assert_array_equal(y[:, sample].bool(), expected)


def test_graphs_that_lead_back() -> None:
    """Whole, in single steps, and back to the same table; and weights of every projection learn."""
    links = ((0, 1), (1, 2), (2, 3), (2, 1), (1, 1), (0, 3))
    table = random_table(3, (5, 7, 6, 4), links=links, readout="mean")
    table = table.map(
        population=lambda one: with_values(one, beta=0.7, v_threshold=0.6, v_reset=0.1)
    )
    net = LoadedNetwork(table)
    x = (torch.rand(25, 3, 5) < 0.3).float()
    with torch.no_grad():
        y, spikes = net(x, return_spikes=True)
        functional.set_step_mode(net, "s")
        functional.reset_net(net)
        padded = torch.cat([x, x.new_zeros(net.tail, *x.shape[1:])])
        torch.testing.assert_close(torch.stack([net(now) for now in padded]), y)
        functional.set_step_mode(net, "m")
    for sample in range(3):
        found = simulate(table, x[:, sample].numpy())
        np.testing.assert_allclose(y[:, sample], found.potentials, rtol=1e-4, atol=1e-4)
        for name, fired in found.spikes.items():
            np.testing.assert_array_equal(spikes[name][:, sample].bool(), fired)
    again = integer_table(net, dt_ms=table.dt_ms, class_names=table.class_names)
    assert same_network(again, table) is None
    net(x).square().sum().backward()
    for layer in delay_layers(net):
        assert layer.weight.grad is not None
        assert float(layer.weight.grad.abs().max()) > 0


def test_neurons_that_differ_are_refused() -> None:
    """… by models whose nodes have one constant for all."""
    with pytest.raises(
        UsageError, match=r"load_table: population hidden0: beta must be the same .* TableN"
    ):
        LoadedNetwork(random_table(7, (4, 5, 3), model="CuBaLIF"))


@pytest.mark.parametrize("model", ["LIF", "AdLIF"])
def test_neurons_that_differ_stay_so(model: str) -> None:
    drawn = random_table(7, (6, 9, 3), readout="spike_count", model=model)
    # One threshold and reset for all: weights need not take them up.
    table = drawn.map(population=lambda one: with_values(one, v_threshold=0.7, v_reset=0.1))
    net = LoadedNetwork(table)
    found = compare(table, net, random_split(4, 20, 6, 3))
    assert found.spikes_total > 100
    assert found.spikes_differing == 0
    again = integer_table(net, dt_ms=table.dt_ms, class_names=table.class_names)
    for one, other in zip(table.populations, again.populations, strict=True):
        for name, values in one.parameters.items():
            np.testing.assert_allclose(other.parameters[name], values, rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("integer", [False, True])
def test_resets_in_proportion_to_thresholds(integer: bool) -> None:
    """… as far as rounding to float32, or to whole numbers, lets them be."""
    net = random_network(4, v_reset=-0.2, batch_norm=False)
    table = quantised(integer_table(net, dt_ms=10.0, class_names=NAMES), 4, scale="neuron")
    table = fixed_point(table) if integer else table
    hidden = table["hidden0"].parameters
    assert np.ptp(hidden["v_reset"] / hidden["v_threshold"]) > 0
    assert LoadedNetwork(table).neurons["hidden0"].v_reset == pytest.approx(-0.2, abs=2e-3)


def test_thresholds_below_zero_are_refused_where_they_differ() -> None:
    table = integer_table(random_network(4), dt_ms=10.0, class_names=NAMES)
    threshold = np.where(np.arange(table["hidden0"].size) == 2, -1, 1)
    first = with_values(table["hidden0"], v_threshold=threshold)
    with pytest.raises(UsageError, match="v_threshold, where it is not above 0, must be the same"):
        LoadedNetwork(replace(table, populations=(first, *table.populations[1:])))


def test_without_a_file() -> None:
    with pytest.raises(UsageError, match="no such delay table"):
        load_table("nowhere/delays.h5")


def test_numpy_stays_out_of_the_network() -> None:
    net = LoadedNetwork(integer_table(random_network(8), dt_ms=10.0, class_names=NAMES))
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    assert isinstance(net.neurons["hidden0"].v_threshold, float)
    assert not isinstance(net.neurons["hidden0"].v_threshold, np.floating)
