"""Delays on a chip: what a shift, clipping, rescaling and merging do to what a network does."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn_tables import assert_same, floats, random_table, tables
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from snn_delays.deploy.adapt import adapt_delays
from snn_delays.errors import UsageError
from snn_delays.table.chips import ChipProfile, load_chip
from snn_delays.table.projection import Projection
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
    return table.map(population=lambda one: replace(one, bias=np.zeros_like(one.bias)))


def with_columns(table: DelayTable, index: int, **columns: Any) -> DelayTable:
    projections = list(table.projections)
    projections[index] = replace(projections[index], **columns)
    return replace(table, projections=tuple(projections))


def delays(table: DelayTable) -> list[np.ndarray]:
    return [one.delay for one in table.projections]


@given(table=tables().filter(floats), shift=st.integers(1, 3), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_a_shift_without_bias_is_the_same_network_later(table: DelayTable, shift: int, seed: int):
    table = without_bias(table)
    table = table.map(projection=lambda one: slow(one) if table.leads_back(one) else one)
    low = min(one.min_delay for one in table.projections)
    adapted = adapt_delays(table, chip(low + shift))
    assume(adapted.total_latency)  # else no delay is below it, so nothing to do
    for one in table.projections:
        later = adapted.lag[one.target] - adapted.lag.get(one.source, 0)
        assert adapted.shift[one.name] == later
        assert later >= shift or table.leads_back(one)
    assert adapted.table.tail_steps == table.tail_steps + adapted.total_latency
    counts = np.random.default_rng(seed).poisson(0.7, (9, table.input_channels))
    before, after = simulate(table, counts), simulate(adapted.table, counts)
    steps = len(before.potentials)
    for name, one in before.spikes.items():
        late, two = adapted.lag[name], after.spikes[name]
        np.testing.assert_array_equal(two[late : late + steps], one)
        assert not two[:late].any()
    late = adapted.total_latency
    assert len(after.potentials) == steps + late
    np.testing.assert_array_equal(after.potentials[late:], before.potentials)
    rest = table.output.parameters["v_reset"] if table.output.spiking else 0
    assert np.all(after.potentials[:late] == rest)
    if table.readout == "sum_softmax":
        # The readout's softmax counts the steps of waiting for every class alike.
        np.testing.assert_allclose(
            scores(after, "sum_softmax"),
            scores(before, "sum_softmax") + late / len(table.class_names),
            rtol=1e-12,
        )


def slow(one: Projection) -> Projection:
    return replace(one, delay=one.delay + np.int32(12), max_delay=one.max_delay + 12)


def test_lags_of_a_graph():
    """A skip takes as long as the way around it, and a way back shrinks by what it leads over."""
    links = ((0, 1), (1, 2), (2, 3), (0, 3), (1, 1), (2, 1))
    table = random_table(2, (4, 5, 6, 3), links=links, density=1.0, max_delay=6)
    least = {"hidden0_to_hidden0": 2, "hidden1_to_hidden0": 4}
    table = table.map(
        projection=lambda one: replace(one, delay=np.maximum(one.delay, least.get(one.name, 0)))
    )
    adapted = adapt_delays(table, chip(2))
    assert adapted.lag == {"hidden0": 2, "hidden1": 4, "readout": 6}
    assert adapted.shift == {
        "input_to_hidden0": 2,
        "hidden0_to_hidden0": 0,
        "hidden1_to_hidden0": -2,
        "hidden0_to_hidden1": 2,
        "input_to_readout": 6,
        "hidden1_to_readout": 2,
    }


def test_a_shift_with_bias_starts_from_where_the_bias_leads():
    """The documented difference: bias moves v while a population waits for its first input."""
    table = random_table(3, (4, 5, 3), max_delay=4)
    counts = np.random.default_rng(0).poisson(0.7, (12, 4))
    adapted = adapt_delays(table, chip(2)).table
    # The same as the unshifted first population that gets 2 steps of silence before the sample.
    silence = np.zeros((2, 4), counts.dtype)
    first = simulate(table, np.concatenate([silence, counts])).spikes["hidden0"]
    got = simulate(adapted, counts).spikes["hidden0"]
    np.testing.assert_array_equal(got[: len(first)], first)


def test_a_table_that_fits_is_left_alone():
    table = random_table(0, (4, 5, 3), max_delay=6)
    adapted = adapt_delays(table, chip(0, 6, native=5))
    assert_same(adapted.table, table)
    assert (set(adapted.shift.values()), adapted.factor, adapted.total_latency) == ({0}, 1.0, 0)
    assert adapted.beyond_native == {
        one.name: int(np.sum(one.delay == 6)) for one in table.projections
    }
    # Delays of at least 1 in use need no shift, whatever shorter ones the projection may have.
    used = [np.maximum(one, 1) for one in delays(table)]
    for index, delay in enumerate(used):
        table = with_columns(table, index, delay=delay)
    adapted = adapt_delays(table, chip(1, 6))
    assert not any(adapted.shift.values())
    assert [one.min_delay for one in adapted.table.projections] == [1, 1]
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
        assert (twice.factor, twice.total_latency) == (1.0, 0)
        assert not any((*twice.shift.values(), *twice.clipped.values()))


@given(
    table=tables().filter(floats),
    shortest=st.integers(0, 1),
    room=st.integers(1, 6),
    how=st.sampled_from(["clip", "rescale"]),
)
@settings(max_examples=80, deadline=None)
def test_every_delay_ends_up_on_the_chip(table: DelayTable, shortest: int, room: int, how: str):
    table = table.map(projection=lambda one: slow(one) if table.leads_back(one) else one)
    adapted = adapt_delays(table, chip(shortest, shortest + room), how)
    for before, after in zip(table.projections, adapted.table.projections, strict=True):
        assert shortest <= after.min_delay <= after.max_delay <= shortest + room
        assert np.all(after.delay >= shortest)
        assert np.all(after.delay <= shortest + room)
        # Nothing is lost: the weights between every pair add up to the same.
        sums = np.zeros((2, table.size(before.source), table.size(before.target)))
        for which, one in enumerate((before, after)):
            np.add.at(sums[which], (one.pre, one.post), one.weight)
        np.testing.assert_allclose(sums[1], sums[0], atol=1e-5)
    assert {one.name: len(one) for one in adapted.table.projections} == {
        name: synapses - adapted.joined[name] - adapted.cancelled[name]
        for name, synapses in adapted.synapses.items()
    }


@pytest.mark.parametrize("low", [0, 2, 3])
def test_the_shortest_delay_that_may_be_used_becomes_the_chips(low: int):
    table = random_table(low, (5, 4, 3), min_delay=low, max_delay=9)
    for shortest in range(3):
        adapted = adapt_delays(table, chip(shortest))
        assert set(adapted.shift.values()) == {max(shortest - low, 0)}
        assert adapted.table.tail_steps == table.tail_steps + 2 * max(shortest - low, 0)


def test_clipping_counts_what_it_cuts():
    table = random_table(2, (6, 5, 3), max_delay=9)
    adapted = adapt_delays(table, chip(1, 5))
    assert adapted.clipped == {
        one.name: int(np.sum(one.delay + 1 > 5)) for one in table.projections
    }
    assert adapted.factor == 1
    # One row per pair here, so that no row is merged, only sorted.
    for before, after in zip(table.projections, adapted.table.projections, strict=True):
        order = np.lexsort((before.post, before.pre))
        np.testing.assert_array_equal(after.delay, np.minimum(before.delay + 1, 5)[order])
        np.testing.assert_array_equal(after.weight, before.weight[order])


def test_rescaling_uses_one_factor_for_all():
    table = random_table(4, (6, 5, 3), max_delay=9)
    table = with_columns(table, 1, delay=np.minimum(table.projections[1].delay, 4))
    longest = max(int(one.max()) for one in delays(table))
    adapted = adapt_delays(table, chip(1, 7), "rescale")
    assert adapted.factor == pytest.approx((7 - 1) / longest)
    assert not any(adapted.clipped.values())
    assert max(int(one.max()) for one in delays(adapted.table)) == 7
    for before, after in zip(table.projections, adapted.table.projections, strict=True):
        order = np.lexsort((before.post, before.pre))
        expected = 1 + np.rint(adapted.factor * before.delay)
        np.testing.assert_array_equal(after.delay, expected[order])


def test_rescaling_leaves_lags_as_they_are():
    """What a skip's spikes wait for those that go around is no delay to rescale."""
    table = random_table(4, (6, 5, 3), links=((0, 1), (1, 2), (0, 2)), max_delay=9)
    adapted = adapt_delays(table, chip(1, 7), "rescale")
    assert adapted.shift["input_to_readout"] == 2
    skip = next(one for one in adapted.table.projections if one.name == "input_to_readout")
    assert skip.min_delay == 2
    assert skip.max_delay == 7
    assert not any(adapted.clipped.values())


def test_merged_synapses_act_as_the_unmerged_ones():
    """Several synapses per pair, clipped onto one step; weights that add up exactly."""
    rng = np.random.default_rng(5)
    table = random_table(5, (6, 5, 3), max_delay=9)
    for index, one in enumerate(table.projections):
        columns = {name: np.repeat(getattr(one, name), 3) for name in ("pre", "post")}
        columns["delay"] = rng.integers(0, 10, len(one) * 3).astype(np.int32)
        columns["weight"] = (rng.integers(-8, 9, len(one) * 3) / 16).astype(np.float32)
        table = with_columns(table, index, **columns)
    adapted = adapt_delays(table, chip(0, 4))
    assert all(adapted.joined.values())
    assert any(adapted.cancelled.values())
    unmerged = table
    for index, one in enumerate(delays(table)):
        unmerged = with_columns(unmerged, index, delay=np.minimum(one, 4))
    counts = rng.poisson(0.5, (15, 6))
    expected, got = simulate(unmerged, counts), simulate(adapted.table, counts)
    np.testing.assert_array_equal(got.spikes["hidden0"], expected.spikes["hidden0"])
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
    assert adapt_delays(table, chip(1, 10), "refuse").factor == 1


def test_one_delay_per_axon():
    table = random_table(7, (6, 5, 3), max_delay=9, density=1.0)
    truenorth = load_chip("truenorth")
    assert re.search(r"one delay per axon, and 11 of 11 neurons", refused(table, truenorth))
    for index, one in enumerate(table.projections):
        table = with_columns(table, index, delay=one.pre)
    assert set(adapt_delays(table, truenorth).shift.values()) == {1}
    # Where all that differ are clipped to one, the chip can take them.
    mixed = random_table(7, (6, 5, 3), min_delay=15, max_delay=20)
    assert any(adapt_delays(mixed, truenorth).clipped.values())


def test_a_chip_without_delays():
    table = random_table(8, (6, 5, 3), max_delay=3)
    some = int(sum(np.count_nonzero(one) for one in delays(table)))
    assert f"{some} of" in refused(table, chip(0, 0, granularity="none"))
    none = table
    for index, one in enumerate(delays(table)):
        none = with_columns(none, index, delay=np.zeros_like(one))
    assert adapt_delays(none, chip(0, 0, granularity="none")).total_latency == 0
    assert adapt_delays(none, chip(1, 1, granularity="none")).total_latency == 2


def test_quantised_tables_come_too_late():
    for options in ({"weight_type": "int8"}, {"weight_type": "int8", "integer": True}):
        assert "quantise" in refused(random_table(9, (4, 3), **options), GENERIC)
    assert "how must be one of" in refused(random_table(9, (4, 3)), GENERIC, "cut")


def test_spikes_that_come_back_too_soon_are_refused():
    table = random_table(3, (4, 5, 6, 3), links=((0, 1), (1, 2), (2, 3), (2, 1)))
    message = refused(table, chip(1))
    assert "delays of generic are 1 … any steps" in message
    assert "along hidden1_to_hidden0." in message
    own = random_table(3, (4, 5, 3), links=((0, 1), (1, 2), (1, 1)))
    assert adapt_delays(own, chip(1)).shift["hidden0_to_hidden0"] == 0
    assert "along hidden0_to_hidden0." in refused(own, chip(4))
