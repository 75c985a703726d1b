"""One step of training: samples forward, their loss backward, and all that learns moves on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor, nn

from snn_delays.callbacks import Training
from snn_delays.data.splits.batch import Batch, CompactBatch
from snn_delays.data.splits.change import BatchChange
from snn_delays.errors import UsageError
from snn_delays.evaluation import ReadOut, class_scores, tail
from snn_delays.late import Late
from snn_delays.layers.networks import clamp_delays_
from snn_delays.ranks import Share


@dataclass
class Step:
    """What ``fit`` does with the samples of one step.

    Args:
        net: the network.
        model, steppers: it and its optimisers, as ``fabric`` has set them up.
        loss, regulariser, readout, augmentation: as ``fit`` takes them.
        n_classes: of the data.
        weight_lr: for advice.
    """

    net: nn.Module
    fabric: Fabric
    model: Any
    steppers: Sequence[Any]
    loss: Callable[[Tensor, Tensor], Tensor]
    regulariser: Callable[[nn.Module], Tensor | float] | None
    readout: ReadOut | None
    augmentation: BatchChange
    n_classes: int
    weight_lr: float
    last: Late | None = None

    def __call__(self, compact: CompactBatch, training: Training, share: Share) -> None:
        """Take the step, and add it to what the epoch adds up.

        Args:
            compact: the samples of ``share``.
        """
        epoch = training.so_far
        assert epoch is not None
        batch, targets = self.augmentation(self.fabric.to_device(compact).dense(), self.n_classes)
        batch = _padded(batch, share.steps)
        epoch.firing.expect(len(batch.spikes) + tail(self.net), batch.lengths + tail(self.net))
        scores = class_scores(self.net, batch, self.readout, run=self.model)
        of_batch = self.loss(scores, targets)
        for stepper in self.steppers:
            stepper.zero_grad()
        whole = of_batch * share.weight
        if self.regulariser is not None:
            whole = whole + self.regulariser(self.net)
        self.fabric.backward(whole)
        for stepper in self.steppers:
            stepper.step()
        # Of a sample mixed of two, the label of the greater part counts as right.
        epoch.add(of_batch, scores, batch.labels)
        # Of a GPU a batch later, when it need not be waited for.
        told, self.last = (self.last if whole.is_cuda else Late(whole)), Late(whole)
        if told is not None:
            self._require_finite(float(told), training.epoch)
        clamp_delays_(self.net)

    def settle(self, training: Training) -> None:
        """Look at what has not been looked at yet."""
        if self.last is not None:
            self._require_finite(float(self.last), training.epoch)

    def _require_finite(self, loss: float, epoch: int) -> None:
        if not math.isfinite(loss):
            raise UsageError(
                f"fit: the loss is {loss} in epoch {epoch}. Lower weight_lr (now "
                f"{self.weight_lr:g}) and train again."
            )


def _padded(batch: Batch, steps: int | None) -> Batch:
    """As long as the longest sample of the whole batch, by silence: BatchNorm's statistics are of
    all steps."""
    missing = (steps or 0) - len(batch.spikes)
    if missing <= 0:
        return batch
    pads = [0, 0] * (batch.spikes.dim() - 1) + [0, missing]
    return batch._replace(spikes=nn.functional.pad(batch.spikes, pads))
