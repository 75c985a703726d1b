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
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from snn_delays.deploy.fixed_point import fixed_point
from snn_delays.deploy.integer import integer_table
from snn_delays.deploy.quantise import quantised
from snn_delays.deploy.table_network import TableNetwork
from snn_delays.errors import UsageError
from snn_delays.table.population import Population
from snn_delays.table.simulator import simulate
from snn_delays.table.table import DelayTable

NAMES = ("a", "b", "c", "d")


def counts_for(table: DelayTable, seed: int, steps: int, samples: int = 3) -> np.ndarray:
    shape = (steps, samples, table.input_channels)
    return np.random.default_rng(seed).poisson(0.6, shape)


@given(table=tables("whole_step"), steps=st.integers(0, 14), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_torch_and_simulator_agree(table: DelayTable, steps: int, seed: int) -> None:
    """Whole numbers to the bit; float neurons in every spike."""
    counts = counts_for(table, seed, steps)
    output, spikes = TableNetwork(table)(torch.from_numpy(counts).float(), return_spikes=True)
    for n in range(counts.shape[1]):
        expected = simulate(table, counts[:, n])
        assert list(spikes) == list(expected.spikes)
        for name, one in expected.spikes.items():
            np.testing.assert_array_equal(spikes[name][:, n].numpy(), one)
        if table.output.spiking:
            np.testing.assert_array_equal(output[:, n].numpy(), expected.spikes[table.output.name])
        elif table.output.integer:
            np.testing.assert_array_equal(output[:, n].numpy(), expected.potentials)
        else:
            np.testing.assert_allclose(output[:, n].numpy(), expected.potentials, atol=1e-9)


@pytest.mark.parametrize("leak", ["multiplier", "shift"])
def test_constants_in_units(leak: Any) -> None:
    table = quantised(integer_table(random_network(1), dt_ms=10.0, class_names=NAMES), 6)
    whole = fixed_point(table, leak=leak, beta_shift=10, weight_shift=5)
    for before, after in zip(table.populations, whole.populations, strict=True):
        unit, old = whole.unit(after), before.parameters
        assert after.model.name == f"Int{before.model.name}"
        assert unit == table.into(before.name)[0].weight_scale / 32
        bias, new = after.float_values(unit)
        np.testing.assert_allclose(bias, before.bias, atol=unit / 2)
        np.testing.assert_allclose(new["beta"], old["beta"], atol=2**-11)
        if after.spiking:
            above = new["v_threshold"] - old["v_threshold"]
            assert above.min() >= -1e-6
            assert above.max() < unit
    for before, after in zip(table.projections, whole.projections, strict=True):
        assert after is before


def test_grids_of_thresholds_and_biases() -> None:
    table = quantised(random_table(12, (4, 40, 3)), 8)
    whole = fixed_point(table, weight_shift=12, threshold_shift=6, threshold_offset=1, bias_bits=5)
    for before, after in zip(table.populations, whole.populations, strict=True):
        unit, bias = whole.unit(after), after.bias
        wanted = before.bias / unit
        exponent = np.where(bias == 0, 0, np.log2(np.maximum(np.abs(bias), 1)).astype(int) - 3)
        exponent = np.maximum(exponent, 0)
        assert np.all(bias % 2**exponent == 0)  # at most four bits and a sign
        assert np.all(np.abs(bias - wanted) <= np.maximum(np.abs(wanted) / 15, 0.5))
        if after.spiking:
            threshold = after.parameters["v_threshold"]
            assert np.all(threshold % 64 == 1)
            above = threshold * unit - before.parameters["v_threshold"]
            assert np.abs(above).max() <= 33 * unit


def test_leaks_that_are_shifts() -> None:
    table = quantised(random_table(2, (4, 40, 3)), 4)
    for one in fixed_point(table, leak="shift", beta_shift=8).populations:
        for beta in one.parameters["beta"].tolist():
            assert beta in {0, 256} or any(
                share > 0 and math.log2(share) % 1 == 0 for share in (beta, 256 - beta)
            )


def test_a_network_without_rounding_loses_nothing() -> None:
    """Whole weights, biases and thresholds, a leak of one half: v stays whole for six steps."""
    table = quantised(random_table(3, (6, 8, 3), max_delay=1, tail_steps=0), 4)

    def simple(one: Population) -> Population:
        scale = table.into(one.name)[0].weight_scale
        constants = {"beta": 0.5, "v_reset": 0.0}
        parameters = {
            name: np.full_like(values, constants[name]) if name in constants else values
            for name, values in one.parameters.items()
        }
        bias = (np.rint(one.bias / scale) * scale).astype(np.float32)
        return replace(one, bias=bias, parameters=parameters)

    table = table.map(population=simple)
    counts = counts_for(table, 0, 6, 1)[:, 0]
    exact, whole = simulate(table, counts), simulate(fixed_point(table, weight_shift=10), counts)
    assert exact.spikes["hidden0"].any()
    np.testing.assert_array_equal(exact.spikes["hidden0"], whole.spikes["hidden0"])
    np.testing.assert_allclose(exact.potentials, whole.potentials, atol=1e-6)


@given(table=tables("whole_step"), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_any_graph_becomes_whole_and_stays_what_it_is(table: DelayTable, seed: int) -> None:
    assume(not any(one.integer for one in (*table.populations, *table.projections)))
    whole = fixed_point(quantised(table, 8), weight_shift=8)
    assert all(one.integer for one in whole.populations)
    counts = counts_for(whole, seed, 9)
    _, spikes = TableNetwork(whole)(torch.from_numpy(counts).float(), return_spikes=True)
    for n in range(counts.shape[1]):
        expected = simulate(whole, counts[:, n])
        for name, one in expected.spikes.items():
            np.testing.assert_array_equal(spikes[name][:, n].numpy(), one)


def test_a_whole_batch_of_a_network() -> None:
    table = quantised(integer_table(random_network(4), dt_ms=10.0, class_names=NAMES), 4)
    whole, split = fixed_point(table), random_split(5, 25)
    batch = split.collate(range(25))
    _, spikes = TableNetwork(whole)(batch.spikes, return_spikes=True)
    assert sum(int(one.sum()) for one in spikes.values()) > 500
    for n in range(25):
        steps = int(batch.lengths[n])
        expected = simulate(whole, batch.spikes[:steps, n].numpy())
        for name, one in expected.spikes.items():
            np.testing.assert_array_equal(spikes[name][: len(one), n].numpy(), one)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"leak": "half"}, "leak must be one of multiplier, shift"),
        ({"beta_shift": 25}, "beta_shift must be a whole number from 0 to 24"),
        ({"weight_shift": -1}, "weight_shift must be a whole number from 0 to 24"),
        ({"weight_shift": 24}, "population hidden0: v_threshold takes .* more than 32 bits"),
    ],
)
def test_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fixed_point(quantised(random_table(0, (3, 4, 2)), 16), **options)


@pytest.mark.parametrize("beta_shift", [12, 20, 24])
@pytest.mark.parametrize("weight_shift", [0, 16, 24])
def test_the_largest_shifts(beta_shift: int, weight_shift: int) -> None:
    """Products of v and its leak take more than 64 bits, but never need to be whole."""
    net = random_network(5, (3, 2), max_delay=2, tau=10.0, batch_norm=False)
    small = quantised(integer_table(net, dt_ms=1.0, class_names=("a", "b")), 16)
    table = fixed_point(small, beta_shift=beta_shift, weight_shift=weight_shift)
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
    with pytest.raises(
        UsageError, match=r"population hidden0: \d of 5 thresholds round to nothing"
    ):
        fixed_point(table, threshold_shift=16)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_units_too_small_for_single_precision_are_refused() -> None:
    """A readout's v of 0 units, each of which is 0, is no number of units."""
    table = random_table(4, (6, 5, 3))
    *others, last = table.projections
    faint = replace(last, weight=(last.weight * np.float32(1e-42)).astype(np.float32))
    silent = replace(table.output, bias=np.zeros_like(table.output.bias))
    small = replace(
        table,
        populations=(*table.populations[:-1], silent),
        projections=(*others, faint),
    )
    assert np.any(faint.weight)
    with pytest.raises(UsageError, match="population readout: bias takes nan units"):
        fixed_point(quantised(small, 8))


def test_order_of_the_steps() -> None:
    table = random_table(0, (3, 4, 2))
    with pytest.raises(
        UsageError, match="population hidden0: integer neurons need integer weights"
    ):
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
