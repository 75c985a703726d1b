"""NEST, which others wrote, does what the table says: every spike of every step and neuron."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_networks import delay_snn
from drawn_tables import random_table

from snn_delays.data import load_synthetic
from snn_delays.deploy import integer_table
from snn_delays.errors import UsageError
from snn_delays.schedules import Exponential
from snn_delays.table import (
    NestAgreement,
    compare_with_nest,
    predict,
    run_in_nest,
    simulate,
)
from snn_delays.table.simulator import nest_check
from snn_delays.table.simulator.nest_check import latencies
from snn_delays.table.table import DelayTable, LayerTable, NeuronTable, SynapseTable
from snn_delays.training import fit

needs_nest = pytest.mark.skipif(
    find_spec("nest") is None, reason="nest-simulator is not installed (no wheel for this platform)"
)
TINY = random_table(0, (2, 3, 2))


def drawn_counts(seed: int, steps: int, channels: int) -> np.ndarray:
    """Counts up to 4 or so, most of them 0."""
    return np.random.default_rng(seed).poisson(0.5, (steps, channels)).astype(np.float32)


def chain(*delays: tuple[int, ...], threshold: float = 1.0) -> DelayTable:
    """One neuron per layer, with a synapse of weight 1 for each of the layer's delays; no leak
    at all in the readout (beta = 1), no memory in the others (beta = 0)."""
    layers = []
    for index, own in enumerate(delays):
        last = index == len(delays) - 1
        one, none = np.ones(1, np.float32), np.zeros(1, np.float32)
        layers.append(
            LayerTable(
                source="input" if index == 0 else index - 1,
                target=index,
                n_pre=1,
                n_post=1,
                min_delay=min(own),
                max_delay=max(own),
                synapses=SynapseTable(
                    np.zeros(len(own), np.int32),
                    np.zeros(len(own), np.int32),
                    np.array(own, np.int32),
                    np.ones(len(own), np.float32),
                ),
                bias=none,
                neuron=NeuronTable(
                    model="LI" if last else "LIF",
                    reset="none" if last else "hard",
                    beta=one if last else none,
                    v_threshold=one * (np.inf if last else threshold),
                    v_reset=none,
                ),
            )
        )
    return DelayTable(tuple(layers), 10.0, ("a",), "max", 80, 1, "a test")


@needs_nest
@pytest.mark.parametrize(
    ("delays", "arrivals", "latency"),
    [
        ([(0,)], {0: 1}, 1),
        ([(1,)], {1: 1}, 0),
        ([(60,)], {60: 1}, 0),
        ([(0,), (0,), (0,)], {0: 1}, 3),
        ([(1,), (0,), (24,)], {25: 1}, 1),
        ([(3,), (2,), (1,)], {6: 1}, 0),
        # Two contacts of one pair: the readout counts both; a hidden neuron fires for each.
        ([(0, 7), (1, 2)], {1: 1, 2: 1, 8: 1, 9: 1}, 1),
        ([(5,), (4, 4)], {9: 2}, 0),
    ],
    ids=str,
)
def test_an_impulse_arrives_when_the_delays_say(
    delays: list[tuple[int, ...]], arrivals: dict[int, int], latency: int
) -> None:
    table = chain(*delays)
    impulse = np.zeros((3, 1))
    impulse[0] = 1
    (found,) = run_in_nest(table, [impulse])
    expected = np.zeros(83)
    for step, size in arrivals.items():
        expected[step:] += size
    np.testing.assert_array_equal(found.potentials[:, 0], expected)
    np.testing.assert_array_equal(simulate(table, impulse).potentials[:, 0], expected)
    assert latencies(table)[-1] == latency


@needs_nest
def test_several_spikes_in_one_step_add_up_and_equality_fires() -> None:
    table = chain((2,), (1,), threshold=3.0)
    counts = np.array([[2.0], [3.0], [0.0], [7.0]])
    (found,) = run_in_nest(table, [counts])
    assert np.flatnonzero(found.spikes[0]).tolist() == [1 + 2, 3 + 2]
    assert found.potentials[:, 0].tolist() == [0] * 4 + [1] * 2 + [2] * 78


@needs_nest
@pytest.mark.parametrize(
    "options",
    [
        {"min_delay": 0},
        {"min_delay": 1, "readout": "max"},
        {"min_delay": 3, "tail_steps": 0},
        {"weight_type": "int8", "max_delay": 30, "readout": "mean"},
        {"density": 0.0},  # bias alone
    ],
    ids=str,
)
def test_random_tables_agree(options: dict[str, Any]) -> None:
    table = random_table(5, (7, 12, 9, 4), **options)
    samples = [drawn_counts(n, 5 + 7 * n, 7) for n in range(6)]
    calls: list[tuple[int, int]] = []
    found = compare_with_nest(table, samples, progress=lambda *call: calls.append(call))
    assert calls == [(done, 6) for done in range(1, 7)]
    assert found.samples == 6
    assert found.spikes_total > 100
    assert found.spikes_differing == found.first_differences == found.samples_with_difference == 0
    assert found.predictions_differing == 0
    assert found.potentials_max_difference < 1e-12
    assert found.seconds > 0


@needs_nest
def test_layers_may_need_a_longer_delay_or_not() -> None:
    # Delays from 0, from 2, from 0: the second layer lags no more than the first.
    layers = [
        random_table(seed, sizes, min_delay=least).layers
        for seed, sizes, least in ((1, (6, 8, 7), 0), (2, (6, 8, 7), 2), (3, (7, 3), 0))
    ]
    first, middle, last = layers[0][0], replace(layers[1][0], n_pre=8), layers[2][0]
    middle = replace(middle, source=0, target=1)
    last = replace(last, source=1, target=2, n_pre=8)
    table = replace(random_table(0, (6, 3)), layers=(first, middle, last))
    found = compare_with_nest(table, [drawn_counts(n, 20, 6) for n in range(4)])
    assert found.latency_steps == 2
    assert found.spikes_total > 300
    assert found.spikes_differing == 0
    assert found.potentials_max_difference < 1e-12


@needs_nest
def test_neurons_without_leak_and_without_memory() -> None:
    table = random_table(8, (5, 10, 3))
    layers = []
    for layer in table.layers:
        beta = np.resize(np.array([0, 1, 1e-30, 1 - 2**-24, 0.5], np.float32), layer.n_post)
        layers.append(replace(layer, neuron=replace(layer.neuron, beta=beta)))
    found = compare_with_nest(
        replace(table, layers=tuple(layers)), [drawn_counts(n, 60, 5) for n in range(4)]
    )
    assert found.spikes_total > 500
    assert found.spikes_differing == 0
    assert found.potentials_max_difference < 1e-10


@needs_nest
def test_thresholds_far_below_zero() -> None:
    # NEST's own rest is at −70 mV; nothing of that must be left.
    table = random_table(9, (5, 10, 3))
    hidden = table.layers[0]
    neuron = hidden.neuron
    low = replace(neuron, v_threshold=neuron.v_threshold - 300, v_reset=neuron.v_reset - 300)
    table = replace(table, layers=(replace(hidden, neuron=low), table.layers[1]))
    found = compare_with_nest(table, [drawn_counts(n, 30, 5) for n in range(3)])
    assert found.spikes_total > 100
    assert found.spikes_differing == 0


@needs_nest
def test_nothing_of_a_sample_is_left_for_the_next() -> None:
    # Long delays and a short tail: much is still on its way when a sample ends.
    table = random_table(6, (4, 20, 20, 3), max_delay=40, tail_steps=0)
    samples = [drawn_counts(n, 12 + n, 4) for n in range(4)] + [np.zeros((0, 4))]
    forward = run_in_nest(table, samples)
    for counts, one, other in zip(
        samples, forward, reversed(run_in_nest(table, samples[::-1])), strict=True
    ):
        (alone,) = run_in_nest(table, [counts])
        assert len(one.potentials) == len(counts)
        for found in (other, alone):
            np.testing.assert_array_equal(one.potentials, found.potentials)
            for a, b in zip(one.spikes, found.spikes, strict=True):
                np.testing.assert_array_equal(a, b)
    assert sum(int(spikes.sum()) for one in forward for spikes in one.spikes) > 100


@needs_nest
def test_a_trained_network_in_nest(tmp_path: Path) -> None:
    data = load_synthetic(tmp_path / "data", n_train=200, n_valid=40, n_test=60, n_classes=3)
    net = delay_snn([data.n_channels, 24, 16, data.n_classes], max_delay=24)
    fit(net, data, epochs=3, batch_size=32, schedule=Exponential(12.27), accelerator="cpu")
    rounded = net.eval().rounded()
    table = integer_table(rounded, dt_ms=data.dt_ms, class_names=data.class_names)
    batches = [data.test.collate([n]) for n in range(len(data.test))]
    samples = [batch.spikes[:, 0].numpy() for batch in batches]
    total = 0
    for batch, found in zip(batches, run_in_nest(table, samples), strict=True):
        _, hidden = rounded(batch.spikes, return_spikes=True)
        for by_network, by_nest in zip(hidden, found.spikes, strict=True):
            np.testing.assert_array_equal(by_network[:, 0].bool().numpy(), by_nest)
            total += int(by_nest.sum())
    assert total > 1000
    assert compare_with_nest(table, samples).predictions_differing == 0


@needs_nest
def test_differences_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    table = chain((0,), (1,), (1,))
    counts = np.array([[1.0], [0.0], [1.0]])
    # NEST is given a network whose first layer is 1 step late, and is held to the true one.
    late, stream = chain((1,), (1,), (1,)), nest_check._stream
    monkeypatch.setattr(nest_check, "_stream", lambda _, *rest: stream(late, *rest))
    found = compare_with_nest(table, [np.zeros((3, 1)), counts])
    assert found == NestAgreement(
        samples=2,
        spikes_total=4,
        spikes_differing=8,  # every spike at two steps, in both layers
        first_differences=1,
        samples_with_difference=1,
        predictions_differing=0,
        potentials_max_difference=1.0,
        readouts_differing=0,
        latency_steps=1,
        seconds=found.seconds,
    )
    assert predict(simulate(table, counts), "max") == 0


def without(change: Callable[[NeuronTable], NeuronTable]) -> DelayTable:
    hidden = TINY.layers[0]
    return replace(TINY, layers=(replace(hidden, neuron=change(hidden.neuron)), TINY.layers[1]))


@pytest.mark.parametrize(
    ("table", "counts", "message"),
    [
        (random_table(0, (2, 3, 2), reset="soft"), np.zeros((4, 2)), "hard reset only"),
        (random_table(0, (2, 3, 2), integer=True, weight_type="int8"), np.zeros((4, 2)), "IntLIF"),
        (
            without(lambda neuron: replace(neuron, v_threshold=neuron.v_reset)),
            np.zeros((4, 2)),
            "3 of 3 neurons at or below",
        ),
        (TINY, np.zeros((4, 3)), r"must be \[T, 2\], got shape \(4, 3\)"),
        (TINY, np.zeros(2), r"must be \[T, 2\]"),
        (TINY, np.full((4, 2), 0.5), "whole numbers"),
        (TINY, np.full((4, 2), -1), "whole numbers"),
        (TINY, np.full((4, 2), np.nan), "whole numbers"),
        (TINY, np.full((4, 2), 2.0**31), "whole numbers"),
    ],
    ids=["soft", "integer", "threshold", "channels", "vector", "half", "minus", "nan", "huge"],
)
def test_what_nest_cannot_run(table: DelayTable, counts: np.ndarray, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        run_in_nest(table, [counts])
    assert "\n" not in str(caught.value)


def test_no_sample() -> None:
    with pytest.raises(UsageError, match="no sample"):
        compare_with_nest(TINY, [])


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("raise ImportError('no such\\nlibrary')", r"library.*pip install 'snn-delays\[verify\]'"),
        ("import os; print('a last word', flush=True); os.abort()", "ended early.*a last word"),
        ("import time; time.sleep(60)", "more than 1 s for one sample"),
    ],
    ids=["missing", "aborts", "hangs"],
)
def test_nest_that_fails(
    module: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nest.py").write_text(module, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    with pytest.raises(UsageError, match=message) as caught:
        run_in_nest(TINY, [np.zeros((4, 2))], timeout_s=1)
    assert "\n" not in str(caught.value)
