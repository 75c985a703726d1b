"""Fibres and bushy cells: fast sampling has the law of one draw per step and fibre."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from snn_delays.cochlea.nerve import DEAD_STEPS, REFRACTORY_STEPS, bushy_spikes, fibre_spikes
from snn_delays.cochlea.reference import naive_bushy_spikes, naive_fibre_spikes

STEPS = 240


def probability() -> np.ndarray:
    """Silence, near certainty, and what lies between."""
    t = np.arange(STEPS)
    p = 0.03 * (1 + np.sin(t / 20)) + 0.5 * (t == 100)
    p[40:60] = 0.0
    return p


@pytest.fixture(scope="module")
def both() -> tuple[np.ndarray, np.ndarray]:
    p, rng = probability(), np.random.default_rng(1)
    fast = [fibre_spikes(p, 40, DEAD_STEPS, rng) for _ in range(500)]
    slow = [naive_fibre_spikes(p, 40, DEAD_STEPS, rng) for _ in range(500)]
    return np.array(fast), np.array(slow)


def test_as_many_fire_at_every_step(both: tuple[np.ndarray, np.ndarray]):
    fast, slow = (one.sum(axis=0) for one in both)
    # Two binomial counts of 20,000 chances each; 240 steps, so that 4.5 standard deviations
    # are passed by chance once in 600 seeds.
    spread = np.sqrt(fast + slow + 1)
    assert (np.abs(fast - slow) / spread).max() < 4.5
    assert fast[40:60].sum() == slow[40:60].sum() == 0


def test_totals_and_coincidences_have_one_distribution(both: tuple[np.ndarray, np.ndarray]):
    for count in (lambda c: c.sum(1), lambda c: c[:, 90:110].sum(1), lambda c: c.max(1)):
        fast, slow = (count(one) for one in both)
        assert stats.ks_2samp(fast, slow).pvalue > 0.001


def test_intervals_of_one_fibre_have_one_distribution():
    p, rng = np.full(20_000, 0.02), np.random.default_rng(2)
    fast, slow = (
        np.diff(np.flatnonzero(sample(p, 1, DEAD_STEPS, rng)))
        for sample in (fibre_spikes, naive_fibre_spikes)
    )
    assert min(fast.min(), slow.min()) == DEAD_STEPS
    # In law: a dead time, then geometric.
    wanted = DEAD_STEPS + 1 / 0.02 - 1
    for intervals in (fast, slow):
        assert intervals.mean() == pytest.approx(wanted, abs=4 * 50 / np.sqrt(len(intervals)))
    assert stats.ks_2samp(fast, slow).pvalue > 0.001


def test_certainty_fires_whenever_it_may():
    rng = np.random.default_rng(0)
    counts = fibre_spikes(np.ones(100), 3, DEAD_STEPS, rng)
    np.testing.assert_array_equal(np.flatnonzero(counts), np.arange(0, 100, DEAD_STEPS))
    assert set(counts[::DEAD_STEPS]) == {3}
    assert fibre_spikes(np.zeros(100), 3, DEAD_STEPS, rng).sum() == 0


def test_a_fibre_does_not_know_the_future():
    p = probability()
    changed = p.copy()
    changed[150:] = 0.9
    one, other = (fibre_spikes(q, 1, DEAD_STEPS, np.random.default_rng(3)) for q in (p, changed))
    np.testing.assert_array_equal(one[:150], other[:150])
    assert (one[150:] != other[150:]).any()


def test_the_bushy_loop_is_the_equations():
    counts = np.random.default_rng(0).poisson(0.3, (20, 3000)).astype(np.int32)
    counts[5:, 1000:1500] += 2
    slow = naive_bushy_spikes(counts)
    assert sum(map(len, slow)) > 100
    for row, steps in zip(counts, slow, strict=True):
        np.testing.assert_array_equal(bushy_spikes(row), steps)
        assert (np.diff(steps) > REFRACTORY_STEPS - 1).all()


def test_bushy_cells_want_coincidence():
    together, apart = np.zeros(2400, np.int32), np.zeros(2400, np.int32)
    together[[100, 1300]] = 20
    apart[::60] = 1
    assert together.sum() == apart.sum()
    # The membrane takes about half a millisecond to answer.
    (first, second) = bushy_spikes(together)
    assert first - 100 == second - 1300 < 24
    assert len(bushy_spikes(apart)) == 0
