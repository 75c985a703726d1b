"""Counting what a table costs, against counts made one by one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from drawn_tables import random_table, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays.errors import UsageError
from snn_delays.table.chips import load_chip
from snn_delays.table.cost import events_in_flight, table_cost
from snn_delays.table.simulator import simulate
from snn_delays.table.table import DelayTable


@given(table=tables())
@settings(max_examples=30, deadline=None)
def test_counts_of_synapses(table: DelayTable):
    for layer, cost in zip(table.layers, table_cost(table), strict=True):
        rows = layer.synapses
        contacts = Counter(zip(rows.pre.tolist(), rows.post.tolist(), strict=True))
        assert (cost.synapses, cost.pairs) == (len(rows), len(contacts))
        assert cost.contacts_max == max(contacts.values(), default=0)
        assert cost.contacts_mean * cost.pairs == pytest.approx(cost.synapses)
        assert dict(enumerate(cost.delay_histogram.tolist())) == {
            delay: int(np.sum(rows.delay == delay)) for delay in range(len(cost.delay_histogram))
        }
        assert cost.delay_histogram.sum() == len(rows)
        longest = int(rows.delay.max(initial=0))
        assert cost.ring_slots == layer.n_post * (longest + 1)
        assert cost.history_bits == layer.n_pre * (longest + 1)


def test_bytes_at_a_chips_widths():
    table = random_table(0, (10, 20, 3), max_delay=9, weight_type="int8", density=1.0)
    rows = table.layers[0].synapses
    assert (rows.delay.min(), rows.delay.max()) == (0, 9)
    own = table_cost(table)[0]
    assert own.table_bytes == 200 * (3 * 4 + 1) + 4 * 4 * 20
    assert own.synapse_bits == 8 + 4 + 5  # weight, ten delays, twenty targets
    assert own.packed_bytes == 200 * 17 / 8
    assert (own.ring_bytes, own.history_bytes) == (20 * 10 * 4, 13)  # 100 bits
    loihi = table_cost(table, load_chip("loihi1"))[0]
    assert (loihi.synapse_bits, loihi.ring_bytes) == (17, 20 * 10 * 3)
    small = table_cost(table, load_chip("spinnaker2"))[0]
    assert (small.synapse_bits, small.ring_bytes) == (5 + 4 + 5, 20 * 10 * 4)
    floating = table_cost(random_table(0, (10, 20, 3)))[0]
    assert floating.synapse_bits is None
    assert floating.packed_bytes is None


def test_an_empty_layer_costs_its_neurons():
    (cost,) = table_cost(random_table(0, (4, 3), density=0.0, weight_type="int8"))
    assert (cost.synapses, cost.pairs, cost.contacts_max, cost.packed_bytes) == (0, 0, 0, 0)
    assert cost.delay_histogram.tolist() == [0]
    assert cost.contacts_mean == 0
    assert cost.ring_slots == 3


def waiting_one_by_one(table: DelayTable, sources: list[np.ndarray]) -> list[np.ndarray]:
    """Every event is put into every step during which it waits."""
    found = []
    for layer, x in zip(table.layers, sources, strict=True):
        waiting = np.zeros(len(x), np.int64)
        rows = layer.synapses
        for pre, delay in zip(rows.pre, rows.delay, strict=True):
            for step in range(len(x)):
                waiting[step : step + delay] += int(x[step, pre])
        found.append(waiting)
    return found


@given(table=tables(), steps=st.integers(1, 6), seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_events_in_flight_equal_those_counted_one_by_one(table: DelayTable, steps: int, seed: int):
    counts = np.random.default_rng(seed).poisson(0.8, (steps, table.input_channels))
    spikes = simulate(table, counts).spikes
    silence = np.zeros((table.tail_steps, table.input_channels), counts.dtype)
    expected = waiting_one_by_one(table, [np.concatenate([counts, silence]), *spikes])
    got = events_in_flight(table, counts, spikes)
    for one, waiting in zip(got, expected, strict=True):
        assert one.max == waiting.max()
        assert one.mean == pytest.approx(waiting.mean())


def test_without_delays_nothing_waits():
    table = random_table(0, (4, 5, 3), max_delay=0)
    counts = np.ones((6, 4))
    for layer in events_in_flight(table, counts, simulate(table, counts).spikes):
        assert (layer.max, layer.mean) == (0, 0)
    empty = random_table(0, (4, 3), tail_steps=0)
    assert events_in_flight(empty, np.zeros((0, 4)), ())[0].max == 0


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
