"""The basilar membrane: where which tone is heard, and when."""

from __future__ import annotations

import numpy as np
import pytest

from snn_delays.cochlea import membrane
from snn_delays.cochlea.filters import BLOCK, RATE, FilterBank, filter_table
from snn_delays.cochlea.reference import naive_velocities


@pytest.mark.parametrize(("unit", "best"), [(0, 22_500), (300, 2_400), (500, 525), (699, 110)])
def test_units_have_the_published_best_frequencies(unit: int, best: float):
    place = membrane.places(700)[[unit]]
    frequency = np.geomspace(20, 24_000, 4000)
    # Where stiffness and mass cancel; the travelling wave is largest a little before that.
    resonance = frequency[
        np.abs(membrane._xi(place[:, None], 2 * np.pi * frequency)[0].real).argmin()
    ]
    assert resonance == pytest.approx(best, rel=0.02)
    velocity = membrane.membrane_velocity(place, frequency)
    largest = frequency[np.abs(velocity[0]).argmax()]
    assert 0.8 < largest / resonance < 1.01


def test_the_phase_integral_is_the_integral():
    x = np.linspace(0, membrane.LENGTH, 20_001)[:, None]
    omega = 2 * np.pi * np.array([[1.0, 100.0, 1_000.0, 7_000.0, 15_000.0, 22_000.0, 24_000.0]])
    g = membrane.wave_number(x, omega)
    steps = (g[1:] + g[:-1]) / 2 * (x[1] - x[0])
    numeric = 2 * g[:1] / membrane.DECAY + np.concatenate([0 * g[:1], np.cumsum(steps, axis=0)])
    np.testing.assert_allclose(membrane.phase_integral(x, omega), numeric, rtol=1e-5)


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    return filter_table(12)


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(samples)


@pytest.mark.parametrize("causal", [False, True])
def test_folded_filters_are_the_complex_ones(table: np.ndarray, causal: bool):
    sound = noise(9_601)
    bank = FilterBank(table, causal=causal)
    fast = np.array(list(bank.velocities(sound)))
    slow = naive_velocities(sound, 12, bins=30_000, causal=causal)
    assert fast.shape == (12, 4_801)
    np.testing.assert_allclose(fast, slow[:, :4_801], atol=2e-6 * np.abs(slow).max())


def test_parts_of_a_table_make_the_table(table: np.ndarray):
    np.testing.assert_array_equal(
        np.concatenate([filter_table(12, 0, 8), filter_table(12, 8, 12)]), table
    )


@pytest.mark.parametrize("causal", [False, True])
def test_blocks_leave_no_trace(table: np.ndarray, causal: bool):
    # Sound across the border of two blocks, and the same sound within one. Low-passed, as
    # recordings are: a sharp edge of the spectrum at 24 kHz has no short response.
    click = np.convolve(noise(2_377), np.hanning(24))
    border, within = np.zeros(4 * BLOCK), np.zeros(4 * BLOCK)
    border[2 * BLOCK - 1_200 : 2 * BLOCK + 1_200] = click
    within[BLOCK - 1_200 : BLOCK + 1_200] = click
    bank = FilterBank(table, causal=causal)
    across = np.array(list(bank.velocities(border)))[:, BLOCK // 2 :]
    inside = np.array(list(bank.velocities(within)))[:, : -BLOCK // 2]
    scale = np.abs(inside[4:]).max(axis=1, keepdims=True)
    assert (np.abs(across - inside)[4:] / scale).max() < 5e-3


def test_a_block_stands_for_the_clip_s_own_grid(table: np.ndarray):
    """As published, v is computed on the clip's own grid, which makes the clip one step longer."""
    sound = noise(24_000) * np.hanning(24_000)
    ours = np.array(list(FilterBank(table).velocities(sound)))
    published = naive_velocities(sound, 12)[:, : ours.shape[1]]
    # That step matters to the phase of high tones, not to how much they move the membrane.
    rms = np.sqrt(np.mean(published**2, axis=1))
    np.testing.assert_allclose(np.sqrt(np.mean(ours**2, axis=1)), rms, rtol=0.02)
    difference = np.sqrt(np.mean((ours - published) ** 2, axis=1)) / rms
    assert (difference[7:] < 0.1).all()
    assert difference[-1] < 0.02


def test_an_ear_answers_after_the_click_and_the_published_one_before(table: np.ndarray):
    sound = np.zeros(BLOCK)
    sound[BLOCK // 2] = 1.0
    at = BLOCK // 4
    latency = {}
    for causal in (True, False):
        energy = np.array(list(FilterBank(table, causal=causal).velocities(sound))) ** 2
        before = energy[:, : at - 2].sum(1) / energy.sum(1)
        assert (before < 0.05).all() if causal else (before[3:] > 0.95).all()
        latency[causal] = ((np.arange(energy.shape[1]) * energy).sum(1) / energy.sum(1) - at) / RATE
    # The same response turned round, low tones furthest from the click.
    np.testing.assert_allclose(latency[True], -latency[False], atol=1e-4)
    assert (np.diff(latency[True]) > 0).all()
    assert latency[True][-1] == pytest.approx(0.025, abs=0.002)
