"""Held-out recordings: disjoint, complete, in proportion, and the same for the same seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays.data.splits.validation import by_speaker, stratified
from snn_delays.errors import UsageError


def assert_partition(train: np.ndarray, valid: np.ndarray, n: int) -> None:
    assert train.size
    assert valid.size
    np.testing.assert_array_equal(np.sort(np.concatenate([train, valid])), np.arange(n))


@settings(deadline=None)
@given(
    speakers=st.lists(st.integers(0, 7), min_size=2, max_size=60).filter(lambda s: len(set(s)) > 1),
    fraction=st.floats(0.01, 0.5),
    seed=st.integers(0, 99),
)
def test_drawn_speakers_are_the_fewest_that_suffice(
    speakers: list[int], fraction: float, seed: int
) -> None:
    given_speakers = np.array(speakers)
    counts = np.sort(np.bincount(given_speakers))[::-1]
    fewest = int(np.argmax(counts.cumsum() >= fraction * len(speakers))) + 1
    if fewest == len(set(speakers)):
        with pytest.raises(UsageError, match="valid_fraction"):
            by_speaker(given_speakers, None, seed, fraction)
        return
    train, valid = by_speaker(given_speakers, None, seed, fraction)
    assert_partition(train, valid, len(speakers))
    held = set(given_speakers[valid].tolist())
    assert held.isdisjoint(given_speakers[train].tolist())
    assert len(valid) >= fraction * len(speakers)
    assert len(held) == fewest
    for one, two in zip(
        (train, valid), by_speaker(given_speakers, None, seed, fraction), strict=True
    ):
        np.testing.assert_array_equal(one, two)


def test_every_speaker_may_be_drawn() -> None:
    speakers = np.repeat(np.arange(5), 20)
    drawn = {int(speakers[by_speaker(speakers, None, seed)[1][0]]) for seed in range(60)}
    assert drawn == {0, 1, 2, 3, 4}


def test_named_speakers_are_held_out() -> None:
    speakers = np.array([4, 7, 9, 7, 4])
    train, valid = by_speaker(speakers, [7, 9], seed=0)
    assert (train.tolist(), valid.tolist()) == ([0, 4], [1, 2, 3])


@pytest.mark.parametrize("held_out", [[], [5], [0, 1], [0, 9]])
def test_speakers_that_cannot_be_held_out(held_out: list[int]) -> None:
    with pytest.raises(UsageError, match=r"must be some, not all, of 0, 1, got \["):
        by_speaker(np.array([0, 1, 1]), held_out, seed=0)


@pytest.mark.parametrize("speakers", [[3, 3, 3], [-1, -1], [-1, 0, 1], []])
def test_too_few_speakers_are_known(speakers: list[int]) -> None:
    with pytest.raises(UsageError, match=r"at least 2 known speakers, got .*split=stratified\.$"):
        by_speaker(np.array(speakers, dtype=np.int64), None, seed=0)


@settings(deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 2)), min_size=25, max_size=120),
    fraction=st.floats(0.05, 0.6),
    seed=st.integers(0, 99),
)
def test_every_class_and_speaker_is_held_out_in_proportion(
    pairs: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    labels, speakers = np.array(pairs).T
    train, valid = stratified(labels, speakers, fraction, seed)
    assert_partition(train, valid, len(pairs))
    held = np.isin(np.arange(len(pairs)), valid)
    groups = [labels == label for label in set(labels.tolist())]
    groups += [(labels == label) & (speakers == speaker) for label, speaker in set(pairs)]
    for group in [np.ones_like(held), *groups]:
        share = group.sum() * fraction
        assert math.floor(share - 1e-9) <= held[group].sum() <= math.ceil(share + 1e-9)
    for one, two in zip((train, valid), stratified(labels, speakers, fraction, seed), strict=True):
        np.testing.assert_array_equal(one, two)


def test_other_seeds_hold_out_other_recordings() -> None:
    labels = np.repeat(np.arange(10), 45)
    draws = {tuple(stratified(labels, labels * 0, 0.1, seed)[1].tolist()) for seed in range(20)}
    assert len(draws) == 20
    assert len(set().union(*draws)) > 350  # of 450; 20 draws of 45 leave about 12 % out


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 2.0, math.nan])
def test_a_share_that_is_none(fraction: float) -> None:
    some = np.zeros(30, dtype=np.int64)
    with pytest.raises(UsageError, match="valid_fraction must be > 0 and < 1"):
        stratified(some, some, fraction, 0)
    with pytest.raises(UsageError, match="valid_fraction must be > 0 and < 1"):
        by_speaker(np.arange(30), None, 0, fraction)


def test_a_share_of_too_few() -> None:
    one = np.zeros(1, dtype=np.int64)
    with pytest.raises(UsageError, match="of 1 recordings holds out"):
        stratified(one, one, 0.1, 0)
