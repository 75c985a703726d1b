"""A split of a data set: binned once, held compactly, laid out densely batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Integer
from torch import Tensor

from snn_delays.arguments import whole_number
from snn_delays.columns import MOST, column, offsets_of
from snn_delays.data.splits.batch import SparseBatch
from snn_delays.data.splits.interface import Indices, Split

_TOGETHER = 1024  # recordings


class SpikeSplit(Split):
    """The recordings of one split as a flat list of binned events.

    Args:
        steps: time step of every event, recording after recording; in any order within one.
        channels: input channel of every event.
        counts: how many equal events each one stands for; None for one.
        offsets: recording ``i`` owns the events from ``offsets[i]`` up to ``offsets[i + 1]``.
        labels, speakers, n_channels, name: as in :class:`~snn_delays.data.Split`.

    Raises:
        UsageError: columns of another kind than whole numbers, of lengths that do not match, or
            out of range.

    Shape:
        ``steps``, ``channels``, ``counts`` ``[E]``; ``offsets`` ``[n + 1]``; ``labels``,
        ``speakers`` and the derived ``lengths`` (steps) ``[n]``. In a :meth:`subset` the first four
        stay those of the whole list, which may be a file mapped into memory.
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
    ) -> None:
        owner = self._owner(name)
        n_channels = whole_number(f"{owner}: n_channels", n_channels, 1)
        self.steps = column(f"{owner}: steps", steps, None, 0, MOST)
        n, why = len(self.steps), f"n_channels = {n_channels}"
        self.channels = column(f"{owner}: channels", channels, n, 0, n_channels - 1, why=why)
        self.counts = None if counts is None else column(f"{owner}: counts", counts, n, 1, MOST)
        self.offsets = offsets_of(f"{owner}: offsets", offsets, n)
        lengths = _lengths(self.steps, self.offsets)
        super().__init__(name, n_channels, labels, speakers, lengths, len(lengths))

    def sparse(self, indices: Indices) -> SparseBatch:
        """The events of the recordings ``indices``, and where in a dense batch they go."""
        chosen = self._chosen(indices)
        lengths = self.lengths[chosen]
        n_steps = int(lengths.max()) if len(chosen) else 0
        events, sizes = self._events(chosen)
        # Half the memory to move wherever it suffices, which is nearly always.
        small = n_steps * len(chosen) * self.n_channels <= np.iinfo(np.int32).max
        cells = self.steps.numpy().take(events).astype(np.int32 if small else np.int64)
        cells *= len(chosen)
        cells += np.repeat(np.arange(len(chosen), dtype=cells.dtype), sizes)
        cells *= self.n_channels
        cells += self.channels.numpy().take(events)
        counts = self.counts
        return SparseBatch(
            cells=torch.from_numpy(cells),
            counts=None if counts is None else torch.from_numpy(counts.numpy().take(events)),
            shape=(n_steps, len(chosen), self.n_channels),
            labels=self.labels[chosen],
            lengths=lengths,
            speakers=self.speakers[chosen],
        )

    def silent_channels(self) -> Int64[np.ndarray, " silent"]:
        """The channels on which no recording of the split has an event."""
        fires = np.zeros(self.n_channels, dtype=bool)
        for some in torch.arange(len(self)).split(_TOGETHER):
            fires[self.channels.numpy().take(self._events(some)[0])] = True
            if fires.all():
                break
        return np.flatnonzero(~fires)

    @classmethod
    def join(cls, parts: list[SpikeSplit], name: str) -> SpikeSplit:
        """One split of all recordings of parts with counts, none a subset, emptying the list.

        Of what the parts hold, if nobody else does, only a third is ever there twice.
        """
        names = ("steps", "channels", "counts", "labels", "speakers")
        columns: dict[str, Any] = {key: [getattr(part, key) for part in parts] for key in names}
        sizes = torch.cat([part.offsets.diff() for part in parts])
        n_channels = parts[0].n_channels
        parts.clear()
        whole = {key: torch.cat(columns.pop(key)) for key in names}
        offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        return cls(**whole, offsets=offsets, n_channels=n_channels, name=name)

    def holding(self, **events: Any) -> SpikeSplit:
        """The same recordings, holding other events."""
        recordings = {name: getattr(self, name) for name in ("labels", "speakers", "n_channels")}
        return SpikeSplit(**events, **recordings, name=self.name)

    def _events(self, chosen: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Where in the list the events of the chosen recordings stand, and how many each has."""
        places, offsets = self._standing(chosen).numpy(), self.offsets.numpy()
        first = offsets[places]
        sizes = offsets[places + 1] - first
        # NumPy, since torch takes several times as long to repeat.
        events = np.repeat(first - (sizes.cumsum() - sizes), sizes)
        events += np.arange(len(events))
        return events, sizes


def _lengths(steps: Tensor, offsets: Tensor) -> Int64[Tensor, " n"]:
    """Last step + 1 of every recording; 1 for a recording without events."""
    lengths = torch.ones(len(offsets) - 1, dtype=torch.int64)
    occupied = offsets.diff() > 0
    if occupied.any():
        # Empty recordings own no events: the next occupied one begins where the last one ends.
        starts = offsets[:-1][occupied].numpy()
        last = np.maximum.reduceat(steps.numpy(), starts).astype(np.int64)
        lengths[occupied] = torch.from_numpy(last) + 1
    return lengths
