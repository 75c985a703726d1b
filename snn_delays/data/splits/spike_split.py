"""A split of a data set: binned once, held compactly, laid out densely batch by batch."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Integer
from torch import Tensor

from snn_delays.arguments import whole_number
from snn_delays.columns import MOST, column, offsets_of
from snn_delays.data.splits.batch import SparseBatch
from snn_delays.data.splits.interface import Indices, Split
from snn_delays.data.splits.resident import Resident, fits
from snn_delays.errors import UsageError

_TOGETHER = 1024  # recordings


class SpikeSplit(Split):
    """The recordings of one split as a flat list of binned events.

    Laying out a batch is one vectorised operation instead of one per recording. With
    ``collate_fn=split.sparse`` a batch can be moved to a device before it is laid out; see
    :class:`~snn_delays.data.splits.batch.SparseBatch`.

    Args:
        steps: time step of every event, recording after recording; in any order within one.
        channels: input channel of every event.
        counts: how many equal events each one stands for; None for one.
        offsets: recording ``i`` owns the events from ``offsets[i]`` up to ``offsets[i + 1]``.
        n_channels: how many there are; of a camera's events all pixels count.
        frame: shape of a step's channels, of a camera (polarities, H, W), row by row; None: they
            lie side by side.
        labels, speakers, name: as in :class:`~snn_delays.data.Split`.

    Raises:
        UsageError: columns of another kind than whole numbers, of lengths that do not match, or
            out of range.

    Shape:
        ``steps``, ``channels``, ``counts`` ``[E]`` for E events; ``offsets`` ``[n + 1]``;
        ``labels``, ``speakers`` and the derived ``lengths`` (steps) ``[n]``. In a :meth:`subset`
        the first four stay those of the whole list, which may be a file mapped into memory, and
        ``n`` is its own number of recordings in the rest.
    """

    def __init__(
        self,
        *,
        steps: Integer[Tensor | np.ndarray, " E"],
        channels: Integer[Tensor | np.ndarray, " E"],
        counts: Integer[Tensor | np.ndarray, " E"] | None = None,
        offsets: Integer[Tensor | np.ndarray, " n_plus_1"],
        labels: Integer[Tensor | np.ndarray, " n"],
        speakers: Integer[Tensor | np.ndarray, " n"],
        n_channels: int,
        name: str,
        frame: tuple[int, ...] | None = None,
    ) -> None:
        owner = self._owner(name)
        n_channels = whole_number(f"{owner}: n_channels", n_channels, 1)
        self.steps = column(f"{owner}: steps", steps, None, 0, MOST)
        n, why = len(self.steps), f"n_channels = {n_channels}"
        self.channels = column(f"{owner}: channels", channels, n, 0, n_channels - 1, why=why)
        self.counts = None if counts is None else column(f"{owner}: counts", counts, n, 1, MOST)
        self.offsets = offsets_of(f"{owner}: offsets", offsets, n)
        lengths = _lengths(self.steps, self.offsets)
        frame = (n_channels,) if frame is None else frame
        if math.prod(frame) != n_channels:
            raise UsageError(
                f"{owner}: frame must have n_channels = {n_channels} numbers, got {frame}."
            )
        super().__init__(name, frame, labels, speakers, lengths, len(lengths))
        self._resident: Resident | None = None

    def subset(self, indices: Indices, name: str) -> SpikeSplit:
        part = super().subset(indices, name)
        part._resident = None  # which is of all recordings
        return part

    def on(self, device: torch.device) -> SpikeSplit:
        columns = [one for one in (self.steps, self.channels, self.counts) if one is not None]
        sizes = self.offsets.diff()[self._standing(torch.arange(len(self)))]
        each = sum(one.element_size() for one in columns)
        return self.held_by(device) if fits(int(sizes.sum()) * each, device) else self

    def held_by(self, device: torch.device) -> SpikeSplit:
        """The same recordings with their own events on a device, whether or not they fit there."""
        own, split = self._own(), copy.copy(self)
        columns = {key: getattr(own, key) for key in ("steps", "channels", "counts")}
        events = {key: None if one is None else one.to(device) for key, one in columns.items()}
        of_each = {key: getattr(self, key) for key in ("labels", "lengths", "speakers")}
        sizes = own.offsets.diff()
        split._resident = Resident(
            **events,
            **{key: one.to(device) for key, one in of_each.items()},
            first=own.offsets[:-1].to(device),
            sizes=sizes.to(device),
            host_sizes=sizes,
            host_lengths=self.lengths,
        )
        return split

    def sparse(self, indices: Indices) -> SparseBatch:
        """The events of the recordings ``indices``, and where in a dense batch they go."""
        chosen = self._chosen(indices)
        if self._resident is not None:
            return self._resident.batch(chosen, self.frame)
        lengths = self.lengths[chosen]
        n_steps = int(lengths.max()) if len(chosen) else 0
        events, sizes = self._events(chosen)
        # Half the memory to move wherever it suffices, which is nearly always.
        small = n_steps * len(chosen) * self.n_inputs <= np.iinfo(np.int32).max
        cells = self.steps.numpy().take(events).astype(np.int32 if small else np.int64)
        cells *= len(chosen)
        cells += np.repeat(np.arange(len(chosen), dtype=cells.dtype), sizes)
        cells *= self.n_inputs
        cells += self.channels.numpy().take(events)
        return SparseBatch(
            cells=torch.from_numpy(cells),
            counts=_taken(self.counts, events),
            shape=(n_steps, len(chosen), *self.frame),
            labels=self.labels[chosen],
            lengths=lengths,
            speakers=self.speakers[chosen],
        )

    def silent_channels(self) -> Int64[np.ndarray, " silent"]:
        """The channels on which no recording of the split has an event."""
        fires = np.zeros(self.n_inputs, dtype=bool)
        for some in torch.arange(len(self)).split(_TOGETHER):
            fires[self.channels.numpy().take(self._events(some)[0])] = True
            if fires.all():
                break
        return np.flatnonzero(~fires)

    def shared_with(self, other: SpikeSplit, least: int) -> int:
        """How many recordings, of those with so many events or more, the other split has too: of
        one label, event for event in the order that they are held in."""
        mine, theirs = self._sizes_and_labels(), other._sizes_and_labels()
        # Hardly any are as alike as that, so that the events of few are read.
        alike = {key for key in set(mine) & set(theirs) if key[0] >= least}
        known = {other._digest(at) for at, key in enumerate(theirs) if key in alike}
        return sum(key in alike and self._digest(at) in known for at, key in enumerate(mine))

    def _sizes_and_labels(self) -> list[tuple[int, ...]]:
        """Of every recording how many events it has, its steps and its label."""
        sizes = self.offsets.diff()[self._standing(torch.arange(len(self)))]
        columns = (one.tolist() for one in (sizes, self.lengths, self.labels))
        return list(zip(*columns, strict=True))

    def _digest(self, at: int) -> bytes:
        """Of steps, channels and counts of a recording's events, and its label."""
        events = self._events(torch.tensor([at]))[0]
        found = hashlib.blake2b(str(int(self.labels[at])).encode(), digest_size=16)
        for one in (self.steps, self.channels, self.counts):
            if one is not None:
                found.update(one.numpy().take(events).astype(np.int64).tobytes())
        return found.digest()

    @classmethod
    def concatenate(cls, parts: Sequence[SpikeSplit], name: str) -> SpikeSplit:
        """One split of all recordings of ``parts``, which have the same channels.

        Raises:
            UsageError: no parts, or parts of different numbers of channels.
        """
        if len({part.frame for part in parts}) != 1:
            found = ", ".join(f"{part.name}: {part.n_channels}" for part in parts) or "no parts"
            raise UsageError(
                f"SpikeSplit {name}: parts must have one number of channels, got {found}."
            )
        return cls.join([part._own() for part in parts], name)

    @classmethod
    def join(cls, parts: list[SpikeSplit], name: str) -> SpikeSplit:
        """As :meth:`concatenate`, for parts that are no subsets, and emptying the list.

        Of what the parts hold, if nobody else does, only a third is ever there twice.
        """
        columns = {
            key: [getattr(part, key) for part in parts]
            for key in ("steps", "channels", "counts", "labels", "speakers")
        }
        if all(counts is None for counts in columns["counts"]):
            del columns["counts"]
        else:
            columns["counts"] = [
                torch.ones(len(steps), dtype=torch.uint8) if counts is None else counts
                for steps, counts in zip(columns["steps"], columns["counts"], strict=True)
            ]
        offsets = _offsets(torch.cat([part.offsets.diff() for part in parts]))
        about = {"n_channels": parts[0].n_inputs, "frame": parts[0].frame}
        parts.clear()
        whole = {key: torch.cat(columns.pop(key)) for key in list(columns)}
        return cls(**whole, offsets=offsets, **about, name=name)

    def _own(self) -> SpikeSplit:
        """This split with a list of its own events; itself if it has one."""
        if self._places is None:
            return self
        events, sizes = self._events(torch.arange(len(self)))
        return self.holding(
            steps=self.steps.numpy().take(events),
            channels=self.channels.numpy().take(events),
            counts=_taken(self.counts, events),
            offsets=_offsets(torch.from_numpy(sizes)),
        )

    def holding(self, **events: Any) -> SpikeSplit:
        """The same recordings, holding other events."""
        recordings = {name: getattr(self, name) for name in ("labels", "speakers", "frame")}
        return SpikeSplit(**events, **recordings, n_channels=self.n_inputs, name=self.name)

    def framed(self, frame: tuple[int, ...]) -> SpikeSplit:
        """The same, its channels in another shape."""
        recordings = {name: getattr(self, name) for name in ("labels", "speakers", "offsets")}
        events = {name: getattr(self, name) for name in ("steps", "channels", "counts")}
        about = {"n_channels": self.n_inputs, "frame": frame, "name": self.name}
        return SpikeSplit(**events, **recordings, **about)

    def _events(
        self, chosen: Int64[Tensor, " N"]
    ) -> tuple[Int64[np.ndarray, " E"], Int64[np.ndarray, " N"]]:
        """Where in the list the events of the chosen recordings stand, and how many each has."""
        places, offsets = self._standing(chosen).numpy(), self.offsets.numpy()
        first = offsets[places]
        sizes = offsets[places + 1] - first
        # NumPy, since torch takes several times as long to repeat.
        events = np.repeat(first - (sizes.cumsum() - sizes), sizes)
        events += np.arange(len(events))
        return events, sizes


def _taken(
    counts: Integer[Tensor, " all"] | None, events: Int64[np.ndarray, " E"]
) -> Integer[Tensor, " E"] | None:
    return None if counts is None else torch.from_numpy(counts.numpy().take(events))


def _offsets(sizes: Int64[Tensor, " n"]) -> Int64[Tensor, " n_plus_1"]:
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def _lengths(
    steps: Integer[Tensor, " E"], offsets: Int64[Tensor, " n_plus_1"]
) -> Int64[Tensor, " n"]:
    """Last step + 1 of every recording; 1 for a recording without events."""
    lengths = torch.ones(len(offsets) - 1, dtype=torch.int64)
    occupied = offsets.diff() > 0
    if occupied.any():
        # Empty recordings own no events: the next occupied one begins where the last one ends.
        starts = offsets[:-1][occupied].numpy()
        last = np.maximum.reduceat(steps.numpy(), starts).astype(np.int64)
        lengths[occupied] = torch.from_numpy(last) + 1
    return lengths
