"""Why a sample is answered as it is: when the wrong class took the lead, and what misled."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from snn_delays.data import Batch, Split
from snn_delays.evaluation import class_scores
from snn_delays.report.course import lead, scores

WINDOWS = 8


@dataclass(frozen=True, eq=False)
class Reading:
    """How a network reads one sample.

    Args:
        batch: the sample alone.
        course: class scores after each step, less their mean ``[T, classes]``.
        label, answer: the right class, and what is answered.
        led_until: the last step after which the right class led; -1: it never did.
        own_steps: of the sample itself, without the tail.
        unrounded: what is answered with σ-kernels.
        window: first and last step of the input (of a span of steps) without which the right class
            leads by most.
        without: the answer without these.
        gained: by how much the right class's lead grows without them.
    """

    index: int
    batch: Batch
    course: NDArray[np.float32]
    label: int
    answer: int
    led_until: int
    own_steps: int
    unrounded: int
    window: tuple[int, int]
    without: int
    gained: float

    @property
    def right(self) -> bool:
        return self.answer == self.label

    @property
    def lead(self) -> float:
        """Of the right class at the end; below 0 if it is misread."""
        last = torch.from_numpy(self.course[-1:])
        return float(lead(last, self.batch.labels)[0])


@torch.no_grad()
def read(deployed: nn.Module, net: nn.Module, split: Split, index: int) -> Reading:
    """Look at one sample of a split.

    Args:
        deployed, net: with delays rounded, and as trained.
    """
    batch = split.collate([index])
    found = scores(deployed, batch)[:, 0]
    label, answer = int(batch.labels[0]), int(found[-1].argmax())
    led = (lead(found, batch.labels.expand(len(found))) > 1e-6).nonzero()[:, 0]
    windows = _windows(int(batch.lengths[0]))
    hidden = class_scores(deployed, _without(batch, windows))
    whole = class_scores(deployed, batch)
    labels = batch.labels.expand(len(windows))
    gains = lead(hidden, labels) - lead(whole, batch.labels)
    best = int(gains.argmax())
    return Reading(
        index,
        batch,
        found.numpy(),
        label,
        answer,
        int(led[-1]) if len(led) else -1,
        int(batch.lengths[0]),
        int(class_scores(net, batch).argmax()),
        windows[best],
        int(hidden[best].argmax()),
        float(gains[best]),
    )


def _windows(steps: int) -> list[tuple[int, int]]:
    """Spans of a sample's steps, about as long as each other: first and last of each."""
    edges = np.unique(np.linspace(0, steps, WINDOWS + 1).round().astype(int))
    return [(int(first), int(end) - 1) for first, end in itertools.pairwise(edges)]


def _without(batch: Batch, windows: list[tuple[int, int]]) -> Batch:
    """The sample as often as there are windows, each time silent in one."""
    spikes = batch.spikes.repeat_interleave(len(windows), 1).clone()
    for at, (first, last) in enumerate(windows):
        spikes[first : last + 1, at] = 0
    columns = {
        name: getattr(batch, name).expand(len(windows)).clone()
        for name in ("labels", "lengths", "speakers")
    }
    return batch._replace(spikes=spikes, **columns)
