"""Delays on a chip: what a shift, clipping, rescaling and merging do to what a network does."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn_tables import assert_same, random_table, tables
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from snn_delays.deploy.adapt import adapt_delays
from snn_delays.errors import UsageError
from snn_delays.table.chips import ChipProfile, load_chip
from snn_delays.table.simulator import scores, simulate
from snn_delays.table.table import DelayTable

GENERIC = load_chip("generic")


def chip(
    shortest: int = 0,
    longest: int | None = None,
    *,
    native: int | None = None,
    granularity: str = "synapse",
) -> ChipProfile:
    limits = replace(
        GENERIC.delay, min=shortest, max=longest, native_max=native, granularity=granularity
    )
    return replace(GENERIC, delay=limits)


def without_bias(table: DelayTable) -> DelayTable:
    layers = tuple(replace(one, bias=np.zeros_like(one.bias)) for one in table.layers)
    return replace(table, layers=layers)


def with_synapses(table: DelayTable, index: int, **columns: Any) -> DelayTable:
    layers = list(table.layers)
    layers[index] = replace(layers[index], synapses=replace(layers[index].synapses, **columns))
    return replace(table, layers=tuple(layers))


def delays(table: DelayTable) -> list[np.ndarray]:
    return [layer.synapses.delay for layer in table.layers]


float_tables = tables().filter(
    lambda table: (
        not table.layers[0].integer and table.layers[0].synapses.weight.dtype == np.float32
    )
)


@given(table=float_tables, shift=st.integers(1, 3), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_a_shift_without_bias_is_the_same_network_later(table: DelayTable, shift: int, seed: int):
    table = without_bias(table)
    low = min(layer.min_delay for layer in table.layers)
    adapted = adapt_delays(table, chip(low + shift))
    assume(adapted.shift)  # no delay below it, so nothing to do
    assert adapted.shift == shift
    assert adapted.latency == tuple(shift * (n + 1) for n in range(len(table.layers)))
    assert adapted.table.tail_steps == table.tail_steps + adapted.total_latency
    counts = np.random.default_rng(seed).poisson(0.7, (9, table.input_channels))
    before, after = simulate(table, counts), simulate(adapted.table, counts)
    steps = len(before.potentials)
    for one, two, late in zip(before.spikes, after.spikes, adapted.latency, strict=False):
        np.testing.assert_array_equal(two[late : late + steps], one)
        assert not two[:late].any()
    late = adapted.total_latency
    assert len(after.potentials) == steps + late
    np.testing.assert_array_equal(after.potentials[late:], before.potentials)
    assert not after.potentials[:late].any()
    # The readout's softmax counts the steps of waiting for every class alike.
    np.testing.assert_allclose(
        scores(after.potentials, "sum_softmax"),
        scores(before.potentials, "sum_softmax") + late / len(table.class_names),
        rtol=1e-12,
    )


def test_a_shift_with_bias_starts_from_where_the_bias_leads():
    """The documented difference: bias moves v while a layer waits for its first input."""
    table = random_table(3, (4, 5, 3), max_delay=4)
    counts = np.random.default_rng(0).poisson(0.7, (12, 4))
    adapted = adapt_delays(table, chip(2)).table
    # The same as the unshifted first layer that gets 2 steps of silence before the sample.
    silence = np.zeros((2, 4), counts.dtype)
    first = simulate(table, np.concatenate([silence, counts])).spikes[0]
    np.testing.assert_array_equal(simulate(adapted, counts).spikes[0][: len(first)], first)


def test_a_table_that_fits_is_left_alone():
    table = random_table(0, (4, 5, 3), max_delay=6)
    adapted = adapt_delays(table, chip(0, 6, native=5))
    assert_same(adapted.table, table)
    assert (adapted.shift, adapted.factor, adapted.total_latency) == (0, 1.0, 0)
    assert adapted.beyond_native == tuple(int(np.sum(one == 6)) for one in delays(table))
    # Delays of at least 1 in use need no shift, whatever shorter ones the layer may have.
    used = [np.maximum(one, 1) for one in delays(table)]
    for index, delay in enumerate(used):
        table = with_synapses(table, index, delay=delay)
    adapted = adapt_delays(table, chip(1, 6))
    assert adapted.shift == 0
    assert [one.min_delay for one in adapted.table.layers] == [1, 1]
    for one, two in zip(used, delays(adapted.table), strict=True):
        np.testing.assert_array_equal(two, one)


def test_transport_is_reported_and_left_out_of_the_table():
    table = random_table(0, (4, 5, 3), max_delay=6)
    adapted = adapt_delays(table, load_chip("loihi1"))
    assert (adapted.transport, adapted.total_latency) == (1, 0)
    assert_same(adapted.table, table)


def test_adapting_twice_is_adapting_once():
    table = random_table(1, (4, 5, 3), max_delay=6)
    for how in ("clip", "rescale"):
        once = adapt_delays(table, chip(1, 4), how)
        twice = adapt_delays(once.table, chip(1, 4), how)
        assert_same(twice.table, once.table)
        assert (twice.shift, twice.factor, twice.clipped) == (0, 1.0, (0, 0))


@given(
    seed=st.integers(0, 2**31),
    shortest=st.integers(0, 2),
    room=st.integers(0, 6),
    low=st.integers(0, 3),
    how=st.sampled_from(["clip", "rescale"]),
)
@settings(max_examples=60, deadline=None)
def test_every_delay_ends_up_on_the_chip(seed: int, shortest: int, room: int, low: int, how: str):
    table = random_table(seed, (5, 4, 3), min_delay=low, max_delay=9)
    profile = chip(shortest, shortest + room)
    adapted = adapt_delays(table, profile, how)
    for before, after in zip(table.layers, adapted.table.layers, strict=True):
        assert shortest <= after.min_delay <= after.max_delay <= shortest + room
        assert np.all(after.synapses.delay >= shortest)
        assert np.all(after.synapses.delay <= shortest + room)
        # Nothing is lost: the weights between every pair add up to the same.
        sums = np.zeros((2, 5, 5))
        for which, rows in enumerate((before.synapses, after.synapses)):
            np.add.at(sums[which], (rows.pre, rows.post), rows.weight)
        np.testing.assert_allclose(sums[1], sums[0], atol=1e-5)
    rows = zip(adapted.synapses, adapted.joined, adapted.cancelled, strict=True)
    left = tuple(synapses - joined - cancelled for synapses, joined, cancelled in rows)
    assert left == tuple(len(layer.synapses) for layer in adapted.table.layers)


def test_clipping_counts_what_it_cuts():
    table = random_table(2, (6, 5, 3), max_delay=9)
    before = delays(table)
    adapted = adapt_delays(table, chip(1, 5))
    cut = tuple(int(np.sum(one + 1 > 5)) for one in before)
    assert adapted.clipped == cut
    assert adapted.factor == 1
    shares = [count / one.size for count, one in zip(cut, before, strict=True)]
    assert adapted.clipped_share == tuple(shares)
    # One row per pair here, so that no row is merged, only sorted.
    for layer, one in zip(table.layers, before, strict=True):
        order = np.lexsort((layer.synapses.post, layer.synapses.pre))
        got = adapted.table.layers[layer.target].synapses
        np.testing.assert_array_equal(got.delay, np.minimum(one + 1, 5)[order])
        np.testing.assert_array_equal(got.weight, layer.synapses.weight[order])


def test_rescaling_uses_one_factor_for_all_layers():
    table = random_table(4, (6, 5, 3), max_delay=9)
    table = with_synapses(table, 1, delay=np.minimum(table.layers[1].synapses.delay, 4))
    longest = max(int(one.max()) for one in delays(table))
    adapted = adapt_delays(table, chip(1, 7), "rescale")
    assert adapted.factor == pytest.approx((7 - 1) / longest)
    assert adapted.clipped == (0, 0)
    assert max(int(one.max()) for one in delays(adapted.table)) == 7
    for layer, after in zip(table.layers, adapted.table.layers, strict=True):
        order = np.lexsort((layer.synapses.post, layer.synapses.pre))
        expected = 1 + np.rint(adapted.factor * layer.synapses.delay)
        np.testing.assert_array_equal(after.synapses.delay, expected[order])


def test_merged_synapses_act_as_the_unmerged_ones():
    """Several contacts per pair, clipped onto one step; weights that add up exactly."""
    rng = np.random.default_rng(5)
    table = random_table(5, (6, 5, 3), max_delay=9)
    for index, layer in enumerate(table.layers):
        rows = layer.synapses
        columns = {name: np.repeat(getattr(rows, name), 3) for name in ("pre", "post")}
        columns["delay"] = rng.integers(0, 10, len(rows) * 3).astype(np.int32)
        columns["weight"] = (rng.integers(-8, 9, len(rows) * 3) / 16).astype(np.float32)
        table = with_synapses(table, index, **columns)
    adapted = adapt_delays(table, chip(0, 4))
    assert all(adapted.joined)
    assert any(adapted.cancelled)
    unmerged = table
    for index, one in enumerate(delays(table)):
        unmerged = with_synapses(unmerged, index, delay=np.minimum(one, 4))
    counts = rng.poisson(0.5, (15, 6))
    expected, got = simulate(unmerged, counts), simulate(adapted.table, counts)
    np.testing.assert_array_equal(got.spikes[0], expected.spikes[0])
    np.testing.assert_allclose(got.potentials, expected.potentials, rtol=1e-12, atol=1e-12)


def refused(table: DelayTable, profile: ChipProfile, how: str = "clip") -> str:
    with pytest.raises(UsageError) as error:
        adapt_delays(table, profile, how)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_refusing_says_how_many_and_by_how_much():
    table = random_table(6, (6, 5, 3), max_delay=9)
    every = np.concatenate(delays(table)) + 1
    message = refused(table, chip(1, 7), "refuse")
    assert f"{np.sum(every > 7)} of {every.size} synapses" in message
    assert "7 steps" in message
    assert f"up to {every.max()} (shifted by 1)" in message
    assert adapt_delays(table, chip(1, 10), "refuse").clipped == (0, 0)


def test_one_delay_per_axon():
    table = random_table(7, (6, 5, 3), max_delay=9, density=1.0)
    truenorth = load_chip("truenorth")
    assert re.search(r"one delay per axon, and 11 of 11 neurons", refused(table, truenorth))
    for index, layer in enumerate(table.layers):
        axonal = np.arange(layer.n_pre, dtype=np.int32)
        table = with_synapses(table, index, delay=axonal[layer.synapses.pre])
    adapted = adapt_delays(table, truenorth)
    assert adapted.shift == 1
    # Where all that differ are clipped to one, the chip can take them.
    mixed = random_table(7, (6, 5, 3), min_delay=15, max_delay=20)
    assert sum(adapt_delays(mixed, truenorth).clipped) > 0


def test_a_chip_without_delays():
    table = random_table(8, (6, 5, 3), max_delay=3)
    some = int(sum(np.count_nonzero(one) for one in delays(table)))
    assert f"{some} of" in refused(table, chip(0, 0, granularity="none"))
    none = table
    for index, one in enumerate(delays(table)):
        none = with_synapses(none, index, delay=np.zeros_like(one))
    assert adapt_delays(none, chip(0, 0, granularity="none")).shift == 0
    assert adapt_delays(none, chip(1, 1, granularity="none")).shift == 1


def test_quantised_tables_come_too_late():
    for options in ({"weight_type": "int8"}, {"weight_type": "int8", "integer": True}):
        assert "quantise" in refused(random_table(9, (4, 3), **options), GENERIC)
    assert "how must be one of" in refused(random_table(9, (4, 3)), GENERIC, "cut")
