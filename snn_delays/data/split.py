"""A split of a data set: binned once, held compactly, laid out densely batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int, Int64
from torch import Tensor
from torch.utils.data import Dataset

Indices = Sequence[int] | Int64[np.ndarray, " N"]


class Batch(NamedTuple):
    """Recordings side by side, each silent after its own end.

    Shape:
        ``spikes`` ``[T, N, C]``, spike counts, with T the longest recording of the batch in
        steps; ``labels``, ``lengths`` (steps: last event's step + 1, at least 1) and ``speakers``
        (-1 where unknown) ``[N]``.
    """

    spikes: Float32[Tensor, "T N C"]
    labels: Int64[Tensor, " N"]
    lengths: Int64[Tensor, " N"]
    speakers: Int64[Tensor, " N"]


class SpikeSplit(Dataset[int]):
    """The recordings of one split as a flat list of binned events.

    Its items are indices, which :meth:`collate` turns into a batch, so that laying out a batch is
    one vectorised operation instead of one per recording::

        DataLoader(split, batch_size=128, shuffle=True, collate_fn=split.collate)

    Args:
        steps: time step of every event, recording after recording; in any order within one.
        channels: input channel of every event.
        offsets: recording ``i`` owns the events from ``offsets[i]`` up to ``offsets[i + 1]``.
        labels, speakers: class and speaker of every recording; speaker -1 where unknown.
        n_channels: number of input channels C.
        name: what the split is called in logs and errors, such as "train".

    Shape:
        ``steps``, ``channels`` ``[E]`` for E events; ``offsets`` ``[n + 1]``; ``labels``,
        ``speakers`` and the derived ``lengths`` (steps) ``[n]``.
    """

    def __init__(
        self,
        *,
        steps: Int[Tensor, " E"],
        channels: Int[Tensor, " E"],
        offsets: Int64[Tensor, " n_plus_1"],
        labels: Int64[Tensor, " n"],
        speakers: Int64[Tensor, " n"],
        n_channels: int,
        name: str,
    ) -> None:
        self.steps = steps
        self.channels = channels
        self.offsets = offsets
        self.labels = labels
        self.speakers = speakers
        self.lengths = _lengths(steps, offsets)
        self.n_channels = n_channels
        self.name = name

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} recordings, got index {index}")
        return index

    def collate(self, indices: Indices) -> Batch:
        """Lay out the recordings ``indices`` as dense spike counts.

        Raises:
            IndexError: an index outside 0 … n − 1.
        """
        chosen = self._chosen(indices)
        steps, channels, counts = self._gather(chosen)
        lengths = self.lengths[chosen]
        n_steps = int(lengths.max()) if len(chosen) else 0
        shape = (n_steps, len(chosen), self.n_channels)
        position = torch.repeat_interleave(torch.arange(len(chosen)), counts)
        cell = steps.long().mul_(len(chosen)).add_(position).mul_(self.n_channels).add_(channels)
        spikes = torch.bincount(cell, minlength=shape[0] * shape[1] * shape[2])
        return Batch(
            spikes=spikes.to(torch.float32).view(shape),
            labels=self.labels[chosen],
            lengths=lengths,
            speakers=self.speakers[chosen],
        )

    def subset(self, indices: Indices, name: str) -> SpikeSplit:
        """The recordings ``indices``, in that order, as a split of their own.

        Raises:
            IndexError: an index outside 0 … n − 1.
        """
        chosen = self._chosen(indices)
        steps, channels, counts = self._gather(chosen)
        return SpikeSplit(
            steps=steps,
            channels=channels,
            offsets=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
            labels=self.labels[chosen],
            speakers=self.speakers[chosen],
            n_channels=self.n_channels,
            name=name,
        )

    @classmethod
    def concatenate(cls, parts: Sequence[SpikeSplit], name: str) -> SpikeSplit:
        """One split of all recordings of ``parts``, which have the same channels."""
        counts = torch.cat([part.offsets.diff() for part in parts])
        return cls(
            steps=torch.cat([part.steps for part in parts]),
            channels=torch.cat([part.channels for part in parts]),
            offsets=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
            labels=torch.cat([part.labels for part in parts]),
            speakers=torch.cat([part.speakers for part in parts]),
            n_channels=parts[0].n_channels,
            name=name,
        )

    def _chosen(self, indices: Indices) -> Int64[Tensor, " N"]:
        chosen = torch.as_tensor(np.asarray(indices, dtype=np.int64))
        # Checked here since a negative index would silently mean the wrong pair of offsets.
        if len(chosen) and not (int(chosen.min()) >= 0 and int(chosen.max()) < len(self)):
            outside = chosen[(chosen < 0) | (chosen >= len(self))]
            raise IndexError(f"{self.name} has {len(self)} recordings, got index {int(outside[0])}")
        return chosen

    def _gather(
        self, chosen: Int64[Tensor, " N"]
    ) -> tuple[Int[Tensor, " E"], Int[Tensor, " E"], Int64[Tensor, " N"]]:
        # Slices of the flat list, since an index per event would cost four times its memory.
        first, last = self.offsets[chosen], self.offsets[chosen + 1]
        slices = [slice(*pair) for pair in zip(first.tolist(), last.tolist(), strict=True)]
        steps = torch.cat([self.steps[:0], *(self.steps[part] for part in slices)])
        channels = torch.cat([self.channels[:0], *(self.channels[part] for part in slices)])
        return steps, channels, last - first


def _lengths(steps: Int[Tensor, " E"], offsets: Int64[Tensor, " n_plus_1"]) -> Int64[Tensor, " n"]:
    """Last step + 1 of every recording; 1 for a recording without events."""
    lengths = torch.ones(len(offsets) - 1, dtype=torch.int64)
    occupied = offsets.diff() > 0
    if occupied.any():
        # Empty recordings own no events: the next occupied one begins where the last one ends.
        starts = offsets[:-1][occupied].numpy()
        last = np.maximum.reduceat(steps.numpy(), starts).astype(np.int64)
        lengths[occupied] = torch.from_numpy(last) + 1
    return lengths
