"""What a network answers on every sample of a split."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from snn_delays import losses
from snn_delays.arguments import whole_number
from snn_delays.data import Split
from snn_delays.network import Classifier

_log = logging.getLogger("snn_delays")
# Share of the answers above which it is said that rounding the delays spoils them.
_MOST_LOST = 0.05


@dataclass(frozen=True)
class Evaluation:
    """What a network answers on every sample of a split, in the split's order."""

    loss: float
    predictions: Tensor
    labels: Tensor
    speakers: Tensor

    @property
    def accuracy(self) -> float:
        return self.accuracy_where(torch.ones_like(self.labels, dtype=torch.bool))

    def accuracy_where(self, chosen: Tensor) -> float:
        """Share of right answers among the chosen samples; NaN if there are none."""
        return (self.predictions == self.labels)[chosen].double().mean().item()


def evaluate(net: Classifier, split: Split, batch_size: int = 256) -> Evaluation:
    """Answers of ``net`` as it is (``net.rounded()`` for the deployed one); its mode is kept.

    Raises:
        UsageError: a batch size below 1.
    """
    batch_size = whole_number("batch_size", batch_size, 1)
    device = next(net.parameters()).device
    training = net.training
    net.train(False)
    losses_, answers, labels, speakers = [], [], [], []
    with torch.no_grad():
        for sparse in DataLoader(split, batch_size, collate_fn=split.sparse):
            batch = sparse.to(device).dense()
            v = net(batch.spikes)
            scores = losses.score(v, batch.lengths + net.tail, net.readout).cpu()
            losses_.append(losses.cross_entropy(scores, sparse.labels) * len(sparse.labels))
            answers.append(scores.argmax(1))
            labels.append(sparse.labels)
            speakers.append(sparse.speakers)
    net.train(training)
    return Evaluation(
        loss=float(sum(losses_)) / len(split),
        predictions=torch.cat(answers),
        labels=torch.cat(labels),
        speakers=torch.cat(speakers),
    )


def warn_of_rounding(where: str, as_trained: float, rounded: float) -> None:
    """Log a warning where rounding the delays costs more than 5 points of accuracy.

    A Gaussian of σ = 0.5 has 0.79 of its weight on the nearest step. A neuron that a single
    synapse drives may lie below its threshold in training and above it with delays rounded.

    Args:
        where: which samples, and which network, begins the line.
        as_trained, rounded: accuracies with σ-kernels and with integer delays.
    """
    if as_trained - rounded > _MOST_LOST:
        _log.warning(
            "%s: %.1f %% right with σ-kernels, but %.1f %% with delays rounded, as they are "
            "exported. Try a narrower kernel at the end (schedule.end=0.3), or "
            "schedule.integer_from=0.8, which trains weights on rounded delays; neither saves "
            "every network.",
            where,
            100 * as_trained,
            100 * rounded,
        )
