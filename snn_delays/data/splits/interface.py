"""What training, evaluation and export ask of a data set, be it of spikes or of currents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Protocol, overload, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from snn_delays.arguments import plain, shown
from snn_delays.columns import column
from snn_delays.data.splits.batch import Batch
from snn_delays.errors import UsageError

Item = tuple[Float32[Tensor, "T C"], int]


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


class Split(Dataset[Item], ABC):
    """The recordings of one split of a data set.

    Its items are ``(spikes, label)``, for whoever looks at one or wants torch's own batches::

        spikes, label = split[-1]
        for spikes, labels in DataLoader(split, batch_size=128, shuffle=True):  # [N, T, C], [N]

    Batches ``[T, N, C]`` no longer than they must be, laid out by a few vectorised operations
    instead of some per recording, come from :meth:`collate`, or from :meth:`sparse` where another
    device is to lay them out::

        for batch in DataLoader(split, batch_size=128, shuffle=True, collate_fn=split.collate): ...

    Shape:
        An item's ``spikes`` are ``[T, C]`` with T the longest recording of the split, in steps, so
        that all have one shape; what follows a recording's end is silence.

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

    def __getitem__(self, index: int) -> Item:
        place = plain(index)
        if not isinstance(place, int) or isinstance(place, bool):
            raise TypeError(
                f"{self.name}: an index must be a whole number, got {shown(index)}. "
                "split.subset(indices, name) takes several."
            )
        if not -len(self) <= place < len(self):
            raise IndexError(f"{self.name} has {len(self)} recordings, got index {place}")
        place %= len(self)
        spikes = self.collate([place]).spikes[:, 0]
        silence = int(self.lengths.max()) - len(spikes)
        return F.pad(spikes, (0, 0, 0, silence)), int(self.labels[place])

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))

    def __getitems__(self, indices: Sequence[int]) -> Items:
        """What a ``DataLoader`` hands to its collate function."""
        return Items(self, indices)

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
        if isinstance(indices, Items):
            if indices.split is not self:
                raise UsageError(
                    f"{self.name}: a DataLoader must have the collate function of its own split, "
                    f"got recordings of {indices.split.name}."
                )
            indices = indices.indices
        numbers: Any = indices
        if not isinstance(indices, np.ndarray | Tensor):
            with suppress(TypeError, ValueError):  # no rectangle of numbers: refused below
                numbers = np.asarray(indices, None if len(indices) else np.int64)
        most = 2**63 - 1
        chosen = column(f"{self.name}: indices", numbers, None, -most, most).long()
        # Checked here since a negative index would silently mean another recording.
        if len(chosen) and not (int(chosen.min()) >= 0 and int(chosen.max()) < len(self)):
            outside = chosen[(chosen < 0) | (chosen >= len(self))]
            raise IndexError(f"{self.name} has {len(self)} recordings, got index {int(outside[0])}")
        return chosen


class Items(Sequence[Item]):
    """Some recordings of a split, each laid out when it is asked for, or all at once.

    So a ``DataLoader`` serves torch's collate function, which reads one after the other, and the
    split's own ones, which need to know no more than ``indices``.
    """

    def __init__(self, split: Split, indices: Sequence[int]) -> None:
        self.split, self.indices = split, indices

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> Items: ...

    def __getitem__(self, index: int | slice) -> Item | Items:
        if isinstance(index, slice):
            return Items(self.split, self.indices[index])
        return self.split[self.indices[index]]


Indices = Sequence[int] | Int64[np.ndarray, " N"] | Items
