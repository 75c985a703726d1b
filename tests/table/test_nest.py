"""NEST, which others wrote, does what the table says: every spike of every step and neuron."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_tables import random_table, tables
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from snn_delays.errors import UsageError
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection
from snn_delays.table.simulator import nest_check, predict, simulate
from snn_delays.table.simulator.nest_check import (
    NestAgreement,
    compare_with_nest,
    latencies,
    run_in_nest,
)
from snn_delays.table.table import DelayTable

needs_nest = pytest.mark.skipif(
    find_spec("nest") is None, reason="nest-simulator is not installed (no wheel for this platform)"
)
TINY = random_table(0, (2, 3, 2))


def drawn_counts(seed: int, steps: int, channels: int) -> np.ndarray:
    """Counts up to 4 or so, most of them 0."""
    return np.random.default_rng(seed).poisson(0.5, (steps, channels)).astype(np.float32)


def joined(*links: tuple[str, str, tuple[int, ...]], threshold: float = 1.0) -> DelayTable:
    """One neuron per population, with a synapse of weight 1 for each of a link's delays; no leak
    at all in the readout (beta = 1), no memory in the others (beta = 0)."""
    spiking = {"beta": 0, "v_threshold": threshold, "v_reset": 0, "reset": "hard"}
    names = dict.fromkeys(end for link in links for end in link[:2])
    zeros = {n: np.zeros(n, np.int32) for n in (1, 2)}
    return DelayTable(
        populations=(
            *(
                Population.of(name, "LIF", 1, **spiking)
                for name in names
                if name not in ("input", "readout")
            ),
            Population.of("readout", "LI", 1, beta=1),
        ),
        projections=tuple(
            Projection(
                *(source, target, zeros[len(own)], zeros[len(own)], np.array(own, np.int32)),
                *(np.ones(len(own), np.float32), min(own), max(own)),
            )
            for source, target, own in links
        ),
        dt_ms=10.0,
        class_names=("a",),
        readout="max",
        tail_steps=80,
        input_channels=1,
        created_by="a test",
    )


def chain(*delays: tuple[int, ...], threshold: float = 1.0) -> DelayTable:
    names = ["input", *(f"hidden{n}" for n in range(len(delays) - 1)), "readout"]
    links = zip(names, names[1:], delays, strict=False)
    return joined(*links, threshold=threshold)


@needs_nest
@pytest.mark.parametrize(
    ("delays", "arrivals", "latency"),
    [
        ([(0,)], {0: 1}, 1),
        ([(1,)], {1: 1}, 0),
        ([(60,)], {60: 1}, 0),
        ([(0,), (0,), (0,)], {0: 1}, 3),
        ([(1,), (0,), (24,)], {25: 1}, 0),
        ([(3,), (2,), (1,)], {6: 1}, 0),
        # Two synapses of one pair: the readout counts both; a hidden neuron fires for each.
        ([(0, 7), (1, 2)], {1: 1, 2: 1, 8: 1, 9: 1}, 1),
        ([(0,), (2,), (0,)], {2: 1}, 1),
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
    assert latencies(table)["readout"] == latency


@needs_nest
def test_several_spikes_in_one_step_add_up_and_equality_fires() -> None:
    table = chain((2,), (1,), threshold=3.0)
    counts = np.array([[2.0], [3.0], [0.0], [7.0]])
    (found,) = run_in_nest(table, [counts])
    assert np.flatnonzero(found.spikes["hidden0"]).tolist() == [1 + 2, 3 + 2]
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


LOOPS = ((0, 1), (1, 2), (2, 3), (3, 4), (2, 2), (3, 1), (1, 3), (0, 3))


def loops(seed: int = 5, readout: str = "max", **options: Any) -> DelayTable:
    """A graph with skips, a loop, and a population that leads to itself; few spikes die out."""
    return random_table(seed, (7, 12, 9, 8, 4), links=LOOPS, readout=readout, **options)


@needs_nest
@pytest.mark.parametrize(
    "table",
    [
        loops(min_delay=1),
        loops(min_delay=2, tail_steps=30),
        loops(min_delay=1, weight_type="int8"),
        loops(min_delay=1, readout="spike_count"),
        # Without a delay forth, and two steps and more back.
        random_table(3, (6, 8, 7, 3), links=((0, 1), (1, 2), (0, 2), (1, 3), (2, 3))),
    ],
    ids=["1 step", "2 steps", "int8", "spike count", "skips of 0 steps"],
)
def test_random_graphs_agree(table: DelayTable) -> None:
    samples = [drawn_counts(n, 5 + 7 * n, table.input_channels) for n in range(6)]
    found = compare_with_nest(table, samples)
    assert found.spikes_total > 500
    assert found.spikes_differing == found.predictions_differing == 0
    assert found.potentials_max_difference < 1e-12


@needs_nest
@given(table=tables(), seed=st.integers(0, 2**31))
@settings(max_examples=8, deadline=None)
def test_drawn_graphs_agree_or_are_refused(table: DelayTable, seed: int) -> None:
    assume(all(one.model.nest is not None for one in table.populations))
    assume(all(one.scalars.get("reset", "hard") == "hard" for one in table.populations))
    samples = [drawn_counts(seed + n, 15, table.input_channels) for n in range(2)]
    try:
        found = compare_with_nest(table, samples)
    except UsageError as error:
        # The tests below are about these.
        if not re.search("at or below|in the loop", str(error)):
            raise
        return
    assert found.spikes_differing == found.predictions_differing == 0
    assert found.potentials_max_difference < 1e-9


@needs_nest
@pytest.mark.parametrize(
    ("back", "lags"),
    [
        # Two steps are enough for a loop of two, whoever waits; the skip waits with its target.
        ({("b", "a"): (2,)}, {"a": 1, "b": 2, "readout": 3}),
        ({("b", "a"): (7, 3)}, {"a": 1, "b": 2, "readout": 3}),
        ({("b", "a"): (2,), ("b", "b"): (1,), ("a", "readout"): (0,)},
         {"a": 1, "b": 2, "readout": 3}),
    ],
)  # fmt: skip
def test_a_loop_without_delay_forth(
    back: dict[tuple[str, str], tuple[int, ...]], lags: dict[str, int]
) -> None:
    forth = {("input", "a"): (0,), ("a", "b"): (0,), ("b", "readout"): (0,)}
    table = joined(*((*ends, delays) for ends, delays in (forth | back).items()))
    assert latencies(table) == lags
    counts = np.zeros((20, 1))
    counts[2] = 1
    (found,) = run_in_nest(table, [counts])
    expected = simulate(table, counts)
    assert expected.spikes["a"].sum() > 20
    for name, spikes in expected.spikes.items():
        np.testing.assert_array_equal(found.spikes[name], spikes)
    np.testing.assert_array_equal(found.potentials, expected.potentials)


def test_a_loop_that_is_too_short() -> None:
    links = [("input", "a", (0,)), ("a", "b", (0,)), ("b", "a", (1,)), ("b", "readout", (0,))]
    with pytest.raises(
        UsageError, match=r"the loop (a_to_b ← b_to_a|b_to_a ← a_to_b) .*than 2"
    ) as e:
        run_in_nest(joined(*links), [np.zeros((4, 1))])
    assert "\n" not in str(e.value)


@given(table=tables())
@settings(max_examples=200, deadline=None)
def test_lags_leave_every_delay_a_step_or_the_loop_is_named(table: DelayTable) -> None:
    used = {one.name: one for one in table.projections if len(one)}
    try:
        lags = {"input": 0, **latencies(table)}
    except UsageError as error:
        names = re.split(" ← ", str(error).split(" the loop ")[1].split(" the shortest")[0])
        loop = [used[name] for name in names]
        for one, before in zip(loop, [*loop[1:], loop[0]], strict=True):
            assert one.source == before.target
        assert sum(one.delay.min() for one in loop) < len(loop)
        return
    needed = {one.name: [0] for one in table.populations}
    for one in used.values():
        needed[one.target].append(lags[one.source] + 1 - one.delay.min())
    assert lags == {"input": 0, **{name: max(least) for name, least in needed.items()}}


def test_delays_that_nest_would_wrap() -> None:
    with pytest.raises(UsageError, match="input_to_readout: a delay of 2097152 steps is longer"):
        run_in_nest(joined(("input", "readout", (0, 2**21 - 1))), [np.zeros((4, 1))])


@needs_nest
def test_projections_may_need_a_longer_delay_or_not() -> None:
    # Delays from 0, from 2, from 0.
    tables = [random_table(1, (6, 8, 7, 3), min_delay=least) for least in (0, 2)]
    first, _, last = tables[0].projections
    table = replace(tables[0], projections=(first, tables[1].projections[1], last))
    assert latencies(table) == {"hidden0": 1, "hidden1": 0, "readout": 1}
    found = compare_with_nest(table, [drawn_counts(n, 40, 6) for n in range(4)])
    assert found.latency_steps == 1
    assert found.spikes_total > 300
    assert found.spikes_differing == 0
    assert found.potentials_max_difference < 1e-12


@needs_nest
def test_neurons_without_leak_and_without_memory() -> None:
    table = random_table(8, (5, 10, 3))
    for one in table.populations:
        ends = np.array([0, 1, 1e-30, 1 - 2**-24, 0.5], np.float32)
        one.parameters["beta"][:] = np.resize(ends, one.size)
    found = compare_with_nest(table, [drawn_counts(n, 60, 5) for n in range(4)])
    assert found.spikes_total > 500
    assert found.spikes_differing == 0
    assert found.potentials_max_difference < 1e-10


@needs_nest
def test_thresholds_far_below_zero() -> None:
    # NEST's own rest is at −70 mV; nothing of that must be left.
    table = random_table(9, (5, 10, 3))
    for name in ("v_threshold", "v_reset"):
        table["hidden0"].parameters[name][:] -= 300
    found = compare_with_nest(table, [drawn_counts(n, 30, 5) for n in range(3)])
    assert found.spikes_total > 100
    assert found.spikes_differing == 0


@needs_nest
@pytest.mark.parametrize(
    "table",
    [
        random_table(6, (4, 20, 20, 3), max_delay=40, tail_steps=0),
        # Its spikes would go round for ever.
        random_table(
            *(6, (4, 20, 20, 3)),
            max_delay=40,
            min_delay=1,
            tail_steps=0,
            links=((0, 1), (1, 2), (2, 3), (1, 1), (2, 1)),
        ),
    ],
    ids=["chain", "loops"],
)
def test_nothing_of_a_sample_is_left_for_the_next(table: DelayTable) -> None:
    # Long delays and a short tail: much is still on its way when a sample ends.
    samples = [drawn_counts(n, 12 + n, 4) for n in range(4)] + [np.zeros((0, 4))]
    forward = run_in_nest(table, samples)
    for counts, one, other in zip(
        samples, forward, reversed(run_in_nest(table, samples[::-1])), strict=True
    ):
        (alone,) = run_in_nest(table, [counts])
        assert len(one.potentials) == len(counts)
        for found in (other, alone):
            np.testing.assert_array_equal(one.potentials, found.potentials)
            assert list(one.spikes) == list(found.spikes)
            for name, spikes in one.spikes.items():
                np.testing.assert_array_equal(spikes, found.spikes[name])
    assert sum(sum(one.spike_counts.values()) for one in forward) > 100


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


def at_rest() -> DelayTable:
    """Neurons that fire at rest."""
    table = random_table(0, (2, 3, 2))
    neurons = table["hidden0"].parameters
    neurons["v_threshold"][:] = neurons["v_reset"]
    return table


@pytest.mark.parametrize(
    ("table", "counts", "message"),
    [
        (random_table(0, (2, 3, 2), reset="soft"), np.zeros((4, 2)), "hidden0: .*hard reset only"),
        (
            random_table(0, (2, 3, 2), integer=True, weight_type="int8"),
            np.zeros((4, 2)),
            "hidden0: .*IntLIF.*in the simulator",
        ),
        (at_rest(), np.zeros((4, 2)), "population hidden0: .*3 of 3 neurons at or below"),
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
        run_in_nest(TINY, [np.zeros((4, 2))], timeout_s=1 if "sleep" in module else 60)
    assert "\n" not in str(caught.value)
