"""Where a network's delays stand after every epoch, as counts in a small file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from snn_delays.callbacks.callback import Callback, Training
from snn_delays.errors import UsageError, one_line
from snn_delays.files.atomic import write_csv
from snn_delays.layers.delayed import Delayed

_MOST = 64  # ranges of delays per layer


class Count(NamedTuple):
    """How many of a layer's synapses have delays that round to ``first`` … ``last`` steps after an
    epoch, and their share of the layer's Σ|w|; epoch 0 is before training."""

    epoch: int
    layer: str
    first: int
    last: int
    synapses: int
    weight: float


class DelayHistory(Callback):
    """Keeps histograms of every layer's delays, before training and after every epoch.

    A CSV file of at most 64 lines for each layer and epoch, written anew each time. A resumed run
    goes on with what is there of the epochs that it goes on from.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.counts: list[Count] = []

    def on_start(self, training: Training) -> None:
        if training.resumed:
            done = len(training.rows)
            there = read_history(self.path) if self.path.exists() else []
            self.counts = [one for one in there if one.epoch <= done]
        else:
            self._add(training, 0)

    def on_epoch(self, training: Training) -> None:
        self._add(training, training.epoch)

    def _add(self, training: Training, epoch: int) -> None:
        for name, layer in training.net.named_modules():
            if isinstance(layer, Delayed):
                self.counts += counted(layer, epoch, name)
        if self.counts:
            self._write()

    def _write(self) -> None:
        rows = ({**one._asdict(), "weight": f"{one.weight:.6g}"} for one in self.counts)
        write_csv(self.path, Count._fields, rows)


@torch.no_grad()
def counted(layer: Delayed, epoch: int, name: str) -> list[Count]:
    """A layer's synapses by their delay, each range as wide as the others."""
    weight = layer.acting_weight().abs().cpu()
    delay = layer.delay.cpu().expand_as(weight).round().clamp(layer.min_delay, layer.max_delay)
    there = torch.ones_like(weight) if layer.mask is None else layer.mask.cpu().expand_as(weight)
    span = layer.max_delay - layer.min_delay + 1
    wide = -(-span // _MOST)
    place = ((delay.flatten() - layer.min_delay) // wide).long()
    bins = -(-span // wide)
    synapses = torch.bincount(place, there.flatten(), bins).round().long().tolist()
    total = float(weight.sum()) or 1.0
    shares = (torch.bincount(place, weight.flatten(), bins) / total).tolist()
    firsts = range(layer.min_delay, layer.max_delay + 1, wide)
    return [
        Count(epoch, name, first, min(first + wide - 1, layer.max_delay), count, share)
        for first, count, share in zip(firsts, synapses, shares, strict=True)
    ]


def read_history(path: Path) -> Sequence[Count]:
    """What ``DelayHistory`` has written.

    Raises:
        UsageError: a file that it has not written.
    """
    kinds = (int, str, int, int, int, float)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
        if tuple(head) != Count._fields:
            raise ValueError(f"its head is {','.join(head)}")
        return [
            Count(*(kind(of) for kind, of in zip(kinds, row, strict=True)))  # pyright: ignore[reportArgumentType]
            for row in rows
        ]
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} is no history of delays ({one_line(error)}). Delete it: only the picture of "
            "how delays moved over epochs needs it."
        ) from error
