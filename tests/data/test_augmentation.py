"""Augmentation keeps what it must keep."""

from __future__ import annotations

import pytest
import torch

from snn_delays.data.augmentation import channel_shift
from snn_delays.errors import UsageError


def test_every_sample_is_moved_as_a_whole_by_at_most_the_limit():
    spikes = torch.poisson(torch.full((30, 200, 12), 0.5))
    spikes[:, :, :3] = spikes[:, :, -3:] = 0  # so that nothing is lost over the edge
    moved = channel_shift(spikes, 3)
    shifts = set()
    for n in range(spikes.shape[1]):
        (shift,) = [s for s in range(-3, 4) if torch.equal(moved[:, n], spikes[:, n].roll(s, -1))]
        shifts.add(shift)
    assert shifts == set(range(-3, 4))


def test_what_leaves_at_one_edge_does_not_come_back_at_the_other():
    spikes = torch.zeros(1, 300, 4)
    spikes[:, :, 0] = 1
    moved = channel_shift(spikes, 2)
    assert moved[:, :, 3].sum() == 0
    assert 0 < moved.sum() < spikes.sum()


def test_zero_changes_nothing_and_equal_seeds_give_equal_batches():
    spikes = torch.rand(5, 9, 7)
    assert channel_shift(spikes, 0) is spikes
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        found.append(channel_shift(spikes, 4))
    assert torch.equal(*found)


@pytest.mark.parametrize("limit", [-1, 1.5, "far"])
def test_an_impossible_limit_is_refused(limit: object, unchecked: None):
    with pytest.raises(UsageError, match=f"got {limit!r}"):
        channel_shift(torch.zeros(1, 1, 1), limit)  # pyright: ignore[reportArgumentType]
