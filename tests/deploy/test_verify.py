"""Torch network and simulated table agree on every spike, and disagreement is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_networks import random_network, random_split
from drawn_tables import tables
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import layer
from torch import nn

from snn_delays import DelayLayer, LIFNode, rounded
from snn_delays.deploy import compare, integer_table
from snn_delays.deploy.fixed_point import fixed_point
from snn_delays.deploy.quantise import quantised
from snn_delays.deploy.table_network import TableNetwork
from snn_delays.errors import UsageError
from snn_delays.losses import score
from snn_delays.table import schema
from snn_delays.table.hdf5 import read_table, write_table
from snn_delays.table.projection import COLUMNS
from snn_delays.table.simulator import simulate
from snn_delays.table.table import DelayTable

NAMES = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    "options",
    [
        {"granularity": "synaptic"},
        {"granularity": "axonal"},
        {"granularity": "dendritic"},
        {"granularity": "common"},
        {"granularity": "axonal+dendritic"},
        {"granularity": "axonal+dendritic", "kernel_count": 2},
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
    first, *others = table.projections
    late = replace(first, max_delay=8, delay=first.delay + np.int32(1))
    agreement = compare(replace(table, projections=(late, *others)), net, split, batch_size=8)
    assert agreement.spikes_differing > agreement.spikes_total * 0.1
    # The empty recording differs in nothing: there is no spike to come late.
    assert agreement.samples_with_difference == 19


def test_a_wrong_readout_is_counted() -> None:
    """No hidden spike tells of it."""
    net, split = random_network(13).rounded(), random_split(2, 20)
    table = integer_table(net, dt_ms=10.0, class_names=NAMES)
    *others, last = table.projections
    assert compare(table, net, split).readouts_differing == 0
    wrong = replace(last, weight=last.weight[::-1].copy())
    agreement = compare(replace(table, projections=(*others, wrong)), net, split)
    assert agreement.spikes_differing == 0
    assert agreement.readouts_differing >= 19  # of 20; one recording is empty


def corrupted(table: DelayTable, name: str, rng: np.random.Generator) -> DelayTable | None:
    """One number of one array is another; None where that is refused, or means the same."""
    kind = ("populations", "projections")[name in COLUMNS]
    parts = getattr(table, kind)
    part = parts[rng.integers(len(parts))]
    if name not in (arrays := schema.arrays_of(part)):
        return None
    array = arrays[name].copy()
    bits = array.view(f"u{array.itemsize}")
    bits[rng.integers(len(array))] ^= bits.dtype.type(1 << rng.integers(8 * array.itemsize))
    if np.array_equal(array, arrays[name]):  # the other zero
        return None
    try:
        if kind == "projections" or name == "bias":
            wrong = replace(part, **{name: array})
        else:
            wrong = replace(part, parameters={**part.parameters, name: array})
        return replace(table, **{kind: tuple(wrong if one is part else one for one in parts)})
    except UsageError:
        return None


@pytest.mark.parametrize("bits", [None, 8])
def test_no_number_of_a_table_can_be_wrong_unseen(bits: int | None) -> None:
    """Of a synapse that nothing was sent through, or a neuron that was silent, no spike tells."""
    rng, split = np.random.default_rng(0), random_split(2, 3)
    net: nn.Module = random_network(13, bias=True).rounded()
    table = integer_table(net, dt_ms=10.0, class_names=NAMES)
    if bits:
        table = fixed_point(quantised(table, bits))
        net = TableNetwork(table)
    assert compare(table, net, split).difference is None
    names, seen = [*COLUMNS, "bias", "beta", "v_threshold", "v_reset"], 0
    for name in names * 25:
        if (wrong := corrupted(table, name, rng)) is not None:
            seen += 1
            assert compare(wrong, net, split).difference is not None, name
    assert seen > 60
    wrong = replace(table, created_by="someone else")
    assert compare(wrong, net, split).difference is None


@given(table=tables(), seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_every_graph_agrees_with_itself(table: DelayTable, seed: int) -> None:
    split = random_split(seed, 6, channels=table.input_channels, classes=table.output.size)
    agreement = compare(table, TableNetwork(table), split, batch_size=4)
    assert agreement.spikes_differing == agreement.readouts_differing == 0
    assert agreement.predictions_differing == 0
    assert agreement.accuracy_network == agreement.accuracy_table
    whole = all(one.integer for one in table.populations)
    assert (agreement.membrane_bits is not None) == whole
    if whole:
        assert list(agreement.membrane_bits or ()) == list(table.order)


def test_a_network_of_ones_own_that_spikes_at_the_end() -> None:
    torch.manual_seed(3)
    own = nn.Sequential(
        DelayLayer(12, 20, 6), LIFNode(tau=2.0, decay_input=False, step_mode="m"),
        layer.Linear(20, 4, step_mode="m"), LIFNode(tau=3.0, decay_input=False, step_mode="m"),
    ).eval()  # fmt: skip
    net, split = rounded(own), random_split(5, 20)
    table = integer_table(net, dt_ms=1.0, tail_steps=5)
    assert table.readout == "spike_count"
    agreement = compare(table, net, split)
    assert agreement.spikes_total > 100
    assert agreement.spikes_differing == agreement.predictions_differing == 0
    assert agreement.accuracy_network == agreement.accuracy_table
    assert agreement.potentials_max_difference == 0


def test_nothing_to_compare() -> None:
    net, split = random_network(14).rounded(), random_split(3, 5)
    table = integer_table(net, dt_ms=10.0, class_names=NAMES)
    with pytest.raises(UsageError, match="no samples"):
        compare(table, net, split.subset([], "empty"))
    with pytest.raises(UsageError, match=r"input must be \[T, N, 12\]"):
        compare(table, net, random_split(4, 5, channels=9))
    for other in (random_network(15, (12, 5, 4)), random_network(15, tail=2)):
        with pytest.raises(UsageError, match="same populations, tail and readout"):
            compare(table, other.rounded(), split)
