"""The hair cell: its rest, its limits, and the loop against the equations."""

from __future__ import annotations

import numpy as np
import pytest

from snn_delays.cochlea.filters import RATE
from snn_delays.cochlea.hair_cell import release_probability
from snn_delays.cochlea.reference import naive_release_probability


def test_it_rests_at_65_hz_and_stays_there():
    rate = release_probability(np.zeros(RATE)) * RATE
    assert rate[0] == pytest.approx(65, abs=2)
    np.testing.assert_allclose(rate, rate[0], rtol=1e-9)


def test_the_loop_is_the_equations():
    rng = np.random.default_rng(0)
    velocity = rng.standard_normal((5, 2000)) * np.array([[0.1], [5], [50], [500], [5000]])
    fast = np.array([release_probability(one) for one in velocity])
    np.testing.assert_allclose(fast, naive_release_probability(velocity), rtol=1e-10, atol=1e-15)
    single = release_probability(velocity[2].astype(np.float32))
    np.testing.assert_allclose(single, fast[2], rtol=1e-4)


def test_louder_tones_release_more_and_onsets_most():
    tone = np.sin(2 * np.pi * 500 * np.arange(RATE // 2) / RATE)
    found = [release_probability(loudness * tone) for loudness in (3, 10, 30, 100, 300)]
    totals = [one[RATE // 10 :].sum() for one in found]
    assert totals == sorted(totals)
    assert totals[-1] > 1.4 * totals[0]
    # Adaptation: the first 10 ms of a loud tone release more than any 10 ms later.
    windows = found[-1].reshape(-1, RATE // 100).sum(1)
    assert windows.argmax() == 0
    assert windows[0] > 2 * windows[-1]


def test_strong_suction_closes_it():
    probability = release_probability(np.full(RATE // 2, -50.0))
    assert (probability >= 0).all()
    assert probability[-1] < 1e-6 * probability[0]
