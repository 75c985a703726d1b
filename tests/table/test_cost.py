"""Counting what a table costs, against counts made one by one."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_tables import random_table, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays.errors import UsageError
from snn_delays.table.chips import load_chip
from snn_delays.table.cost import neuron_bytes, table_cost
from snn_delays.table.simulator import simulate
from snn_delays.table.simulator.activity import events_in_flight
from snn_delays.table.table import INPUT, DelayTable


@given(table=tables())
@settings(max_examples=30, deadline=None)
def test_counts_of_synapses(table: DelayTable):
    costs = table_cost(table)
    assert list(costs) == [one.name for one in table.projections]
    for one, cost in zip(table.projections, costs.values(), strict=True):
        pairs = set(zip(one.pre.tolist(), one.post.tolist(), strict=True))
        assert (cost.synapses, cost.pairs) == (len(one), len(pairs))
        assert dict(enumerate(cost.delay_histogram.tolist())) == {
            delay: int(np.sum(one.delay == delay)) for delay in range(len(cost.delay_histogram))
        }
        assert cost.delay_histogram.sum() == len(one)
        longest = int(one.delay.max(initial=0))
        assert cost.ring_slots == table.size(one.target) * (longest + 1)
        assert cost.history_bits == table.size(one.source) * (longest + 1)


def test_bytes_at_a_chips_widths():
    table = random_table(0, (10, 20, 3), max_delay=9, weight_type="int8", density=1.0)
    rows, name = table.projections[0], "input_to_hidden0"
    assert (rows.delay.min(), rows.delay.max()) == (0, 9)
    own = table_cost(table)[name]
    assert own.table_bytes == 200 * (3 * 4 + 1)
    # bias, beta, v_threshold, v_reset; bias, beta
    assert neuron_bytes(table) == {"hidden0": 4 * 4 * 20, "readout": 2 * 4 * 3}
    assert own.synapse_bits == 8 + 4 + 5  # weight, ten delays, twenty targets
    assert own.packed_bytes == 200 * 17 / 8
    assert (own.ring_bytes, own.history_bytes) == (20 * 10 * 4, 13)  # 100 bits
    loihi = table_cost(table, load_chip("loihi1"))[name]
    assert (loihi.synapse_bits, loihi.ring_bytes) == (17, 20 * 10 * 3)
    small = table_cost(table, load_chip("spinnaker2"))[name]
    assert (small.synapse_bits, small.ring_bytes) == (5 + 4 + 5, 20 * 10 * 4)
    floating = table_cost(random_table(0, (10, 20, 3)))[name]
    assert floating.synapse_bits is None
    assert floating.packed_bytes is None


def test_an_empty_projection_costs_its_slots():
    (cost,) = table_cost(random_table(0, (4, 3), density=0.0, weight_type="int8")).values()
    assert (cost.synapses, cost.pairs, cost.packed_bytes) == (0, 0, 0)
    assert cost.delay_histogram.tolist() == [0]
    assert cost.ring_slots == 3


def waiting_one_by_one(table: DelayTable, sources: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every event is put into every step during which it waits."""
    found = {}
    for one in table.projections:
        x = sources[one.source]
        found[one.name] = waiting = np.zeros(len(x), np.int64)
        for pre, delay in zip(one.pre, one.delay, strict=True):
            for step in range(len(x)):
                waiting[step : step + delay] += int(x[step, pre])
    return found


@given(table=tables(), steps=st.integers(1, 6), seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_events_in_flight_equal_those_counted_one_by_one(table: DelayTable, steps: int, seed: int):
    counts = np.random.default_rng(seed).poisson(0.8, (steps, table.input_channels))
    spikes = simulate(table, counts).spikes
    silence = np.zeros((table.tail_steps, table.input_channels), counts.dtype)
    sources = {INPUT: np.concatenate([counts, silence]), **spikes}
    expected = waiting_one_by_one(table, sources)
    got = events_in_flight(table, counts, spikes)
    assert list(got) == list(expected)
    for name, waiting in expected.items():
        assert got[name].max == waiting.max()
        assert got[name].mean == pytest.approx(waiting.mean())


def test_without_delays_nothing_waits():
    table = random_table(0, (4, 5, 3), max_delay=0)
    counts = np.ones((6, 4))
    for one in events_in_flight(table, counts, simulate(table, counts).spikes).values():
        assert (one.max, one.mean) == (0, 0)
    empty = random_table(0, (4, 3), tail_steps=0)
    assert events_in_flight(empty, np.zeros((0, 4)), {})["input_to_readout"].max == 0


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.ones((6, 3)), "must have shapes"),
        (np.full((6, 4), 0.5), "whole numbers .* counts != 0"),
        (np.full((6, 4), -1), "whole numbers"),
        (np.full((6, 4), np.nan), "whole numbers"),
        (np.ones((5, 4)), "must have shapes"),
    ],
)
def test_unfit_input_is_refused(counts: np.ndarray, message: str):
    table = random_table(0, (4, 5, 3))
    spikes = simulate(table, np.ones((6, 4))).spikes
    with pytest.raises(UsageError, match=message) as refused:
        events_in_flight(table, counts, spikes)
    assert "\n" not in str(refused.value)
