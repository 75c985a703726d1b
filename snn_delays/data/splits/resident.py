"""The events of a split kept on a device, where batches are laid out from the indices alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, Integer
from torch import Tensor

from snn_delays.data.splits.batch import SparseBatch

# Share of a GPU's free memory that events may take.
SHARE = 0.25


class Resident(NamedTuple):
    """All recordings of one split, in its order.

    Shape:
        ``steps``, ``channels``, ``counts`` ``[E]``, on the device; ``first``, where in them each
        recording begins, ``sizes``, ``labels``, ``lengths`` and ``speakers`` ``[n]`` likewise.
        ``host_sizes`` and ``host_lengths`` are the same in the host's memory: what a batch's shape
        is made of must not be asked of a GPU.
    """

    steps: Integer[Tensor, " E"]
    channels: Integer[Tensor, " E"]
    counts: Integer[Tensor, " E"] | None
    first: Int64[Tensor, " n"]
    sizes: Int64[Tensor, " n"]
    labels: Tensor
    lengths: Int64[Tensor, " n"]
    speakers: Int64[Tensor, " n"]
    host_sizes: Int64[Tensor, " n"]
    host_lengths: Int64[Tensor, " n"]

    def batch(self, chosen: Int64[Tensor, " N"], frame: tuple[int, ...]) -> SparseBatch:
        """The recordings ``chosen``, whose numbers lie in the host's memory."""
        n, inputs = len(chosen), int(np.prod(frame))
        total = int(self.host_sizes[chosen].sum())
        n_steps = int(self.host_lengths[chosen].max()) if n else 0
        there = _sent(chosen, self.steps.device)
        sizes = self.sizes[there]
        begin = self.first[there] - (sizes.cumsum(0) - sizes)
        # Told how many there are, the GPU need not be asked.
        rows = torch.repeat_interleave(sizes, output_size=total)
        events = begin[rows] + torch.arange(total, device=there.device)
        small = n_steps * n * inputs <= np.iinfo(np.int32).max
        cells = self.steps[events].to(torch.int32 if small else torch.int64)
        cells = (cells * n + rows) * inputs + self.channels[events]
        return SparseBatch(
            cells=cells.to(torch.int32 if small else torch.int64),
            counts=None if self.counts is None else self.counts[events],
            shape=(n_steps, n, *frame),
            labels=self.labels[there],
            lengths=self.lengths[there],
            speakers=self.speakers[there],
        )


def fits(bytes_needed: int, device: torch.device) -> bool:
    """Whether so much may lie on a device for good."""
    if device.type != "cuda":
        return False
    return bytes_needed <= SHARE * torch.cuda.mem_get_info(device)[0]


def _sent(x: Tensor, device: torch.device) -> Tensor:
    """x on the device; from pinned memory, which the host need not wait for."""
    if device.type == "cuda":
        x = x.pin_memory()
    return x.to(device, non_blocking=True)
