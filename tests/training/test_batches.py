"""The order in which training takes its samples."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from snn_delays.training.batches import EpochBatches


@pytest.mark.parametrize(("n", "size"), [(23, 4), (24, 4), (3, 4), (4, 4), (1, 1)])
def test_a_seed_gives_the_order_and_the_generator_that_torch_gives(n: int, size: int):
    torch.manual_seed(7)
    expected = [
        batch.tolist() for batch in DataLoader(range(n), size, shuffle=True, drop_last=n > size)
    ]
    after = torch.rand(3)
    torch.manual_seed(7)
    batches = EpochBatches(n, size)
    assert list(batches) == expected
    assert len(batches) == len(expected)
    assert torch.equal(torch.rand(3), after)


def test_what_is_done_is_left_out_and_nothing_else_changes():
    found = []
    for skip in range(6):
        torch.manual_seed(1)
        batches = EpochBatches(20, 4, skip)
        assert len(batches) == 5
        found.append(list(batches))
    assert [len(one) for one in found] == [5, 4, 3, 2, 1, 0]
    assert all(one == found[0][skip:] for skip, one in enumerate(found))
    assert sorted(at for step in found[0] for at in step) == list(range(20))
