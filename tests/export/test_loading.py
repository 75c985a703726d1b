"""A table read back as a network: the same numbers, the same table again, and it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_networks import random_network, random_split
from drawn_tables import assert_same, random_table

from snn_delays.errors import UsageError
from snn_delays.export import compare, integer_table, write_table
from snn_delays.export.fixed_point import fixed_point
from snn_delays.export.loading import load_table, trainable
from snn_delays.export.quantise import quantised
from snn_delays.losses import cross_entropy, score

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
    synapses = net.blocks[1].delay
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


def test_neurons_that_differ_are_refused() -> None:
    with pytest.raises(UsageError, match=r"load_table: layer 0: beta must be the same .* TableN"):
        trainable(random_table(7, (4, 5, 3)))


def test_without_a_file() -> None:
    with pytest.raises(UsageError, match="no such delay table"):
        load_table("nowhere/delays.h5")


def test_numpy_stays_out_of_the_network() -> None:
    net = trainable(integer_table(random_network(8), dt_ms=10.0, class_names=NAMES))
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    assert isinstance(net.blocks[0].neuron.v_threshold, float)
    assert not isinstance(net.blocks[0].neuron.v_threshold, np.floating)
