"""Networks with recurrent delays and adaptive neurons: trained, exported, the same spikes."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from drawn_networks import random_split
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

from snn_delays.data import SpikeData, recordings
from snn_delays.deploy import adapt_delays, compare, integer_table, quantised
from snn_delays.deploy.loading import LoadedNetwork
from snn_delays.deploy.quantised_training import (
    folded,
    make_quantisation_aware_,
    trained_scales,
)
from snn_delays.deploy.table_network import TableNetwork
from snn_delays.deploy.trace import trace
from snn_delays.layers import DelayLayer, RecurrentDelayLayer, rounded, set_sigma
from snn_delays.network import DelaySNN
from snn_delays.neurons import (
    AdLIFNode,
    CAdLIFNode,
    LeakyReadout,
    SEAdLIFNode,
    SiLIFNode,
    lif,
)
from snn_delays.table.chips import load_chip
from snn_delays.table.simulator import compare_with_nest
from snn_delays.training import fit

CHANNELS, CLASSES = 8, 3
SPIKING = {
    "lif": partial(lif, tau=2.0),
    "adlif": AdLIFNode,
    "cadlif": CAdLIFNode,
    "seadlif": partial(SEAdLIFNode, q=10.0),
    "silif": SiLIFNode,
}


def data() -> SpikeData:
    """Every class has channels of its own that fire more."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % CLASSES
    counts = rng.random((120, 20, CHANNELS)) < 0.05
    for n, label in enumerate(labels):
        counts[n, 4:14, 2 * label : 2 * label + 2] |= rng.random((10, 2)) < 0.8
    return recordings(counts.astype(np.float32), labels, n_units=CHANNELS, dt_ms=5.0)


def network(kind: str = "lif", **recurrent: Any) -> DelaySNN:
    torch.manual_seed(0)
    return DelaySNN(
        [CHANNELS, 20, 12, CLASSES],
        partial(DelayLayer, max_delay=6),
        SPIKING[kind],
        recurrent=[None, partial(RecurrentDelayLayer, max_delay=7, **recurrent)],
        dropout=0.1,
        output=partial(LeakyReadout, 3.0),
    )


@pytest.mark.parametrize(
    ("kind", "granularity"),
    [("lif", "synaptic"), ("lif", "dendritic"), *((kind, "axonal") for kind in SPIKING)],
)
def test_trained_exported_and_the_same_spikes(kind: str, granularity: str) -> None:
    net, own = network(kind, granularity=granularity, dropout=0.2), data()
    rows = fit(net, own, epochs=6, batch_size=16, weight_lr=0.02, accelerator="cpu")
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["rate_hz"] > 0
    table = integer_table(net, dt_ms=own.dt_ms, class_names=own.class_names)
    back = next(one for one in table.projections if one.source == one.target)
    assert (back.source, back.min_delay, back.max_delay) == ("hidden1", 1, 7)
    assert back.delay.min() >= 1
    for deployed in (rounded(net), TableNetwork(table), LoadedNetwork(table)):
        found = compare(table, deployed, own.test)
        assert found.spikes_total > 20
        assert found.spikes_differing == found.predictions_differing == 0
    coarse = quantised(table, 4)
    assert compare(coarse, TableNetwork(coarse), own.test).spikes_differing == 0


def test_networks_of_ones_own() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Linear(12, 9, step_mode="m"),
        layer.BatchNorm1d(9, step_mode="m"),
        RecurrentDelayLayer(9, neuron.IFNode(step_mode="m"), 5, kernel_count=2),
        layer.Linear(9, 4, step_mode="m"),
    )
    split = random_split(2, 8)
    net(split.collate(range(8)).spikes)
    functional.reset_net(net)
    traced = trace(net)
    assert [one.name for one in traced.populations] == ["if_2", "readout"]
    assert traced.nodes == {"if_2": "2.neuron"}
    table = integer_table(net, dt_ms=1.0)
    assert compare(table, rounded(net), split).spikes_differing == 0


@pytest.mark.parametrize("scale", ["population", "neuron"])
def test_quantisation_aware(scale: Any) -> None:
    """Weights from elsewhere and those of neurons onto themselves share a scale."""
    net, split = network(), random_split(3, 12, CHANNELS, CLASSES)
    net(split.collate(range(8)).spikes)
    aware = make_quantisation_aware_(folded(net.eval()), 4, scale)
    set_sigma(aware, 0.5)
    own = aware.blocks[1].neuron
    assert own.rounding == "straight_through"
    aware.train()(split.collate(range(8)).spikes).sum().backward()
    assert float(own.delay.grad.abs().max()) > 0
    scales = trained_scales(aware)
    assert scales is not None
    assert set(scales) == {"hidden0", "hidden1", "readout"}
    table = quantised(integer_table(aware.eval(), dt_ms=1.0), 4, scales=scales)
    assert compare(table, aware, split).spikes_differing == 0


@pytest.mark.skipif(find_spec("nest") is None, reason="nest-simulator is not installed")
def test_in_nest() -> None:
    net, split = network(), random_split(4, 4, CHANNELS, CLASSES)
    table = integer_table(net.eval(), dt_ms=1.0)
    adapted = adapt_delays(table, load_chip("nest")).table
    samples = [split.collate([n]).spikes[:, 0].numpy() for n in range(4)]
    found = compare_with_nest(adapted, samples)
    assert found.spikes_total > 100
    assert found.spikes_differing == found.predictions_differing == 0
