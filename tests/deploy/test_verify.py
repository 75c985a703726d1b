"""Torch network and simulated table agree on every spike, and disagreement is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_networks import random_network, random_split

from snn_delays.deploy import compare, integer_table
from snn_delays.errors import UsageError
from snn_delays.losses import score
from snn_delays.table import read_table, simulate, write_table

NAMES = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    "options",
    [
        {"granularity": "synaptic"},
        {"granularity": "axonal"},
        {"granularity": "dendritic"},
        {"granularity": "synaptic", "kernel_count": 3},
        {"granularity": "axonal", "kernel_count": 3},
        {"granularity": "dendritic", "kernel_count": 3, "bias": True},
        {"interpolation": "triangle"},
        {"v_reset": None},
        {"v_reset": -0.25, "v_threshold": 0.75, "readout": "max"},
        {"max_delay": 0, "tail": 3, "readout": "mean"},
        {"batch_norm": False, "bias": True, "tail": 0},
    ],
    ids=lambda options: " ".join(map(str, options.values())),
)
def test_every_spike_agrees(options: dict[str, Any], tmp_path: Path) -> None:
    net, split = random_network(11, **options).rounded(), random_split(0, 40)
    write_table(integer_table(net, dt_ms=10.0, class_names=NAMES), tmp_path / "delays.h5")
    calls: list[tuple[int, int]] = []
    agreement = compare(
        read_table(tmp_path / "delays.h5"),
        net,
        split,
        batch_size=16,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert agreement.samples == 40
    assert agreement.spikes_total > 1000
    assert agreement.spikes_differing == 0
    assert agreement.samples_with_difference == 0
    assert agreement.predictions_differing == 0
    assert agreement.accuracy_network == agreement.accuracy_table
    assert calls == [(done, 40) for done in range(1, 41)]


def test_accuracy_is_that_of_each_recording_by_itself() -> None:
    net, split = random_network(12).rounded(), random_split(1, 30)
    table = integer_table(net, dt_ms=10.0, class_names=NAMES)
    right = 0
    for n in range(len(split)):
        alone = split.collate([n])
        with torch.no_grad():
            potentials = net(alone.spikes)
        expected = simulate(table, alone.spikes[:, 0].numpy()).potentials
        np.testing.assert_allclose(potentials[:, 0].numpy(), expected, atol=1e-4)
        right += int(score(potentials, None, net.readout).argmax()) == int(alone.labels[0])
    assert compare(table, net, split, batch_size=30).accuracy_network == right / 30
    assert 0 < right < 30


def test_differences_are_counted() -> None:
    net, split = random_network(13).rounded(), random_split(2, 20)
    table = integer_table(net, dt_ms=10.0, class_names=NAMES)
    first = table.layers[0]
    late = replace(
        first, max_delay=8, synapses=replace(first.synapses, delay=first.synapses.delay + 1)
    )
    wrong = replace(table, layers=(late, *table.layers[1:]))
    agreement = compare(wrong, net, split, batch_size=8)
    assert agreement.spikes_differing > agreement.spikes_total * 0.1
    # The empty recording differs in nothing: there is no spike to come late.
    assert agreement.samples_with_difference == 19


def test_a_wrong_readout_is_counted() -> None:
    """No hidden spike tells of it."""
    net, split = random_network(13).rounded(), random_split(2, 20)
    table = integer_table(net, dt_ms=10.0, class_names=NAMES)
    last = table.layers[-1]
    assert compare(table, net, split).readouts_differing == 0
    weight = last.synapses.weight[::-1].copy()
    wrong = replace(last, synapses=replace(last.synapses, weight=weight))
    agreement = compare(replace(table, layers=(*table.layers[:-1], wrong)), net, split)
    assert agreement.spikes_differing == 0
    assert agreement.readouts_differing >= 19  # of 20; one recording is empty


def test_nothing_to_compare() -> None:
    net, split = random_network(14).rounded(), random_split(3, 5)
    table = integer_table(net, dt_ms=10.0, class_names=NAMES)
    with pytest.raises(UsageError, match="no samples"):
        compare(table, net, split.subset([], "empty"))
    with pytest.raises(UsageError, match=r"input must be \[T, N, 12\]"):
        compare(table, net, random_split(4, 5, channels=9))
    for other in (random_network(15, (12, 5, 4)), random_network(15, tail=2)):
        with pytest.raises(UsageError, match="same sizes and tail"):
            compare(table, other.rounded(), split)
