"""Whole numbers stay exact or are refused, and wrong input ends in one line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_tables import random_table
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.errors import UsageError
from snn_delays.table import schema
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection
from snn_delays.table.simulator import Simulator
from snn_delays.table.simulator import events as module
from snn_delays.table.simulator.bounds import STATE
from snn_delays.table.simulator.reference import ReferenceSimulator
from snn_delays.table.table import DelayTable

BOTH = pytest.mark.parametrize("make", [Simulator, ReferenceSimulator])
Maker = type[Simulator] | type[ReferenceSimulator]


def one_neuron(
    weight: int, beta: int, beta_shift: int = 24, weight_shift: int = 24, bias: int = 0
) -> DelayTable:
    """An input and a readout neuron, weight_scale 1 in the neuron's own unit."""
    table = random_table(
        0, (1, 1), density=1.0, max_delay=0, integer=True, weight_type="int16", tail_steps=0
    )
    table.projections[0].weight[:] = weight
    scale = float(1 << weight_shift)
    neuron = Population.of(
        *("readout", "IntLI", 1),
        **{"bias": bias, "beta": beta, "beta_shift": beta_shift, "weight_shift": weight_shift},
    )
    return replace(
        table.map(projection=lambda one: replace(one, weight_scale=scale)), populations=(neuron,)
    )


@given(
    counts=st.lists(st.integers(-(2**13), 2**13), min_size=1, max_size=8),
    weight=st.integers(-(2**15) + 1, 2**15 - 1).filter(bool),
    bias=st.integers(-(2**31) + 1, 2**31 - 1),
    beta=st.integers(0, 2**24),
)
def test_a_leak_is_exact_where_its_product_has_more_than_64_bits(
    counts: list[int], weight: int, bias: int, beta: int
) -> None:
    table, v, expected = one_neuron(weight, beta, bias=bias), 0, []
    for count in counts:
        sign = -1 if v < 0 else 1
        v = sign * ((abs(v) * beta) >> 24) + bias + (weight << 24) * count
        expected.append(v)
    x = np.array(counts)[:, None]
    assert abs(v) < 2**57
    for make in (Simulator, ReferenceSimulator):
        if any(abs(v) > STATE for v in expected):
            with pytest.raises(UsageError, match="population readout: its state left ±2"):
                make(table).run(x)
        else:
            assert make(table).run(x).potentials[:, 0].tolist() == expected


@BOTH
def test_the_largest_counts_are_the_largest(make: Maker) -> None:
    table = one_neuron(2**15 - 1, 0)
    largest = 2**53 // ((2**15 - 1) << 24)
    simulator = make(table)
    for sign in (-1, 1):
        found = simulator.run(np.array([[sign * largest]])).potentials
        assert found.tolist() == [[sign * largest * ((2**15 - 1) << 24)]]
        with pytest.raises(UsageError, match=rf"counts must be within ±{largest}.* got "):
            simulator.run(np.array([[sign * (largest + 1)]]))


@BOTH
def test_a_membrane_that_grows_without_a_leak_is_stopped(make: Maker) -> None:
    simulator = make(one_neuron(2**14, 1, 0))  # 2^38 a step, times the count
    counts = np.full((4, 1), 2**13)
    assert simulator.run(counts[:3]).potentials.ravel().tolist() == [2**51 * n for n in (1, 2, 3)]
    with pytest.raises(UsageError, match="population readout: its state left ±2") as refused:
        simulator.run(counts)
    assert "\n" not in str(refused.value)
    assert simulator.run(counts[:1]).potentials.tolist() == [[2**51]]


@BOTH
def test_a_table_whose_currents_may_be_too_large(make: Maker) -> None:
    table = one_neuron(2**15 - 1, 0)
    rows = 2**15

    def repeated(one: Projection) -> Projection:
        arrays = schema.arrays_of(one)
        return replace(one, **{name: np.repeat(arrays[name], rows) for name in arrays})

    with pytest.raises(UsageError, match="population readout: a current may leave ±2"):
        make(table.map(projection=repeated))


@BOTH
@pytest.mark.parametrize(
    "counts",
    [
        np.zeros((4, 3)),
        np.zeros(5),
        np.zeros((4, 5, 1)),
        np.full((4, 5), np.nan),
        np.full((4, 5), -np.inf),
        np.zeros(()),
        np.full((4, 5), "1"),
        np.ones((4, 5), complex),
        np.full((4, 5), None),
    ],
    ids=lambda counts: f"{counts.shape} {counts.dtype}",
)
def test_unusable_counts(make: Maker, counts: np.ndarray) -> None:
    simulator = make(random_table(9, (5, 3)))
    with pytest.raises(UsageError, match="simulate: counts must be") as refused:
        simulator.run(counts)
    assert "\n" not in str(refused.value)
    with pytest.raises(UsageError, match="simulate: counts must be"):
        simulator.step(counts[0] if counts.ndim else counts)


@BOTH
def test_integer_layers_want_whole_numbers(make: Maker) -> None:
    simulator = make(random_table(9, (5, 4, 3), integer=True, weight_type="int8"))
    counts = np.zeros((3, 5))
    counts[2, 1] = 0.5
    with pytest.raises(UsageError, match="whole numbers for IntLIF neurons, got 0.5"):
        simulator.run(counts)
    with pytest.raises(UsageError, match="whole numbers"):
        simulator.step(counts[2])
    make(random_table(9, (5, 4, 3))).run(counts)


def test_refused_input_leaves_the_network_where_it_was() -> None:
    table = random_table(9, (5, 4, 3), tail_steps=0)
    simulator, undisturbed = Simulator(table), Simulator(table)
    for _ in range(5):
        found = simulator.step(np.ones(5))[1]
        with pytest.raises(UsageError, match="finite"):
            simulator.step(np.array([1, 1, 1, 1, np.nan]))
        np.testing.assert_array_equal(found, undisturbed.step(np.ones(5))[1])


def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "loops", None)
    with pytest.raises(UsageError, match="pip install numba.*ReferenceSimulator"):
        Simulator(random_table(9, (5, 3)))


@BOTH
def test_input_may_be_what_numpy_takes(make: Maker) -> None:
    table, counts = random_table(1, (3, 4, 2)), np.eye(3, dtype=np.int32)
    for one in (counts.tolist(), torch.from_numpy(counts), counts.astype(bool)):
        found, expected = make(table).run(one), make(table).run(counts)
        np.testing.assert_array_equal(found.potentials, expected.potentials)
