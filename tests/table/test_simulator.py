"""The compiled simulator, its NumPy copied, and a loop over single synapses do the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from drawn_tables import random_table, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays.errors import UsageError
from snn_delays.table.simulator import Simulation, Simulator, predict, scores, simulate
from snn_delays.table.simulator.reference import NumpySimulator
from snn_delays.table.table import DelayTable, IntegerNeuronTable, NeuronTable


def synapse_by_synapse(table: DelayTable, counts: np.ndarray) -> Simulation:
    """Layer after layer, every sum written out as in docs/table-format.md."""
    steps = len(counts) + table.tail_steps
    x = np.concatenate([counts, np.zeros((table.tail_steps, counts.shape[1]))])
    spikes, potentials = [], np.zeros((steps, 0))
    for layer in table.layers:
        rows, neuron = layer.synapses, layer.neuron
        potentials = np.zeros((steps, layer.n_post))
        fired = np.zeros((steps, layer.n_post), bool)
        v = [float(value) for value in neuron.v_reset]
        for t in range(steps):
            for post in range(layer.n_post):
                current = float(layer.bias[post])
                for s in range(len(rows)):
                    if rows.post[s] == post and rows.delay[s] <= t:
                        arrived = x[t - rows.delay[s], rows.pre[s]]
                        if isinstance(neuron, IntegerNeuronTable):
                            current += int(rows.weight[s]) * 2**neuron.weight_shift * arrived
                        else:
                            current += float(rows.weight[s]) * layer.weight_scale * arrived
                rest = float(neuron.v_reset[post]) if neuron.reset == "hard" else 0.0
                kept = v[post] - rest
                if isinstance(neuron, IntegerNeuronTable):
                    kept = math.trunc(
                        Fraction(int(kept) * int(neuron.decay[post]), 2**neuron.decay_shift)
                    )
                else:
                    kept *= float(neuron.beta[post])
                v[post] = rest + kept + current
                if neuron.spiking and v[post] >= neuron.v_threshold[post]:
                    fired[t, post] = True
                    v[post] = rest if neuron.reset == "hard" else v[post] - neuron.v_threshold[post]
                potentials[t, post] = v[post] * layer.unit
        if neuron.spiking:
            spikes.append(fired)
        x = fired.astype(float)
    return Simulation(potentials, tuple(spikes))


def draw_counts(seed: int, steps: int, table: DelayTable) -> np.ndarray:
    """Counts above 1 among them, and some below 0."""
    counts = np.random.default_rng(seed).poisson(0.6, (steps, table.input_channels))
    return np.where(counts > 2, -2, counts)


def assert_equal(got: Simulation, expected: Simulation) -> None:
    """To the last bit."""
    assert len(got.spikes) == len(expected.spikes)
    for one, other in zip(got.spikes, expected.spikes, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
    np.testing.assert_array_equal(got.potentials, expected.potentials, strict=True)


@given(table=tables(), steps=st.integers(0, 12), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_equals_the_loop_over_synapses(table: DelayTable, steps: int, seed: int) -> None:
    counts = draw_counts(seed, steps, table)
    expected, got = synapse_by_synapse(table, counts), simulate(table, counts)
    assert_equal(NumpySimulator(table).run(counts), got)
    if all(layer.integer for layer in table.layers):
        assert_equal(got, expected)
    assert len(got.spikes) == len(expected.spikes) == len(table.layers) - 1
    for one, other in zip(got.spikes, expected.spikes, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
    np.testing.assert_allclose(got.potentials, expected.potentials, rtol=1e-9, atol=1e-9)


@given(table=tables(), steps=st.integers(0, 12), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_currents_as_input(table: DelayTable, steps: int, seed: int) -> None:
    counts = np.random.default_rng(seed).normal(0, 1, (steps, table.input_channels))
    if table.layers[0].integer:
        counts = np.rint(3 * counts)
    got = simulate(table, counts)
    assert_equal(NumpySimulator(table).run(counts), got)
    expected = synapse_by_synapse(table, counts)
    np.testing.assert_allclose(got.potentials, expected.potentials, rtol=1e-9, atol=1e-9)


@given(
    table=tables(),
    steps=st.integers(0, 40),
    cuts=st.lists(st.integers(0, 40), max_size=3),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=40, deadline=None)
def test_steps_chunks_and_whole_samples_agree(
    table: DelayTable, steps: int, cuts: list[int], seed: int
) -> None:
    table = replace(table, tail_steps=0)
    counts = draw_counts(seed, steps, table)
    whole, streaming = simulate(table, counts), Simulator(table)
    assert_equal(
        joined([streaming.advance(part) for part in np.split(counts, sorted(cuts))]), whole
    )
    for simulator in (streaming, NumpySimulator(table)):
        simulator.reset()
        found = [simulator.step(now) for now in counts]
        for t, (fired, potentials) in enumerate(found):
            np.testing.assert_array_equal(potentials, whole.potentials[t], strict=True)
            for layer, spikes in enumerate(fired):
                np.testing.assert_array_equal(spikes, whole.spikes[layer][t], strict=True)


def joined(parts: list[Simulation]) -> Simulation:
    """Chunks of one sample, one after another."""
    return Simulation(
        np.concatenate([part.potentials for part in parts]),
        tuple(np.concatenate(layer) for layer in zip(*(p.spikes for p in parts), strict=True)),
    )


def test_a_tail_is_silence() -> None:
    table = random_table(3, (6, 7, 5, 3), tail_steps=11)
    counts = draw_counts(5, 9, table)
    silent = np.concatenate([counts, np.zeros((11, 6))])
    assert_equal(simulate(table, counts), simulate(replace(table, tail_steps=0), silent))


@pytest.mark.parametrize("integer", [False, True])
def test_delays_beyond_the_sample(integer: bool) -> None:
    """What arrives after the end changes nothing, and is gone in the next sample."""
    table = random_table(
        4, (6, 7, 3), max_delay=70, tail_steps=0, integer=integer, weight_type="int8"
    )
    counts = draw_counts(6, 10, table)
    padded = np.concatenate([counts, np.zeros((90, 6), int)])
    expected, simulator = synapse_by_synapse(table, padded), Simulator(table)
    silence = synapse_by_synapse(table, 0 * padded)
    assert (expected.potentials[70:] != silence.potentials[70:]).any()
    for _ in range(2):
        found, longer = simulator.run(counts), simulator.run(padded)
        np.testing.assert_allclose(longer.potentials, expected.potentials, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(longer.potentials[:10], found.potentials)


@pytest.mark.parametrize(
    "prepare",
    [
        np.asfortranarray,
        lambda counts: np.repeat(counts, 2, axis=1)[:, ::2],
        lambda counts: counts.astype(np.uint8),
        lambda counts: counts.astype(np.float16),
        lambda counts: counts.astype(">i4"),
        lambda counts: np.frombuffer(counts.astype(float).tobytes()).reshape(counts.shape),
    ],
    ids=["Fortran order", "strided", "uint8", "float16", "other byte order", "read-only"],
)
def test_any_array_of_numbers_will_do(prepare: Callable[[np.ndarray], np.ndarray]) -> None:
    table = random_table(10, (5, 6, 3), integer=True, weight_type="int16")
    counts = np.abs(draw_counts(4, 9, table))
    given_counts = prepare(counts)
    before = given_counts.copy()
    assert_equal(simulate(table, given_counts), simulate(table, counts))
    np.testing.assert_array_equal(given_counts, before, strict=True)


def test_what_a_step_returned_is_never_changed_by_the_next() -> None:
    table = random_table(8, (5, 6, 4, 3))
    simulator = Simulator(table)
    fired, potentials = simulator.step(np.ones(5))
    kept = [part.copy() for part in (*fired, potentials)]
    for _ in range(20):
        simulator.step(np.full(5, 2))
    for part, copy in zip((*fired, potentials), kept, strict=True):
        np.testing.assert_array_equal(part, copy)


def test_the_cases_do_spike() -> None:
    """Otherwise the comparison above would prove nothing."""
    for reset in ("hard", "soft"):
        table = random_table(6, (8, 8, 8, 3), reset=reset)
        rates = [s.mean() for s in simulate(table, draw_counts(0, 30, table)).spikes]
        assert all(0.05 < rate < 0.95 for rate in rates)
        table = random_table(6, (8, 8, 8, 3), reset=reset, integer=True, weight_type="int8")
        rates = [s.mean() for s in simulate(table, draw_counts(0, 30, table)).spikes]
        assert all(0.05 < rate < 0.95 for rate in rates)


def test_a_spike_arrives_after_its_delay() -> None:
    """Delay 0 in the same step, through every layer; the threshold itself is enough."""
    table = random_table(0, (1, 1, 1), density=1.0, max_delay=6)
    for first, second in ((0, 0), (3, 0), (0, 6), (2, 5)):
        for layer, delay in zip(table.layers, (first, second), strict=True):
            layer.synapses.delay[:] = delay
            layer.synapses.weight[:] = 1
            layer.bias[:] = 0
            assert isinstance(layer.neuron, NeuronTable)
            layer.neuron.beta[:] = 0
            layer.neuron.v_reset[:] = 0
        table.layers[0].neuron.v_threshold[:] = 1
        impulse = np.zeros((12, 1))
        impulse[1] = 1
        got = simulate(table, impulse)
        assert np.flatnonzero(got.spikes[0]).tolist() == [1 + first]
        assert np.flatnonzero(got.potentials).tolist() == [1 + first + second]


def test_runs_do_not_leak_into_each_other() -> None:
    table = random_table(7, (5, 6, 3))
    simulator = Simulator(table)
    counts = draw_counts(1, 9, table)
    first = simulator.run(counts).potentials
    simulator.run(draw_counts(2, 20, table))
    np.testing.assert_array_equal(simulator.run(counts).potentials, first)


def test_scores() -> None:
    v = np.array([[0.0, np.log(3)], [900.0, 900.0]])
    np.testing.assert_allclose(scores(v, "sum_softmax"), [0.25 + 0.5, 0.75 + 0.5])
    np.testing.assert_allclose(scores(v, "max"), [900, 900])
    np.testing.assert_allclose(scores(v, "mean"), [450, 450 + np.log(3) / 2])
    assert predict(Simulation(v, ()), "mean") == 1
    assert predict(Simulation(v, ()), "max") == 0


def test_unusable_readout() -> None:
    with pytest.raises(UsageError, match="readout must be"):
        scores(np.zeros((2, 2)), "first")
    with pytest.raises(UsageError, match="at least 1 step"):
        scores(np.zeros((0, 2)), "max")


@pytest.mark.usefixtures("unchecked")
def test_a_path_is_no_table() -> None:
    with pytest.raises(UsageError, match=r"takes a DelayTable, got str. read_table\(path\) gives"):
        simulate("delays.h5", np.zeros((3, 2)))  # pyright: ignore[reportArgumentType]
