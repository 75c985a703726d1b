"""Small integer weights: least error, thresholds that take scales up, corrected biases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from drawn_networks import random_network, random_split
from drawn_tables import floats, random_table, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays.deploy.integer import integer_table
from snn_delays.deploy.quantise import Activity, activity, quantised
from snn_delays.deploy.table_network import TableNetwork
from snn_delays.deploy.verify import compare
from snn_delays.errors import UsageError
from snn_delays.table.projection import Projection
from snn_delays.table.simulator import simulate
from snn_delays.table.table import DelayTable

NAMES = ("a", "b", "c", "d")


def units(before: DelayTable, after: DelayTable, name: str) -> np.ndarray:
    """By what the numbers of each neuron of a population were divided."""
    if not before[name].spiking:
        return np.ones(before[name].size)
    thresholds = [table[name].parameters["v_threshold"] for table in (before, after)]
    return thresholds[0] / thresholds[1]


def real_weights(one: Projection, unit: np.ndarray) -> dict[tuple[int, int, int], float]:
    """Weight by (pre, post, delay), in the network's own units."""
    return {
        (int(pre), int(post), int(delay)): float(w * unit[post])
        for pre, post, delay, w in zip(
            one.pre, one.post, one.delay, one.current_weight, strict=True
        )
    }


@given(
    table=tables().filter(floats),
    bits=st.integers(2, 16),
    scale=st.sampled_from(["population", "neuron"]),
)
@settings(max_examples=60, deadline=None)
def test_every_weight_is_the_nearest_on_its_grid(table: DelayTable, bits: int, scale: Any) -> None:
    small = quantised(table, bits, scale=scale)
    levels = 2 ** (bits - 1) - 1
    assert small.order == table.order
    for before, after in zip(table.projections, small.projections, strict=True):
        number, name = after.weight, before.target
        assert number.dtype == (np.int8 if bits <= 8 else np.int16)
        assert number.size == 0 or np.abs(number.astype(int)).max() <= levels
        assert np.all(number != 0)
        unit = units(table, small, name)
        step = after.weight_scale * unit
        if scale == "population" or not table[name].spiking:
            np.testing.assert_allclose(step, after.weight_scale, rtol=1e-6)
        got = real_weights(after, unit)
        for key, weight in real_weights(before, np.ones_like(unit)).items():
            near = abs(weight - got.get(key, 0.0)) <= 0.5001 * step[key[1]]
            cut_off = abs(weight) > levels * step[key[1]]
            assert near or (
                cut_off and np.isclose(got[key], np.sign(weight) * levels * step[key[1]])
            )
    for name in table.order:  # all that leads into a population shares its scale
        assert len({one.weight_scale for one in small.into(name)}) <= 1


@pytest.mark.parametrize("scale", ["population", "neuron"])
def test_the_scale_is_no_worse_than_any_other(scale: Any) -> None:
    """Over both projections into hidden0: from the input and from itself."""
    table = random_table(4, (30, 12, 4), links=((0, 1), (1, 2), (1, 1)))
    small = quantised(table, 4, scale=scale)
    unit = units(table, small, "hidden0")
    errors: dict[int, float] = {}
    weights: dict[int, list[float]] = {}
    for before, after in zip(table.into("hidden0"), small.into("hidden0"), strict=True):
        got = real_weights(after, unit)
        for key, weight in real_weights(before, np.ones(12)).items():
            group = key[1] if scale == "neuron" else 0
            errors[group] = errors.get(group, 0.0) + (weight - got.get(key, 0.0)) ** 2
            weights.setdefault(group, []).append(weight)
    for group, mine in errors.items():
        w = np.array(weights[group])
        for step in np.linspace(0.02, 1.1, 300) * np.abs(w).max() / 7:
            other = ((w - step * np.clip(np.rint(w / step), -7, 7)) ** 2).sum()
            assert mine <= 1.1 * other + 1e-12  # the search tries a grid of its own


def test_powers_of_two() -> None:
    for one in quantised(random_table(4, (9, 8, 3)), 5, power_of_two=True).projections:
        assert np.log2(one.weight_scale) % 1 == 0


def test_scaling_a_neuron_changes_nothing() -> None:
    """With 16 bits next to nothing is lost, so per-neuron thresholds must act as before."""
    net, split = random_network(5), random_split(1, 30)
    table = integer_table(net, dt_ms=10.0, class_names=NAMES)
    fine = quantised(table, 16, scale="neuron")
    assert np.ptp(fine["hidden0"].parameters["v_threshold"]) > 0.1
    agreement = compare(fine, net.rounded(), split)
    assert agreement.spikes_total > 1000
    assert agreement.spikes_differing < agreement.spikes_total / 200


def test_activity_is_the_mean_and_variance_of_what_arrives() -> None:
    table = random_table(6, (5, 6, 3), tail_steps=3)
    rng = np.random.default_rng(0)
    samples = [rng.poisson(0.5, (steps, 5)) for steps in (4, 9)]
    found = activity(table, samples)
    assert list(found) == ["input", "hidden0"]
    first, second = found.values()
    sent = np.concatenate([np.concatenate([s, np.zeros((3, 5))]) for s in samples])
    np.testing.assert_allclose(first.mean, sent.mean(0))
    np.testing.assert_allclose(first.variance, sent.var(0))
    fired = np.concatenate([simulate(table, s).spikes["hidden0"] for s in samples])
    np.testing.assert_allclose(second.mean, fired.mean(0))
    np.testing.assert_allclose(second.variance, fired.var(0))


def test_the_bias_makes_up_for_the_mean_error() -> None:
    table = random_table(7, (20, 6, 3), links=((0, 1), (1, 2), (0, 2)))
    sent = {
        name: Activity(np.full(table.size(name), mean), np.full(table.size(name), 0.2))
        for name, mean in (("input", 0.7), ("hidden0", 0.4))
    }
    small = quantised(table, 3, calibration=sent)

    def mean_current(table: DelayTable, name: str) -> np.ndarray:
        total = table[name].bias.astype(float)
        for one in table.into(name):
            weights = sent[one.source].mean[one.pre] * one.current_weight
            total += np.bincount(one.post, weights, minlength=len(total))
        return total

    for name in table.order:
        np.testing.assert_allclose(mean_current(small, name), mean_current(table, name), atol=1e-5)


def test_what_never_fires_does_not_count() -> None:
    """Two channels with large weights that are always silent must not coarsen the others."""
    table = random_table(8, (10, 6, 3), density=1.0)
    first = table.projections[0]
    first.weight[first.pre < 2] *= 50
    variance = np.where(np.arange(10) < 2, 0.0, 1.0)
    sent = {
        "input": Activity(np.zeros(10), variance),
        "hidden0": Activity(np.zeros(6), np.ones(6)),
    }
    aware, blind = (quantised(table, 4, calibration=one).projections[0] for one in (sent, None))
    assert aware.weight_scale < blind.weight_scale / 5


def test_scales_of_the_training_are_taken_as_they_are() -> None:
    table = random_table(9, (5, 4, 3))
    scales = {"hidden0": np.linspace(0.1, 0.4, 4), "readout": np.array([0.25])}
    after = quantised(table, 5, scales=scales)
    kept = units(table, after, "hidden0") * after.projections[0].weight_scale
    np.testing.assert_allclose(kept, scales["hidden0"], rtol=1e-6)
    assert after.projections[1].weight_scale == 0.25
    np.testing.assert_array_equal(after.output.bias, table.output.bias)


def test_trained_weights_that_were_added_up_are_not_cut_off() -> None:
    """Synapses of ±1 with one pair and step make ±2 or ±3: two or three rows of a ternary table."""
    table = random_table(11, (6, 5, 3), density=1.0)
    before = table.projections[0]
    number = np.random.default_rng(0).integers(-3, 4, len(before))
    before.weight[:] = 0.25 * number
    scales = dict.fromkeys(table.order, np.array([0.25]))
    after = quantised(table, 2, scales=scales).projections[0]
    assert set(np.unique(after.weight)) == {-1, 1}
    assert len(after) == np.abs(number).sum()
    sums: dict[tuple[int, int, int], float] = {}
    for *key, weight in zip(after.pre, after.post, after.delay, after.current_weight, strict=True):
        sums[tuple(key)] = sums.get(tuple(key), 0) + weight
    for *key, weight in zip(before.pre, before.post, before.delay, before.weight, strict=True):
        assert sums.get(tuple(key), 0) == weight


def test_ternary_networks_still_run() -> None:
    table = quantised(random_table(10, (8, 7, 3)), 2)
    assert set(np.unique(table.projections[0].weight)) == {-1, 1}
    assert TableNetwork(table)(torch.ones(5, 2, 8)).shape == (5 + table.tail_steps, 2, 3)


@pytest.mark.parametrize(
    ("bits", "options", "message"),
    [
        (1, {}, "bits must be a whole number from 2"),
        (17, {}, "bits must be a whole number from 2"),
        (4, {"scale": "row"}, "scale must be one of population, neuron"),
    ],
)
def test_refused(bits: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        quantised(random_table(0, (3, 2)), bits, **options)


def test_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="integers already"):
        quantised(random_table(0, (3, 2), weight_type="int8"), 4)
    with pytest.raises(UsageError, match="at least 1 sample"):
        activity(random_table(0, (3, 2)), [])
