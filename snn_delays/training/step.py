"""One step of training: samples forward, their loss backward, and all that learns moves on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor, nn

from snn_delays.callbacks.callback import Training
from snn_delays.data import Batch
from snn_delays.data.splits.batch import CompactBatch
from snn_delays.data.splits.change import BatchChange
from snn_delays.errors import UsageError
from snn_delays.evaluation import ReadOut, class_scores, tail
from snn_delays.graphs.parts import Parts
from snn_delays.graphs.recordings import Results
from snn_delays.layers.networks import clamp_delays_
from snn_delays.run.firing import Firing
from snn_delays.run.ranks import norms_alone
from snn_delays.training.faults import Faults, Spoilt


@dataclass
class TrainingStep:
    """What ``fit`` does with the samples of one optimiser step.

    Args:
        net: the network.
        model, steppers: it and its optimisers, as ``fabric`` has set them up.
        loss, regulariser, readout, augmentation, clip_norm: as ``fit`` takes them.
        n_classes: of the data.
        on_nan, advice: see ``Faults``.
        run: how the parts of a step are run.
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
    run: Parts

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
        self.run.begin()
        try:
            answers = self._answers(parts, training, samples)
            self.faults.look_at_gradients()
            self.faults.look_at_parameters(self._move())
            self.run.ranges(self._clamp)
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

    def _answers(
        self, parts: Sequence[CompactBatch], training: Training, samples: float | None
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Losses, scores and labels of the parts, once all have had their backward pass."""
        assert training.so_far is not None
        firing = training.so_far.firing
        answers, n = [], samples or sum(len(part.labels) for part in parts)
        for number, part in enumerate(parts, start=1):
            first, last = number == 1, number == len(parts)
            with self.fabric.no_backward_sync(self.model, enabled=not last):
                compact = self.fabric.to_device(part).dense()
                batch, targets = self.augmentation(compact, self.n_classes)
                self.faults.take(batch)
                share = len(part.labels) / n
                if first:  # here, since Python does none of what a graph repeats
                    for stepper in self.steppers:
                        stepper.zero_grad()
                work = partial(self._gradients, firing, share, last)
                found = self.run.gradients(work, *batch, targets)
            of_part, whole, scores, spikes, cells, *gradients = found
            assert of_part is not None and whole is not None and scores is not None  # noqa: PT018
            assert spikes is not None and cells is not None  # noqa: PT018
            for parameter, gradient in zip(self._learned(), gradients, strict=False):
                parameter.grad = gradient
            firing.add(spikes, cells)
            if first:
                # Of the step before; meanwhile a GPU has this one's passes to do.
                self.faults.settle(training)
            self.faults.look_at_loss(whole)
            # Of a sample mixed of two, the label of the greater part counts as right.
            answers.append((of_part, scores, batch.labels))
        return answers

    def _gradients(self, firing: Firing, share: float, last: bool, *inputs: Tensor) -> Results:
        """Loss of some samples, the same by their share of the step, scores, spikes and how many
        there could be; of the last samples also the gradients of all."""
        batch, targets = Batch(*inputs[:-1]), inputs[-1]
        steps, lengths = len(batch.spikes) + tail(self.net), batch.lengths + tail(self.net)
        firing.expect(steps, lengths)
        scores = class_scores(self.net, batch, self.readout, run=self.model)
        of_part = self.loss(scores, targets)
        whole = of_part * share
        if self.regulariser is not None and last:
            whole = whole + self.regulariser(self.net)
        self.fabric.backward(whole)
        gradients = [one.grad for one in self._learned()] if last else []
        return of_part.detach(), whole.detach(), scores.detach(), *firing.found(), *gradients

    def _learned(self) -> list[Tensor]:
        return [one for one in self.net.parameters() if one.requires_grad]

    def _move(self) -> Tensor:
        """Let the optimisers step; whether the parameters are finite then."""
        moved = [(one, grad) for one in self._learned() if (grad := one.grad) is not None]
        work = partial(self._step, [one for one, _ in moved])
        finite, *gradients = self.run.moves(work, *(grad for _, grad in moved))
        for (parameter, _), gradient in zip(moved, gradients, strict=True):
            parameter.grad = gradient
        assert finite is not None
        return finite

    def _step(self, moved: Sequence[Tensor], *gradients: Tensor) -> Results:
        for parameter, gradient in zip(moved, gradients, strict=True):
            parameter.grad = gradient
        # One after the other: the scaler of 16-mixed counts on that.
        for stepper in self.steppers:
            if self.clip_norm is not None:
                how = {"max_norm": self.clip_norm, "error_if_nonfinite": False}
                self.fabric.clip_gradients(self.model, stepper, **how)
            stepper.step()
        return self.faults.finite_parameters(), *(one.grad for one in moved)

    def _clamp(self) -> Results:
        clamp_delays_(self.net)
        return ()

    def _replayed(self, batch: Batch) -> Any:
        with self.fabric.autocast(), norms_alone():
            return class_scores(self.net, batch, self.readout)
