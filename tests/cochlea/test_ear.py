"""From sound to spikes: which cells answer, how often, and when."""

from __future__ import annotations

import numpy as np
import pytest

from snn_delays.cochlea import Ear, FilterBank, filter_table, presented
from snn_delays.cochlea.membrane import membrane_velocity, places

CHANNELS = 24


@pytest.fixture(scope="module")
def ear() -> Ear:
    return Ear(FilterBank(filter_table(CHANNELS)))


def hear(ear: Ear, sound: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return ear.hear(sound, np.random.default_rng(seed))


def tone(hertz: float, seconds: float = 0.2) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(48_000 * seconds)) / 48_000)


def test_spikes_are_in_order_and_in_range(ear: Ear):
    times, units = hear(ear, presented(tone(600)))
    assert (np.diff(times) >= 0).all()
    assert 0 <= times[0] <= times[-1] < 0.2
    assert set(units) <= set(range(CHANNELS))
    for unit in set(units):
        assert np.diff(times[units == unit]).min(initial=1.0) >= 0.001 - 1e-9


def test_seeds_decide(ear: Ear):
    sound = presented(tone(600))
    first, again, other = hear(ear, sound), hear(ear, sound), hear(ear, sound, seed=1)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert len(first[0]) != len(other[0]) or (first[0] != other[0]).any()
    assert len(other[0]) == pytest.approx(len(first[0]), rel=0.2)


def test_silence_is_nearly_silent(ear: Ear):
    silence = presented(np.zeros(48_000))
    assert np.isfinite(silence).all()
    times, _ = hear(ear, silence)
    # About one spike a second and cell at rest, where speech makes twenty to thirty.
    assert len(times) < 2 * CHANNELS


@pytest.mark.parametrize("hertz", [200, 600, 2_000, 6_000])
def test_a_tone_excites_its_own_place_most(ear: Ear, hertz: float):
    _, units = hear(ear, tone(hertz))
    counts = np.bincount(units, minlength=CHANNELS)
    moved = np.abs(membrane_velocity(places(CHANNELS), np.array([float(hertz)]))[:, 0])
    # Nothing beyond the place where the wave dies out, and its maximum among the busiest.
    assert counts[moved.argmax()] >= 0.6 * counts.max()
    assert counts[moved < 1e-3 * moved.max()].max(initial=0) <= 5


def test_louder_is_more(ear: Ear):
    counts = [len(hear(ear, loudness * tone(600))[0]) for loudness in (0.01, 0.05, 0.2, 1, 5)]
    assert counts == sorted(counts)
    assert counts[-1] > 5 * max(counts[0], 1)


def test_loudness_is_set_before_the_window():
    sound = presented(1e-3 * tone(600) + 0)
    np.testing.assert_allclose(sound, presented(50 * tone(600)), rtol=1e-9, atol=1e-12)
    middle = sound[len(sound) // 2 - 400 : len(sound) // 2 + 400]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.3, rel=0.02)
    assert abs(sound[0]) < 1e-9
    assert abs(sound[-1]) < 1e-9


@pytest.mark.parametrize("causal", [True, False])
def test_nothing_of_a_sound_is_heard_on_its_other_side(causal: bool):
    ear = Ear(FilterBank(filter_table(CHANNELS), causal=causal))
    sound = np.zeros(48_000)
    sound[19_200:28_800] = 3 * tone(400) * np.hanning(9_600)
    times, _ = hear(ear, sound)
    # Sound from 0.4 to 0.6 s. As published cells answer up to 30 ms early, in an ear late.
    late, early = (0.06, 0.01) if causal else (0.01, 0.06)
    outside = (times < 0.4 - early) | (times > 0.6 + late)
    assert outside.sum() < 0.03 * len(times) + 2 * CHANNELS * 0.7
    assert (~outside).sum() > 100


@pytest.mark.parametrize("samples", [1, 2, 3, 47])
def test_tiny_clips_are_no_trouble(ear: Ear, samples: int):
    times, units = hear(ear, presented(np.ones(samples)))
    assert len(times) == len(units)


def test_long_clips_go_through_in_blocks(ear: Ear):
    sound = np.zeros(2 * 48_000 + 7)
    sound[60_000:62_400] = 3 * tone(600, 0.05)
    times, _ = hear(ear, sound)
    histogram, edges = np.histogram(times, np.arange(0, 2.01, 0.05))
    assert edges[histogram.argmax()] == pytest.approx(1.25)
