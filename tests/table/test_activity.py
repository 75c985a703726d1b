"""Synaptic operations are what a loop over spikes and synapses counts."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_tables import random_table, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays.errors import UsageError
from snn_delays.table import simulate, synaptic_operations
from snn_delays.table.table import INPUT, DelayTable


def counted(table: DelayTable, sources: dict[str, np.ndarray]) -> dict[str, int]:
    """One by one."""
    found = {}
    for one in table.projections:
        operations = 0
        for now in sources[one.source]:
            for pre in one.pre:
                operations += abs(int(now[pre]))
        found[one.name] = operations
    return found


@given(table=tables(), steps=st.integers(0, 6), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_operations_are_those_of_the_loop(table: DelayTable, steps: int, seed: int) -> None:
    counts = np.random.default_rng(seed).integers(-2, 4, (steps, table.input_channels))
    simulation = simulate(table, counts)
    got = synaptic_operations(table, counts, simulation)
    assert got == counted(table, {INPUT: counts, **simulation.spikes})
    assert all(type(one) is int for one in got.values())
    assert simulation.spike_counts == {
        name: int(spikes.sum()) for name, spikes in simulation.spikes.items()
    }


def test_currents_count_once_where_they_are_not_zero() -> None:
    table = random_table(1, (4, 5, 3))
    counts = np.array([[0.5, 0, -3, 0], [2, 0, 0, 0.25]])
    simulation = simulate(table, counts)
    expected = counted(table, {INPUT: counts != 0, **simulation.spikes})
    assert synaptic_operations(table, counts, simulation) == expected
    assert expected["hidden0_to_readout"] > 0


def test_what_does_not_belong_together() -> None:
    table, other = random_table(1, (4, 5, 3)), random_table(1, (4, 6, 3))
    counts = np.ones((3, 4))
    for wrong in (np.ones((3, 5)), np.ones(4)):
        with pytest.raises(UsageError, match="belong together"):
            synaptic_operations(table, wrong, simulate(table, counts))
    with pytest.raises(UsageError, match="belong together"):
        synaptic_operations(table, counts, simulate(other, counts))
