"""How answers grow over time: class scores if a network had to answer after each step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from snn_delays import losses
from snn_delays.data import Batch, SpikeData, Split
from snn_delays.evaluation import output_of, tail

BATCH = 256


def has_course(data: SpikeData) -> bool:
    """Whether samples last several steps and have one right class, so that scores of it and the
    others over time can be drawn."""
    return int(data.test.lengths.max()) > 1 and one_class_each(data)


def one_class_each(data: SpikeData) -> bool:
    """Whether every test sample has one right class."""
    return bool((data.task.carries(data.test.labels, data.n_classes).sum(1) == 1).all())


def batches(split: Split) -> Iterator[Batch]:
    """All samples of a split, in order."""
    for first in range(0, len(split), BATCH):
        yield split.collate(range(first, min(first + BATCH, len(split))))


def spread(split: Split, most: int) -> Split:
    """So many samples, evenly spread over a split; all of it where it has no more."""
    if len(split) <= most:
        return split
    chosen = np.linspace(0, len(split) - 1, most).round().astype(np.int64)
    return split.subset(chosen, split.name)


@torch.no_grad()
def scores(net: nn.Module, batch: Batch) -> Float[Tensor, "time batch classes"]:
    """Class scores after each step, less their mean over classes."""
    v, lengths, readout = output_of(net, batch)
    assert isinstance(readout, str)
    return gathered(v, lengths, readout)


def gathered(
    v: Float[Tensor, "time batch classes"], durations: Int[Tensor, " batch"], readout: str
) -> Float[Tensor, "time batch classes"]:
    """Class scores if the network had to answer after each step, less their mean over classes.

    Of ``sum_softmax`` that mean is chance. After a sample's own duration its scores stay.
    """
    ends = range(1, len(v) + 1)
    found = torch.stack([losses.score(v[:end], durations.clamp(max=end), readout) for end in ends])
    return found - found.mean(2, keepdim=True)


def right_over_time(net: nn.Module, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Share of right answers after each step ``[T]``; lead of the right class at the end
    ``[samples]``, below 0 where the answer is wrong."""
    steps = int(split.lengths.max()) + tail(net)
    right, leads = np.zeros(steps), []
    for batch in batches(split):
        found = scores(net, batch)
        now = (found.argmax(2) == batch.labels).sum(1).numpy()
        right += np.pad(now, (0, steps - len(now)), mode="edge")
        leads.append(lead(found[-1], batch.labels).numpy())
    return right / len(split), np.concatenate(leads)


def lead(
    scores: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """By how much the right class's score exceeds the best other one."""
    own = labels[:, None]
    others = scores.scatter(1, own, -torch.inf).amax(1)
    return scores.gather(1, own)[:, 0] - others
