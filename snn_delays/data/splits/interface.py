"""What training, evaluation and export ask of a data set, be it of spikes or of currents."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from snn_delays.arguments import plain, real, require, settle, shown, tuple_of
from snn_delays.columns import column
from snn_delays.data.splits.batch import Batch, CompactBatch
from snn_delays.errors import UsageError
from snn_delays.tasks import SingleLabel, Task

_SINGLE = SingleLabel()
Item = tuple[Float32[Tensor, "T *frame"], int | Tensor]

AnySplit = TypeVar("AnySplit", bound="Split")


class Split(Dataset[Item], ABC):
    """The recordings of one split of a data set, items ``(spikes, label)``::

        for spikes, labels in DataLoader(split, batch_size=128, shuffle=True):  # [N, T, C], [N]
        for batch in DataLoader(split, batch_size=128, shuffle=True, collate_fn=split.collate): ...

    Batches ``[T, N, *frame]`` no longer than they must be, laid out by a few vectorised operations
    instead of some per recording, come from :meth:`collate`, or from :meth:`sparse` where another
    device is to lay them out.

    Args:
        labels, speakers: class and speaker of every recording; speaker -1 where unknown.
        lengths: steps of every recording, or of all.
        frame: shape of one step's input, ``(C,)``, or of images ``(C, H, W)``.
        name: what the split is called in logs and errors, such as "train".
        task: what is asked of every recording, and how answers are judged; see ``tasks.py``.

    Shape:
        ``labels`` ``[n]``, or as the task has them, ``[n, classes]``; ``speakers``, ``lengths``
        ``[n]``. An item's ``spikes`` are ``[T, *frame]`` with T the longest recording of the split,
        in steps, so that all have one shape; what follows a recording's end is silence.
    """

    def __init__(
        self,
        name: str,
        frame: tuple[int, ...],
        labels: Any,
        speakers: Any,
        lengths: Tensor | int,
        n: int,
        task: Task = _SINGLE,
    ) -> None:
        owner = self._owner(name)
        require(isinstance(task, Task), f"{owner}: task", "be a Task", task)
        self.name, self.task = name, task
        tuple_of(f"{owner}: frame", frame, int, 1)
        self.frame = frame
        self.labels: Tensor = task.labels(f"{owner}: labels", labels, n)
        self.speakers: Int64[Tensor, " n"] = column(f"{owner}: speakers", speakers, n).long()
        if isinstance(lengths, int):
            lengths = torch.full_like(self.speakers, lengths)
        self.lengths: Int64[Tensor, " n"] = lengths
        # Where in the whole set each recording of the split stands; None: all of them, in order.
        self._places: Int64[Tensor, " n"] | None = None

    @classmethod
    def _owner(cls, name: Any) -> str:
        """How errors begin."""
        require(isinstance(name, str), f"{cls.__name__}: name", "be text", name)
        return f"{cls.__name__} {name}"

    @property
    def n_channels(self) -> int:
        """Number of input channels C."""
        return self.frame[0]

    @property
    def n_inputs(self) -> int:
        """Numbers of one step: channels, those of images or pixels at all positions."""
        return math.prod(self.frame)

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
        padded = F.pad(spikes, (0, 0) * len(self.frame) + (0, silence))
        return padded, self.task.item(self.labels[place])

    def __getitems__(self, indices: Sequence[int]) -> Items:
        """What a ``DataLoader`` hands to its collate function."""
        return Items(self, indices)

    def collate(self, indices: Indices) -> Batch:
        """The recordings ``indices`` as the dense input ``[T, N, *frame]`` of a network.

        Raises:
            IndexError: an index outside 0 … n − 1; likewise of the next two.
        """
        return self.sparse(indices).dense()

    @abstractmethod
    def sparse(self, indices: Indices) -> CompactBatch:
        """The recordings ``indices``, to be laid out on the device that uses them."""

    def on(self: AnySplit, device: torch.device) -> AnySplit:
        """The same recordings, laid out on a device without a copy per batch, if they fit there.

        Those of a GPU that has the memory are kept there; else, and on the CPU, it is this split.
        """
        return self

    def subset(self: AnySplit, indices: Indices, name: str) -> AnySplit:
        """The recordings ``indices``, in that order, as a split of their own; nothing is copied."""
        chosen = self._chosen(indices)
        part = copy.copy(self)
        part.labels, part.speakers = self.labels[chosen], self.speakers[chosen]
        part.lengths, part._places = self.lengths[chosen], self._standing(chosen)
        part.name = name
        return part

    def _standing(self, chosen: Tensor) -> Tensor:
        return chosen if self._places is None else self._places[chosen]

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
        chosen = column(f"{self.name}: indices", numbers).long()
        # Checked here since a negative index would silently mean another recording.
        if len(chosen) and not (int(chosen.min()) >= 0 and int(chosen.max()) < len(self)):
            outside = chosen[(chosen < 0) | (chosen >= len(self))]
            raise IndexError(f"{self.name} has {len(self)} recordings, got index {int(outside[0])}")
        return chosen


class Items(Sequence[Item]):
    """Some recordings of a split, laid out when asked for: one by one, as torch's own collate
    function does, or all at once, as the split's do, which need no more than ``indices``.
    """

    def __init__(self, split: Split, indices: Sequence[int]) -> None:
        self.split, self.indices = split, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Items(self.split, self.indices[index])
        return self.split[self.indices[index]]


def framed(frame: tuple[int, ...]) -> str:
    """A frame in words: ``140 channels``, or ``1 channel of 32 × 32``."""
    channels = f"{frame[0]} channel{'s' * (frame[0] != 1)}"
    return f"{channels} of {' × '.join(map(str, frame[1:]))}" if frame[1:] else channels


Indices = Sequence[int] | Int64[np.ndarray, " N"] | Items


@dataclass(frozen=True)
class SpikeData:
    """A data set, split, on a grid of time steps.

    Args:
        train, valid, test: the splits; all have the same frame and task.
        class_names: what the labels 0, 1, … are called.
        dt_ms: duration of a time step, in ms.
        split: where ``valid`` comes from: speakers held out of the training file ("speaker"), a
            share of every class of it ("stratified"), a file or list of its own ("official"), a
            hash of the file names ("hash"), or the test file itself ("paper").
        invalid_events: how many events were left out since their time is no time.
        skipped_recordings: how many recordings were left out since they are defective.
        speaker_sex: sex of each speaker as the files have it; of some or none.

    Raises:
        UsageError: splits of different frames or tasks, or a label without a name.
    """

    train: Split
    valid: Split
    test: Split
    class_names: tuple[str, ...]
    dt_ms: float
    split: str
    invalid_events: int
    skipped_recordings: int = 0
    speaker_sex: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tuple_of("SpikeData: class_names", self.class_names, str)
        if twice := [name for name, n in Counter(self.class_names).items() if n > 1]:
            raise UsageError(
                f"SpikeData: class_names must differ, got {shown(twice)} more than once: answers "
                "could not be told apart."
            )
        settle(self, "SpikeData: ", dt_ms=real(above=0, unit="ms"))
        for name in ("train", "valid", "test"):
            split = getattr(self, name)
            require(isinstance(split, Split), f"SpikeData: {name}", "be a Split", split)
            if split.frame != self.frame:
                raise UsageError(
                    f"SpikeData: all splits must have {framed(self.frame)} as train, "
                    f"got {framed(split.frame)} in {name}."
                )
            if type(split.task) is not type(self.task):
                raise UsageError(
                    f"SpikeData: all splits must be judged by {self.task.metric} as train, "
                    f"got {split.task.metric} in {name}."
                )
            self.task.require_classes(f"SpikeData: labels of {name}", split.labels, self.n_classes)

    @property
    def frame(self) -> tuple[int, ...]:
        """Shape of one step's input, ``(C,)`` or ``(C, H, W)``."""
        return self.train.frame

    @property
    def task(self) -> Task:
        """What is asked of a recording, and how answers are judged."""
        return self.train.task

    @property
    def n_channels(self) -> int:
        """Number of input channels."""
        return self.train.n_channels

    @property
    def n_inputs(self) -> int:
        """Numbers of one step, those of images or pixels at all positions."""
        return self.train.n_inputs

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def clean_split(self) -> bool:
        """Whether the test recordings have no part in choosing the network."""
        return self.split != "paper"
