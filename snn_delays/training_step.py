"""One step of training: samples forward, their loss backward, and all that learns moves on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor, nn

from snn_delays.callbacks.callback import Training
from snn_delays.data import Batch
from snn_delays.data.splits.batch import CompactBatch
from snn_delays.data.splits.change import BatchChange
from snn_delays.errors import UsageError
from snn_delays.evaluation import ReadOut, class_scores, tail
from snn_delays.faults import Faults, Spoilt
from snn_delays.layers.networks import clamp_delays_
from snn_delays.ranks import norms_alone


@dataclass
class TrainingStep:
    """What ``fit`` does with the samples of one optimiser step.

    Args:
        net: the network.
        model, steppers: it and its optimisers, as ``fabric`` has set them up.
        loss, regulariser, readout, augmentation, clip_norm: as ``fit`` takes them.
        n_classes: of the data.
        on_nan, advice: see ``Faults``.
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
    clip_norm: float | None
    on_nan: str
    advice: str

    def __post_init__(self) -> None:
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        told = {"scaler": scaler, "advice": self.advice}
        self.faults = Faults(self.net, self.on_nan, self._replayed, **told)

    def __call__(
        self, parts: Sequence[CompactBatch], training: Training, samples: float | None = None
    ) -> bool:
        """Take the step of all parts, whose gradients add up to the mean over their samples.

        False where it was left out.

        Args:
            samples: what to divide sums over samples by; ``None``: by their number. Of several
                processes, whose gradients are averaged, it is the mean of their numbers.

        Raises:
            UsageError: it was spoilt, see ``Faults``.
        """
        self.faults.begin(training)
        try:
            answers = self._backward(parts, training, samples)
            self.faults.look_at_gradients()
            # One after the other: the scaler of 16-mixed counts on that.
            for stepper in self.steppers:
                if self.clip_norm is not None:
                    how = {"max_norm": self.clip_norm, "error_if_nonfinite": False}
                    self.fabric.clip_gradients(self.model, stepper, **how)
                stepper.step()
            self.faults.look_at_parameters()
            clamp_delays_(self.net)
        except UsageError:  # of numbers that the step before, or this one, may have spoilt
            self.faults.settle(training)
            self.faults.end()
            self.faults.settle(training)
            raise
        except Spoilt as fault:
            self.faults.leave_out(fault, training)
            for stepper in self.steppers:
                stepper.zero_grad()
            return False
        self.faults.end()
        assert training.so_far is not None
        for answer in answers:
            training.so_far.add(*answer)
        return True

    def _backward(
        self, parts: Sequence[CompactBatch], training: Training, samples: float | None
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Losses, scores and labels of the parts, once all have had their backward pass."""
        assert training.so_far is not None
        answers, n = [], samples or sum(len(part.labels) for part in parts)
        for number, part in enumerate(parts, start=1):
            with self.fabric.no_backward_sync(self.model, enabled=number < len(parts)):
                compact = self.fabric.to_device(part).dense()
                batch, targets = self.augmentation(compact, self.n_classes)
                self.faults.take(batch)
                steps, lengths = len(batch.spikes) + tail(self.net), batch.lengths + tail(self.net)
                training.so_far.firing.expect(steps, lengths)
                scores = class_scores(self.net, batch, self.readout, run=self.model)
                of_part = self.loss(scores, targets)
                whole = of_part * (len(part.labels) / n)
                if self.regulariser is not None and number == len(parts):
                    whole = whole + self.regulariser(self.net)
                if number == 1:
                    # Of the step before; meanwhile a GPU has this one's forward pass to do.
                    self.faults.settle(training)
                    for stepper in self.steppers:
                        stepper.zero_grad()
                self.faults.look_at_loss(whole)
                self.fabric.backward(whole)
            # Of a sample mixed of two, the label of the greater part counts as right.
            answers.append((of_part.detach(), scores.detach(), batch.labels))
        return answers

    def _replayed(self, batch: Batch) -> Any:
        with self.fabric.autocast(), norms_alone():
            return class_scores(self.net, batch, self.readout)
