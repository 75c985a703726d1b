"""What training, evaluation and export ask of a data set, be it of spikes or of currents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import Dataset

from snn_delays.data.splits.batch import Batch

Indices = Sequence[int] | Int64[np.ndarray, " N"]


@runtime_checkable
class CompactBatch(Protocol):
    """A batch before it is laid out: what there is to move to a device.

    ``compact.to(device).dense()`` is the batch, made where it is used.
    """

    @property
    def labels(self) -> Tensor: ...

    @property
    def speakers(self) -> Tensor: ...

    def to(self, device: torch.device | str) -> CompactBatch: ...

    def dense(self) -> Batch: ...


class Split(Dataset[int], ABC):
    """The recordings of one split of a data set.

    Its items are indices, which :meth:`sparse` or :meth:`collate` turns into a batch, so that
    laying out a batch is a few vectorised operations instead of some per recording::

        DataLoader(split, batch_size=128, shuffle=True, collate_fn=split.sparse)

    Attributes:
        labels, speakers: class and speaker of every recording ``[n]``; speaker -1 where unknown.
        lengths: steps of every recording ``[n]``.
        n_channels: number of input channels C.
        name: what the split is called in logs and errors, such as "train".
    """

    labels: Int64[Tensor, " n"]
    speakers: Int64[Tensor, " n"]
    lengths: Int64[Tensor, " n"]
    n_channels: int
    name: str

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} recordings, got index {index}")
        return index

    def collate(self, indices: Indices) -> Batch:
        """The recordings ``indices`` as the dense input ``[T, N, C]`` of a network.

        Raises:
            IndexError: an index outside 0 … n − 1.
        """
        return self.sparse(indices).dense()

    @abstractmethod
    def sparse(self, indices: Indices) -> CompactBatch:
        """The recordings ``indices``, to be laid out on the device that uses them.

        Raises:
            IndexError: an index outside 0 … n − 1.
        """

    @abstractmethod
    def subset(self, indices: Indices, name: str) -> Split:
        """The recordings ``indices``, in that order, as a split of their own.

        Raises:
            IndexError: an index outside 0 … n − 1.
        """

    def _chosen(self, indices: Indices) -> Int64[Tensor, " N"]:
        chosen = torch.as_tensor(np.asarray(indices, dtype=np.int64))
        # Checked here since a negative index would silently mean another recording.
        if len(chosen) and not (int(chosen.min()) >= 0 and int(chosen.max()) < len(self)):
            outside = chosen[(chosen < 0) | (chosen >= len(self))]
            raise IndexError(f"{self.name} has {len(self)} recordings, got index {int(outside[0])}")
        return chosen
