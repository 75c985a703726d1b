"""Integer neurons: exact where they can be, and the same in torch and in the simulator."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from drawn_networks import random_network, random_split
from drawn_tables import random_table, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays.deploy import integer_table
from snn_delays.deploy.fixed_point import fixed_point
from snn_delays.deploy.quantise import quantised
from snn_delays.deploy.table_network import TableNetwork
from snn_delays.errors import UsageError
from snn_delays.table import simulate
from snn_delays.table.table import DelayTable, IntegerNeuronTable

NAMES = ("a", "b", "c", "d")


def counts_for(table: DelayTable, seed: int, steps: int, samples: int = 3) -> np.ndarray:
    shape = (steps, samples, table.input_channels)
    return np.random.default_rng(seed).poisson(0.6, shape)


@given(table=tables(), steps=st.integers(0, 14), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_torch_and_simulator_agree(table: DelayTable, steps: int, seed: int) -> None:
    """Integer layers to the bit; float layers in every spike."""
    counts = counts_for(table, seed, steps)
    potentials, spikes = TableNetwork(table)(torch.from_numpy(counts).float(), return_spikes=True)
    for n in range(counts.shape[1]):
        expected = simulate(table, counts[:, n])
        for got, one in zip(spikes, expected.spikes, strict=True):
            np.testing.assert_array_equal(got[:, n].numpy(), one)
        if table.layers[-1].integer:
            np.testing.assert_array_equal(potentials[:, n].numpy(), expected.potentials)
        else:
            np.testing.assert_allclose(potentials[:, n].numpy(), expected.potentials, atol=1e-9)


@pytest.mark.parametrize("leak", ["multiplier", "shift"])
def test_constants_in_units(leak: Any) -> None:
    table = quantised(integer_table(random_network(1), dt_ms=10.0, class_names=NAMES), 6)
    whole = fixed_point(table, leak=leak, decay_shift=10, weight_shift=5)
    for before, after in zip(table.layers, whole.layers, strict=True):
        assert isinstance(after.neuron, IntegerNeuronTable)
        assert after.unit == before.weight_scale / 32
        np.testing.assert_allclose(after.bias * after.unit, before.bias, atol=after.unit / 2)
        np.testing.assert_allclose(after.neuron.beta, before.neuron.beta, atol=2**-11)
        assert after.synapses is before.synapses
        if after.neuron.spiking:
            above = after.neuron.v_threshold * after.unit - before.neuron.v_threshold
            assert above.min() >= -1e-6
            assert above.max() < after.unit


def test_grids_of_thresholds_and_biases() -> None:
    table = quantised(random_table(12, (4, 40, 3)), 8)
    whole = fixed_point(table, weight_shift=12, threshold_shift=6, threshold_offset=1, bias_bits=5)
    for before, after in zip(table.layers, whole.layers, strict=True):
        wanted, bias = before.bias / after.unit, after.bias
        exponent = np.where(bias == 0, 0, np.log2(np.maximum(np.abs(bias), 1)).astype(int) - 3)
        exponent = np.maximum(exponent, 0)
        assert np.all(bias % 2**exponent == 0)  # at most four bits and a sign
        assert np.all(np.abs(bias - wanted) <= np.maximum(np.abs(wanted) / 15, 0.5))
        if after.neuron.spiking:
            assert np.all(after.neuron.v_threshold % 64 == 1)
            above = after.neuron.v_threshold * after.unit - before.neuron.v_threshold
            assert np.abs(above).max() <= 33 * after.unit


def test_leaks_that_are_shifts() -> None:
    table = quantised(random_table(2, (4, 40, 3)), 4)
    for layer in fixed_point(table, leak="shift", decay_shift=8).layers:
        assert isinstance(layer.neuron, IntegerNeuronTable)
        for decay in layer.neuron.decay.tolist():
            assert decay in {0, 256} or any(
                share > 0 and math.log2(share) % 1 == 0 for share in (decay, 256 - decay)
            )


def test_a_network_without_rounding_loses_nothing() -> None:
    """Whole weights, biases and thresholds, a leak of one half: v stays whole for six steps."""
    table = quantised(random_table(3, (6, 8, 3), max_delay=1, tail_steps=0), 4)
    layers = tuple(
        replace(
            layer,
            bias=(np.rint(layer.bias / layer.weight_scale) * layer.weight_scale).astype(np.float32),
            neuron=replace(
                layer.neuron,
                beta=np.full(layer.n_post, 0.5, np.float32),
                v_reset=np.zeros(layer.n_post, np.float32),
            ),
        )
        for layer in table.layers
    )
    table = replace(table, layers=layers)
    counts = counts_for(table, 0, 6, 1)[:, 0]
    exact, whole = simulate(table, counts), simulate(fixed_point(table, weight_shift=10), counts)
    assert exact.spikes[0].any()
    np.testing.assert_array_equal(exact.spikes[0], whole.spikes[0])
    np.testing.assert_allclose(exact.potentials, whole.potentials, atol=1e-6)


def test_a_whole_batch_of_a_network() -> None:
    table = quantised(integer_table(random_network(4), dt_ms=10.0, class_names=NAMES), 4)
    whole, split = fixed_point(table), random_split(5, 25)
    batch = split.collate(range(25))
    _, spikes = TableNetwork(whole)(batch.spikes, return_spikes=True)
    assert sum(int(one.sum()) for one in spikes) > 500
    for n in range(25):
        steps = int(batch.lengths[n])
        expected = simulate(whole, batch.spikes[:steps, n].numpy())
        for got, one in zip(spikes, expected.spikes, strict=True):
            np.testing.assert_array_equal(got[: len(one), n].numpy(), one)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"leak": "half"}, "leak must be one of multiplier, shift"),
        ({"decay_shift": 25}, "decay_shift must be a whole number from 0 to 24"),
        ({"weight_shift": -1}, "weight_shift must be a whole number from 0 to 24"),
        ({"weight_shift": 24}, "layer 0: v_threshold takes .* more than 32 bits"),
    ],
)
def test_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fixed_point(quantised(random_table(0, (3, 4, 2)), 16), **options)


@pytest.mark.parametrize("decay_shift", [12, 20, 24])
@pytest.mark.parametrize("weight_shift", [0, 16, 24])
def test_the_largest_shifts(decay_shift: int, weight_shift: int) -> None:
    """Products of v and its leak take more than 64 bits, but never need to be whole."""
    net = random_network(5, (3, 2), max_delay=2, tau=10.0, batch_norm=False)
    small = quantised(integer_table(net, dt_ms=1.0, class_names=("a", "b")), 16)
    table = fixed_point(small, decay_shift=decay_shift, weight_shift=weight_shift)
    counts = counts_for(table, 1, 12, samples=1)
    expected = simulate(table, counts[:, 0]).potentials
    assert np.abs(expected).max() > 0.1
    got = TableNetwork(table)(torch.from_numpy(counts).float())
    np.testing.assert_array_equal(got[:, 0].numpy(), expected)


def test_many_spikes_at_once() -> None:
    """More than single precision adds up exactly."""
    table = random_table(3, (6, 5, 3), weight_type="int8", integer=True)
    counts = counts_for(table, 2, 9, samples=1) * 50_001
    expected = simulate(table, counts[:, 0])
    got = TableNetwork(table)(torch.from_numpy(counts).float())
    np.testing.assert_array_equal(got[:, 0].numpy(), expected.potentials)


def test_thresholds_that_round_to_nothing_are_refused() -> None:
    table = quantised(random_table(4, (6, 5, 3)), 8)
    with pytest.raises(UsageError, match=r"layer 0: \d of 5 thresholds round to nothing"):
        fixed_point(table, threshold_shift=16)


def test_order_of_the_steps() -> None:
    table = random_table(0, (3, 4, 2))
    with pytest.raises(UsageError, match="layer 0: integer neurons need integer weights"):
        fixed_point(table)
    with pytest.raises(UsageError, match="integer ones already"):
        fixed_point(fixed_point(quantised(table, 4)))


def test_input_of_integer_layers() -> None:
    net = TableNetwork(fixed_point(quantised(random_table(0, (3, 4, 2)), 4)))
    with pytest.raises(UsageError, match="whole numbers of spikes, got fractions"):
        net(torch.full((4, 1, 3), 0.5))
    with pytest.raises(UsageError, match="too large to be exact"):
        net(torch.full((4, 1, 3), 1e15))
    with pytest.raises(UsageError, match=r"must be \[T, N, 3\], got \[4, 1, 2\]"):
        net(torch.zeros(4, 1, 2))
