"""The base class of callbacks, and the state of a training that they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from snn_delays.run.epoch import Epoch
from snn_delays.run.folder import Row
from snn_delays.run.generators import generator_states


@dataclass
class Training:
    """Where ``fit`` stands; what callbacks are given. Epochs and batches count from 1.

    Args:
        net: the network in training.
        epochs: how many there will be.
        config: what the training is, as plain values: its settings, those of its callbacks, σ of
            every epoch, and which parameters are learned.
        optimisation: the optimisers, their timetables, and the scaler of gradients.
        rows: the metrics of every epoch that has ended; ``fit`` returns them.
        epoch, batch, batches: where it stands now; ``batches`` are those of an epoch.
        so_far: the sums of this epoch; ``None`` before the first.
        metric: what the task's score is called: ``accuracy`` or ``mAP``.
        callbacks: those of this training, whose states are saved with it.
        restored: what a checkpoint holds beside network, optimisation and rows.
        saved: where the last checkpoint lies, in words.
        stopping: what asks the training to stop after this batch, such as ``SIGTERM``.
        processes: how many train together. With several, none can save within an epoch, since each
            has only its part of the sums.
        settle: refuses a network with numbers that are not finite; call it before saving.
    """

    net: nn.Module
    epochs: int
    config: Mapping[str, Any]
    optimisation: list[Any]
    rows: list[Row] = field(default_factory=list)
    epoch: int = 0
    batch: int = 0
    batches: int = 0
    so_far: Epoch | None = None
    metric: str = "accuracy"
    callbacks: Sequence[Callback] = ()
    restored: dict[str, Any] = field(default_factory=dict)
    saved: str = ""
    stopping: str = ""
    processes: int = 1
    settle: Callable[[], None] = lambda: None

    @property
    def loss(self) -> float:
        """Mean over this epoch so far. Reading it makes the host wait for a GPU."""
        return self.so_far.loss if self.so_far else 0.0

    @property
    def score(self) -> float | None:
        """Score of this epoch so far, likewise; ``None`` if only the whole epoch has one."""
        return self.so_far.score if self.so_far else None

    @property
    def resumed(self) -> bool:
        """Whether it resumes from a checkpoint; known in ``on_start``."""
        return bool(self.rows or self.restored.get("within"))

    def within(self) -> dict[str, Any]:
        """Where it stands within the epoch, to resume in another process."""
        assert self.so_far is not None
        device = next(self.net.parameters(), torch.empty(0)).device
        return {
            **{"epoch": self.epoch, "batch": self.batch, "generators": generator_states(device)},
            "so_far": self.so_far.state_dict(),
        }

    def callback_states(self) -> dict[str, Any]:
        """The states of callbacks that have one, by name."""
        found = {name: one.state_dict() for name, one in self._named_callbacks()}
        return {name: state for name, state in found.items() if state}

    def restore_callbacks(self) -> None:
        """Give callbacks their saved states, after ``on_start``."""
        states = self.restored.pop("callbacks", {})
        for name, one in self._named_callbacks():
            if name in states:
                one.load_state_dict(states[name])

    def _named_callbacks(self) -> Iterator[tuple[str, Callback]]:
        kinds = [type(one).__name__ for one in self.callbacks]
        for at, one in enumerate(self.callbacks):
            yield f"{kinds[at]}.{kinds[:at].count(kinds[at])}", one


class Callback:
    """What ``fit`` calls; override what you need.

    Attributes:
        everywhere: whether each of several processes that train together calls it, which it must
            if it changes the network. Others, which write or print, are called by the first alone.
    """

    everywhere: ClassVar[bool] = False

    def on_start(self, training: Training) -> None:
        """Before the first batch, once all arguments have been checked."""

    def settings(self) -> dict[str, Any]:
        """Settings of it that define a run, as plain values; none if it only watches."""
        return {}

    def on_batch_start(self, training: Training) -> None:
        """Before every batch."""

    def on_batch(self, training: Training) -> None:
        """After every batch, which is one step of the optimisers; its gradients are still there."""

    def on_skip(self, training: Training) -> None:
        """In place of ``on_batch`` if the step was left out, and nothing has moved."""

    def on_stop(self, training: Training) -> None:
        """Before ``Stopped`` is raised: after a batch, in validation or after an epoch."""

    def state_dict(self) -> dict[str, Any]:
        """What it needs to resume in another process; empty if it keeps nothing between batches."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``; called after ``on_start``, which may see a restored network."""

    def on_epoch(self, training: Training) -> None:
        """After every epoch, with its metrics in ``training.rows[-1]``."""

    def on_end(self, training: Training) -> None:
        """After the last epoch, or after anything else has ended the training."""
