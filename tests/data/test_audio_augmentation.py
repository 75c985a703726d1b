"""Changes to batches of sounds: what moves, what is mixed, and what stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays.data.audio_augmentation import AudioAugmentation, mixup, roll, speed
from snn_delays.data.splits.batch import Batch
from snn_delays.errors import UsageError


def drawn(n: int = 6, frames: int = 12, *, several: bool = False, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    sounds = torch.randn(1, n, 1, frames, 5, generator=generator)
    one = torch.randint(4, (n,), generator=generator)
    many = torch.randint(2, (n, 4), generator=generator).float()
    return Batch(sounds, many if several else one, torch.ones(n).long(), torch.full((n,), -1))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.booleans(), st.floats(0.1, 5), st.integers(0, 999))
def test_targets_are_mixed_as_sounds_are(n: int, several: bool, alpha: float, seed: int) -> None:
    batch = drawn(n, several=several, seed=seed)
    torch.manual_seed(seed)
    mixed, targets = mixup(batch, 4, alpha)
    own = batch.labels if several else torch.eye(4)[batch.labels]
    for number in range(n):
        sound, other = batch.spikes[0, number], batch.spikes[0, (number + 1) % n]
        difference = other - sound
        square = difference.square().sum()
        moved = mixed.spikes[0, number] - sound
        share = float((moved * difference).sum() / square) if square else 0.0
        assert -1e-6 <= share <= 0.5 + 1e-6
        torch.testing.assert_close(moved, share * difference, atol=1e-5, rtol=1e-4)
        expected = (1 - share) * own[number] + share * own[(number + 1) % n]
        torch.testing.assert_close(targets[number], expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(mixed.labels, batch.labels)
    assert targets.shape == (n, 4)


def test_shares_that_are_mixed_in_follow_the_beta_distribution() -> None:
    torch.manual_seed(0)
    batch = drawn(2000)._replace(labels=torch.arange(2000) % 2)
    for alpha, expected in ((1.0, 0.25), (100.0, 0.472)):  # E min(b, 1 − b)
        _, targets = mixup(batch, 2, alpha)
        assert targets.min(1).values.mean() == pytest.approx(expected, abs=0.01)


def test_sounds_are_rolled_along_time_each_by_its_own_number_of_frames() -> None:
    torch.manual_seed(0)
    sounds = drawn(200, 12).spikes[0]
    found = roll(sounds, 0.25)
    shifts = []
    for sound, rolled in zip(sounds, found, strict=True):
        fits = [s for s in range(-3, 4) if torch.equal(sound.roll(s, 1), rolled)]
        assert len(fits) == 1
        shifts += fits
    assert set(shifts) == set(range(-3, 4))


def test_speed_resamples_the_frames_about_the_middle() -> None:
    """A ramp over time becomes a steeper or flatter one with the same middle; bands stay apart."""
    torch.manual_seed(0)
    ramp = torch.arange(21.0)[:, None] + 100 * torch.arange(5)
    found = speed(ramp.expand(100, 1, 21, 5), 0.5)
    factors = found[:, 0, 11, 0] - found[:, 0, 10, 0]
    assert factors.min() < 0.8 < 1.25 < factors.max()
    assert (factors > 1 / 1.5 - 1e-4).all()
    assert (factors < 1.5 + 1e-4).all()
    expected = (10 + factors[:, None] * (torch.arange(21) - 10)).clamp(0, 20)
    torch.testing.assert_close(found[:, 0, :, 0], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(found[..., 3], found[..., 0] + 300, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["speed", "roll", "mixup"])
def test_numbers_come_from_torchs_generator_and_what_is_off_draws_none(name: str) -> None:
    batch = drawn()
    change = AudioAugmentation(**{name: 0.4})
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(change(batch, 4)[0].spikes)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert not torch.equal(results[0], batch.spikes)
    state = torch.get_rng_state()
    same, targets = AudioAugmentation()(batch, 4)
    assert same is batch
    assert targets is batch.labels
    assert torch.equal(state, torch.get_rng_state())


def test_all_together_keep_shapes() -> None:
    batch = drawn(several=True)
    changed, targets = AudioAugmentation(speed=0.1, roll=0.25, mixup=1.0)(batch, 4)
    assert changed.spikes.shape == batch.spikes.shape
    assert targets.shape == (6, 4)
    assert ((targets >= 0) & (targets <= 1)).all()


def test_spikes_and_strengths_out_of_range_are_refused_in_a_line() -> None:
    spikes = Batch(
        torch.ones(4, 2, 3), torch.zeros(2).long(), torch.ones(2).long(), torch.ones(2).long()
    )
    with pytest.raises(UsageError, match=r"roll is for sounds .*, got input \[4, 2, 3\]\. Use"):
        AudioAugmentation(roll=0.1)(spikes, 2)
    wrong: dict[str, Any] = {"speed": -0.1, "roll": 0.6, "mixup": np.inf}
    for name, value in wrong.items():
        with pytest.raises(UsageError, match=f"augmentation.{name} must be a number"):
            AudioAugmentation(**{name: value})
