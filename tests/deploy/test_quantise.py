"""Small integer weights: least error, thresholds that take scales up, corrected biases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drawn_networks import random_network, random_split
from drawn_tables import random_table
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays.deploy import compare, integer_table
from snn_delays.deploy.quantise import Activity, activity, quantised
from snn_delays.deploy.table_network import TableNetwork
from snn_delays.errors import UsageError
from snn_delays.table import simulate
from snn_delays.table.table import DelayTable, LayerTable

NAMES = ("a", "b", "c", "d")


def real_weights(layer: LayerTable, threshold: np.ndarray) -> dict[tuple[int, int, int], float]:
    """Weight by (pre, post, delay), in units in which neurons have the given thresholds."""
    ratio = threshold / layer.neuron.v_threshold if layer.neuron.spiking else np.ones(layer.n_post)
    rows, weight = layer.synapses, layer.current_weight
    return {
        (int(pre), int(post), int(delay)): float(w * ratio[post])
        for pre, post, delay, w in zip(rows.pre, rows.post, rows.delay, weight, strict=True)
    }


@given(
    seed=st.integers(0, 2**31),
    bits=st.integers(2, 16),
    scale=st.sampled_from(["layer", "neuron"]),
)
@settings(max_examples=40, deadline=None)
def test_every_weight_is_the_nearest_on_its_grid(seed: int, bits: int, scale: Any) -> None:
    table = random_table(seed, (6, 5, 4))
    small = quantised(table, bits, scale=scale)
    levels = 2 ** (bits - 1) - 1
    for before, after in zip(table.layers, small.layers, strict=True):
        number = after.synapses.weight
        assert number.dtype == (np.int8 if bits <= 8 else np.int16)
        assert number.size == 0 or np.abs(number.astype(int)).max() <= levels
        assert np.all(number != 0)
        step = np.full(after.n_post, after.weight_scale)
        if after.neuron.spiking:
            step = step * before.neuron.v_threshold / after.neuron.v_threshold
        if scale == "layer" or not after.neuron.spiking:
            np.testing.assert_allclose(step, after.weight_scale, rtol=1e-6)
        got = real_weights(after, before.neuron.v_threshold)
        for key, weight in real_weights(before, before.neuron.v_threshold).items():
            near = abs(weight - got.get(key, 0.0)) <= 0.5001 * step[key[1]]
            cut_off = abs(weight) > levels * step[key[1]]
            assert near or (
                cut_off and np.isclose(got[key], np.sign(weight) * levels * step[key[1]])
            )


@pytest.mark.parametrize("scale", ["layer", "neuron"])
def test_the_scale_is_no_worse_than_any_other(scale: Any) -> None:
    table = random_table(3, (30, 12, 4))
    small = quantised(table, 4, scale=scale)
    before, after = table.layers[0], small.layers[0]
    got = real_weights(after, before.neuron.v_threshold)
    errors: dict[int, float] = {}
    weights: dict[int, list[float]] = {}
    for key, weight in real_weights(before, before.neuron.v_threshold).items():
        group = key[1] if scale == "neuron" else 0
        errors[group] = errors.get(group, 0.0) + (weight - got.get(key, 0.0)) ** 2
        weights.setdefault(group, []).append(weight)
    for group, mine in errors.items():
        w = np.array(weights[group])
        for step in np.linspace(0.02, 1.1, 300) * np.abs(w).max() / 7:
            other = ((w - step * np.clip(np.rint(w / step), -7, 7)) ** 2).sum()
            assert mine <= 1.1 * other + 1e-12  # the search tries a grid of its own


def test_powers_of_two() -> None:
    for layer in quantised(random_table(4, (9, 8, 3)), 5, power_of_two=True).layers:
        assert np.log2(layer.weight_scale) % 1 == 0


def test_scaling_a_neuron_changes_nothing() -> None:
    """With 16 bits next to nothing is lost, so per-neuron thresholds must act as before."""
    net, split = random_network(5), random_split(1, 30)
    table = integer_table(net, dt_ms=10.0, class_names=NAMES)
    fine = quantised(table, 16, scale="neuron")
    assert np.ptp(fine.layers[0].neuron.v_threshold) > 0.1
    agreement = compare(fine, net.rounded(), split)
    assert agreement.spikes_total > 1000
    assert agreement.spikes_differing < agreement.spikes_total / 200


def test_activity_is_the_mean_and_variance_of_what_arrives() -> None:
    table = random_table(6, (5, 6, 3), tail_steps=3)
    rng = np.random.default_rng(0)
    samples = [rng.poisson(0.5, (steps, 5)) for steps in (4, 9)]
    first, second = activity(table, samples)
    sent = np.concatenate([np.concatenate([s, np.zeros((3, 5))]) for s in samples])
    np.testing.assert_allclose(first.mean, sent.mean(0))
    np.testing.assert_allclose(first.variance, sent.var(0))
    fired = np.concatenate([simulate(table, s).spikes[0] for s in samples])
    np.testing.assert_allclose(second.mean, fired.mean(0))
    np.testing.assert_allclose(second.variance, fired.var(0))


def test_the_bias_makes_up_for_the_mean_error() -> None:
    table = random_table(7, (20, 6, 3))
    sent = [Activity(np.full(n, 0.7), np.full(n, 0.2)) for n in (20, 6)]
    for before, after in zip(
        table.layers, quantised(table, 3, calibration=sent).layers, strict=True
    ):

        def mean_current(layer: LayerTable) -> np.ndarray:
            weights = 0.7 * layer.current_weight
            return layer.bias + np.bincount(layer.synapses.post, weights, minlength=layer.n_post)

        np.testing.assert_allclose(mean_current(after), mean_current(before), atol=1e-5)


def test_what_never_fires_does_not_count() -> None:
    """Two channels with large weights that are always silent must not coarsen the others."""
    table = random_table(8, (10, 6, 3), density=1.0)
    weight, pre = table.layers[0].synapses.weight, table.layers[0].synapses.pre
    weight[pre < 2] *= 50
    variance = np.where(np.arange(10) < 2, 0.0, 1.0)
    sent = [Activity(np.zeros(10), variance), Activity(np.zeros(6), np.ones(6))]
    aware, blind = quantised(table, 4, calibration=sent), quantised(table, 4)
    assert aware.layers[0].weight_scale < blind.layers[0].weight_scale / 5


def test_scales_of_the_training_are_taken_as_they_are() -> None:
    table = random_table(9, (5, 4, 3))
    scales = [np.linspace(0.1, 0.4, 4), np.array([0.25])]
    after = quantised(table, 5, scales=scales)
    kept = table.layers[0].neuron.v_threshold / after.layers[0].neuron.v_threshold
    np.testing.assert_allclose(kept * after.layers[0].weight_scale, scales[0], rtol=1e-6)
    assert after.layers[1].weight_scale == 0.25
    np.testing.assert_array_equal(after.layers[1].bias, table.layers[1].bias)


def test_trained_weights_that_were_added_up_are_not_cut_off() -> None:
    """Contacts of ±1 that share a step make ±2 or ±3: two or three synapses of a ternary table."""
    table = random_table(11, (6, 5, 3), density=1.0)
    layer = table.layers[0]
    number = np.random.default_rng(0).integers(-3, 4, len(layer.synapses))
    layer.synapses.weight[:] = 0.25 * number
    after = quantised(table, 2, scales=[np.array([0.25]), np.array([0.25])]).layers[0]
    assert set(np.unique(after.synapses.weight)) == {-1, 1}
    assert len(after.synapses) == np.abs(number).sum()
    rows, sums = layer.synapses, {}
    for pre, post, delay, weight in zip(
        after.synapses.pre, after.synapses.post, after.synapses.delay, after.current_weight,
        strict=True,
    ):  # fmt: skip
        sums[pre, post, delay] = sums.get((pre, post, delay), 0) + weight
    for pre, post, delay, weight in zip(rows.pre, rows.post, rows.delay, rows.weight, strict=True):
        assert sums.get((pre, post, delay), 0) == weight


def test_ternary_networks_still_run() -> None:
    table: DelayTable = quantised(random_table(10, (8, 7, 3)), 2)
    assert set(np.unique(table.layers[0].synapses.weight)) == {-1, 1}
    assert TableNetwork(table).sizes == [8, 7, 3]


@pytest.mark.parametrize(
    ("bits", "options", "message"),
    [
        (1, {}, "bits must be a whole number from 2"),
        (17, {}, "bits must be a whole number from 2"),
        (4, {"scale": "row"}, "scale must be one of layer, neuron"),
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
