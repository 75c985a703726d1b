"""Synaptic operations are what a loop over spikes and synapses counts."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_tables import random_table, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays.errors import UsageError
from snn_delays.table import simulate, synaptic_operations
from snn_delays.table.table import DelayTable


def counted(table: DelayTable, sources: list[np.ndarray]) -> list[int]:
    """One by one."""
    found = []
    for layer, source in zip(table.layers, sources, strict=True):
        operations = 0
        for now in source:
            for pre in layer.synapses.pre:
                operations += abs(int(now[pre]))
        found.append(operations)
    return found


@given(table=tables(), steps=st.integers(0, 6), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_operations_are_those_of_the_loop(table: DelayTable, steps: int, seed: int) -> None:
    counts = np.random.default_rng(seed).integers(-2, 4, (steps, table.input_channels))
    simulation = simulate(table, counts)
    got = synaptic_operations(table, counts, simulation)
    assert got == counted(table, [counts, *simulation.spikes])
    assert all(type(one) is int for one in got)
    assert simulation.spike_counts == tuple(int(spikes.sum()) for spikes in simulation.spikes)


def test_currents_count_once_where_they_are_not_zero() -> None:
    table = random_table(1, (4, 5, 3))
    counts = np.array([[0.5, 0, -3, 0], [2, 0, 0, 0.25]])
    simulation = simulate(table, counts)
    expected = counted(table, [counts != 0, *simulation.spikes])
    assert synaptic_operations(table, counts, simulation) == expected
    assert expected[1] > 0


def test_what_does_not_belong_together() -> None:
    table, other = random_table(1, (4, 5, 3)), random_table(1, (4, 6, 3))
    counts = np.ones((3, 4))
    for wrong in (np.ones((3, 5)), np.ones(4)):
        with pytest.raises(UsageError, match="belong together"):
            synaptic_operations(table, wrong, simulate(table, counts))
    with pytest.raises(UsageError, match="belong together"):
        synaptic_operations(table, counts, simulate(other, counts))
