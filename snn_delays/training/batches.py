"""In what order training takes its samples."""

from __future__ import annotations

from collections.abc import Iterator

import torch


class EpochBatches:
    """The samples of one epoch, shuffled, as the indices of one optimiser step after the other.

    An incomplete last step is dropped, unless it is the only one. The order follows from torch's
    generator as it is when this is made: ``fit`` seeds it by seed and epoch right before, so that
    a process that goes on within the epoch finds the same order.

    Args:
        n: how many samples there are.
        size: samples of a step.
        skip: so many steps are done, and are left out.
    """

    def __init__(self, n: int, size: int, skip: int = 0) -> None:
        self.n, self.size, self.skip = n, size, skip
        # The second number, since the first is what torch's DataLoader draws for its workers:
        # a seed gives the samples the order that torch gives them.
        _, seed = torch.empty(2, dtype=torch.int64).random_().tolist()
        self.order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        """Steps of the whole epoch, those that are left out among them."""
        return max(1, self.n // self.size)

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.skip, len(self)):
            yield self.order[step * self.size : (step + 1) * self.size].tolist()
