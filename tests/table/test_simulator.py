"""The compiled simulator, its reference, and a loop over single synapses do the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from drawn_tables import random_table, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays.errors import UsageError
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection
from snn_delays.table.simulator import Simulation, Simulator, predict, scores, simulate
from snn_delays.table.simulator.reference import ReferenceSimulator
from snn_delays.table.table import DelayTable


def synapse_by_synapse(table: DelayTable, counts: np.ndarray) -> Simulation:
    """Step after step, every sum and every neuron written out as in docs/table-format.md."""
    steps = len(counts) + table.tail_steps
    sent = {one.name: np.zeros((steps, one.size)) for one in table.populations}
    sent["input"] = np.concatenate([counts, np.zeros((table.tail_steps, counts.shape[1]))])
    v = {one.name: [float(x) for x in rest(one)] for one in table.populations}
    leaking = {
        one.name: [0.0] * one.size for one in table.populations
    }  # CuBaLIF's currents, AdLIF's w
    potentials = np.zeros((steps, table.output.size))
    for t in range(steps):
        for population in table.populations:
            for post in range(population.size):
                current = float(population.bias[post])
                for rows in table.projections:
                    if rows.target != population.name:
                        continue
                    for s in range(len(rows)):
                        if rows.post[s] == post and rows.delay[s] <= t:
                            arrived = sent[rows.source][t - rows.delay[s], rows.pre[s]].item()
                            if population.integer:
                                unit = 2 ** population.scalars["weight_shift"]
                            else:
                                unit = rows.weight_scale
                            current += float(rows.weight[s]) * unit * arrived
                if "a" in population.parameters:
                    state = v[population.name][post], leaking[population.name][post]
                    state = adaptive_step(population, post, *state, current)
                    v[population.name][post], leaking[population.name][post], spike = state
                    sent[population.name][t, post] = spike
                    continue
                if "alpha" in population.parameters:
                    before = leaking[population.name][post]
                    current += kept_of(population, "alpha", post, before)
                    leaking[population.name][post] = current
                v[population.name][post], spike = one_step(
                    population, post, v[population.name][post], current
                )
                sent[population.name][t, post] = spike
        potentials[t] = np.array(v[table.output.name]) * table.unit(table.output)
    spikes = {one.name: sent[one.name] > 0 for one in table.populations if one.spiking}
    return Simulation(potentials, spikes)


def rest(population: Population) -> np.ndarray:
    return population.parameters.get("v_reset", np.zeros(population.size))


def one_step(population: Population, post: int, v: float, current: float) -> tuple[float, bool]:
    """LIF, LI and CuBaLIF, in both forms, by their equations and not by their descriptions."""
    own = {name: values[post].item() for name, values in population.parameters.items()}
    v_reset = own.get("v_reset", 0)
    v = v_reset + kept_of(population, "beta", post, v - v_reset) + current
    spike = "v_threshold" in own and v >= own["v_threshold"]
    if spike:
        v = v_reset if population.scalars["reset"] == "hard" else v - own["v_threshold"]
    return v, spike


def adaptive_step(
    population: Population, post: int, v: float, w: float, current: float
) -> tuple[float, float, bool]:
    """AdLIF, in both forms, by its equations."""
    own = {name: values[post].item() for name, values in population.parameters.items()}
    one = 2 ** population.scalars["beta_shift"] if population.integer else 1
    part = partial(part_of, population)
    v_reset = own["v_reset"]
    h = v_reset + part(own["alpha"], v - v_reset) + part(one - own["alpha"], current - w)
    spike, v = h >= own["v_threshold"], h
    if spike:
        v = v_reset if population.scalars["reset"] == "hard" else h - own["v_threshold"]
    felt = h if population.scalars["feedback"] == "before" else v
    w = part(own["beta"], w) + part(own["a"], felt - v_reset) + own["b"] * spike
    return v, w, spike


def kept_of(population: Population, name: str, post: int, value: float) -> float:
    """What a leak leaves of a value."""
    return part_of(population, population.parameters[name][post].item(), value)


def part_of(population: Population, factor: float, value: float) -> float:
    """A factor of a value; in whole numbers in 1 / 2^beta_shift, its fraction dropped."""
    if population.integer:
        return math.trunc(int(value) * Fraction(factor, 2 ** population.scalars["beta_shift"]))
    return factor * value


def draw_counts(seed: int, steps: int, table: DelayTable) -> np.ndarray:
    """Counts above 1 among them, and some below 0."""
    counts = np.random.default_rng(seed).poisson(0.6, (steps, table.input_channels))
    return np.where(counts > 2, -2, counts)


def assert_equal(got: Simulation, expected: Simulation) -> None:
    """To the last bit."""
    assert_same_spikes(got, expected)
    np.testing.assert_array_equal(got.potentials, expected.potentials, strict=True)


def assert_same_spikes(got: Simulation, expected: Simulation) -> None:
    assert list(got.spikes) == list(expected.spikes)
    for name, spikes in expected.spikes.items():
        np.testing.assert_array_equal(got.spikes[name], spikes, strict=True)


@given(table=tables(), steps=st.integers(0, 12), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_equals_the_loop_over_synapses(table: DelayTable, steps: int, seed: int) -> None:
    counts = draw_counts(seed, steps, table)
    expected, got = synapse_by_synapse(table, counts), simulate(table, counts)
    assert_equal(ReferenceSimulator(table).run(counts), got)
    if table.output.integer:
        assert_equal(got, expected)
    assert list(got.spikes) == [one.name for one in table.populations if one.spiking]
    assert_same_spikes(got, expected)
    np.testing.assert_allclose(got.potentials, expected.potentials, rtol=1e-9, atol=1e-9)


@given(table=tables(), steps=st.integers(0, 12), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_currents_as_input(table: DelayTable, steps: int, seed: int) -> None:
    counts = np.random.default_rng(seed).normal(0, 1, (steps, table.input_channels))
    if table.output.integer:
        counts = np.rint(3 * counts)
    got = simulate(table, counts)
    assert_equal(ReferenceSimulator(table).run(counts), got)
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
    for simulator in (streaming, ReferenceSimulator(table)):
        simulator.reset()
        found = [simulator.step(now) for now in counts]
        for t, (fired, potentials) in enumerate(found):
            np.testing.assert_array_equal(potentials, whole.potentials[t], strict=True)
            assert list(fired) == list(whole.spikes)
            for name, spikes in fired.items():
                np.testing.assert_array_equal(spikes, whole.spikes[name][t], strict=True)


def joined(parts: list[Simulation]) -> Simulation:
    """Chunks of one sample, one after another."""
    return Simulation(
        np.concatenate([part.potentials for part in parts]),
        {name: np.concatenate([part.spikes[name] for part in parts]) for name in parts[0].spikes},
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
    kept = [part.copy() for part in (*fired.values(), potentials)]
    for _ in range(20):
        simulator.step(np.full(5, 2))
    for part, copy in zip((*fired.values(), potentials), kept, strict=True):
        np.testing.assert_array_equal(part, copy)


def test_the_cases_do_spike() -> None:
    """Otherwise the comparison above would prove nothing."""
    for reset in ("hard", "soft"):
        table = random_table(6, (8, 8, 8, 3), reset=reset)
        rates = [s.mean() for s in simulate(table, draw_counts(0, 30, table)).spikes.values()]
        assert all(0.05 < rate < 0.95 for rate in rates)
        table = random_table(6, (8, 8, 8, 3), reset=reset, integer=True, weight_type="int8")
        rates = [s.mean() for s in simulate(table, draw_counts(0, 30, table)).spikes.values()]
        assert all(0.05 < rate < 0.95 for rate in rates)


def test_a_spike_arrives_after_its_delay() -> None:
    """Delay 0 in the same step, through every layer; the threshold itself is enough."""
    for first, second in ((0, 0), (3, 0), (0, 6), (2, 5)):
        table = impulse_table([("input", "hidden", first), ("hidden", "readout", second)])
        got = simulate(table, IMPULSE)
        assert np.flatnonzero(got.spikes["hidden"]).tolist() == [1 + first]
        assert np.flatnonzero(got.potentials).tolist() == [1 + first + second]


IMPULSE = np.zeros((12, 1))
IMPULSE[1] = 1


def impulse_table(links: list[tuple[str, str, int]]) -> DelayTable:
    """Neurons without memory that fire at 1, joined by synapses of weight 1."""
    spiking = {"beta": 0, "v_threshold": 1, "v_reset": 0, "reset": "hard"}
    zero, one = np.zeros(1, np.int32), np.ones(1, np.float32)
    names = list(dict.fromkeys(end for link in links for end in link[:2]))[1:-1]
    return DelayTable(
        populations=(
            *(Population.of(name, "LIF", 1, **spiking) for name in names),
            Population.of("readout", "LI", 1, beta=0),
        ),
        projections=tuple(
            Projection(source, target, zero, zero, zero + delay, one, delay, delay)
            for source, target, delay in links
        ),
        dt_ms=1.0,
        class_names=("a",),
        readout="max",
        tail_steps=0,
        input_channels=1,
        created_by="a test",
    )


@pytest.mark.parametrize("make", [Simulator, ReferenceSimulator])
def test_a_spike_skips_and_comes_back_after_its_delay(
    make: type[Simulator] | type[ReferenceSimulator],
) -> None:
    """Onto itself, back to an earlier population, and past one."""
    chain = [("input", "a", 0), ("a", "b", 0), ("b", "readout", 0)]

    def run(*links: tuple[str, str, int]) -> tuple[list[int], list[int], list[int]]:
        got = make(impulse_table([*chain, *links])).run(IMPULSE)
        a, b = (np.flatnonzero(got.spikes[name]).tolist() for name in "ab")
        return a, b, got.potentials[:, 0].astype(int).tolist()

    assert run() == ([1], [1], [0, 1, *10 * [0]])
    assert run(("a", "a", 4))[0] == [1, 5, 9]
    assert run(("b", "a", 5)) == ([1, 6, 11], [1, 6, 11], [0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1])
    assert run(("a", "readout", 0), ("input", "readout", 2))[2] == [0, 2, 0, 1, *8 * [0]]
    assert run(("b", "a", 1), ("b", "b", 3))[0] == list(range(1, 12))


def test_runs_do_not_leak_into_each_other() -> None:
    table = random_table(7, (5, 6, 3))
    simulator = Simulator(table)
    counts = draw_counts(1, 9, table)
    first = simulator.run(counts).potentials
    simulator.run(draw_counts(2, 20, table))
    np.testing.assert_array_equal(simulator.run(counts).potentials, first)


def test_scores() -> None:
    v = np.array([[0.0, np.log(3)], [900.0, 900.0]])
    fired = np.array([[True, False], [True, True]])
    found = Simulation(v, {"hidden0": fired[:, ::-1], "out": fired})
    np.testing.assert_allclose(scores(found, "sum_softmax"), [0.25 + 0.5, 0.75 + 0.5])
    np.testing.assert_allclose(scores(found, "max"), [900, 900])
    np.testing.assert_allclose(scores(found, "mean"), [450, 450 + np.log(3) / 2])
    np.testing.assert_array_equal(scores(found, "spike_count"), [2, 1])
    assert predict(found, "mean") == 1
    assert predict(found, "max") == predict(found, "spike_count") == 0


def test_unusable_readout() -> None:
    with pytest.raises(UsageError, match="readout must be"):
        scores(Simulation(np.zeros((2, 2)), {}), "first")
    with pytest.raises(UsageError, match="at least 1 step"):
        scores(Simulation(np.zeros((0, 2)), {}), "max")


@pytest.mark.usefixtures("unchecked")
def test_a_path_is_no_table() -> None:
    with pytest.raises(UsageError, match=r"takes a DelayTable, got str. read_table\(path\) gives"):
        simulate("delays.h5", np.zeros((3, 2)))  # pyright: ignore[reportArgumentType]
