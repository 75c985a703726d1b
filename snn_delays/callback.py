"""Where a training stands, and what a callback is called with it for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from snn_delays.epoch import Epoch
from snn_delays.generators import generator_states
from snn_delays.run_folder import Row


@dataclass
class Training:
    """Where ``fit`` stands; what callbacks are given. Epochs and batches count from 1.

    Args:
        net: the network in training.
        epochs: how many there will be.
        config: what the training is, as plain values: its settings, those of its callbacks, σ of
            every epoch, and which parameters are learned.
        optimisation: the optimisers, their timetables, and what scales gradients.
        rows: the metrics of every epoch that has ended; ``fit`` returns them.
        epoch, batch, batches: where it stands now; ``batches`` are those of an epoch.
        so_far: what this epoch has added up; ``None`` before the first.
        metric: what the task's score is called: ``accuracy`` or ``mAP``.
        callbacks: those of this training, whose states are saved with it.
        restored: what a checkpoint holds beside network, optimisation and rows, to go on with.
        saved: where the last checkpoint lies, in words.
        stopping: what asks the training to stop, such as ``SIGTERM``; it does after this batch.
        processes: how many train together; of several none can save within an epoch, since each
            has its own part of what that adds up.
        settle: refuses a network that the last step has spoilt; to be called before it is saved.
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
        """Mean over this epoch so far. To read it makes the host wait for a GPU."""
        return self.so_far.loss if self.so_far else 0.0

    @property
    def score(self) -> float | None:
        """Of this epoch so far, likewise; ``None`` where it takes the whole epoch to tell."""
        return self.so_far.score if self.so_far else None

    @property
    def resumed(self) -> bool:
        """Whether it goes on from a checkpoint, which ``on_start`` may ask."""
        return bool(self.rows or self.restored.get("within"))

    def within(self) -> dict[str, Any]:
        """Where it stands within the epoch, to go on with in another process."""
        assert self.so_far is not None
        device = next(self.net.parameters(), torch.empty(0)).device
        return {
            **{"epoch": self.epoch, "batch": self.batch, "generators": generator_states(device)},
            "so_far": self.so_far.state_dict(),
        }

    def callback_states(self) -> dict[str, Any]:
        """By name, the states of those callbacks that have any."""
        found = {name: one.state_dict() for name, one in self._named_callbacks()}
        return {name: state for name, state in found.items() if state}

    def restore_callbacks(self) -> None:
        """Give callbacks the states that were saved, once they have begun."""
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
        everywhere: of several processes that train together, whether each calls it, as what changes
            the network must be; others, which write or print, are called by the first one alone.
    """

    everywhere: ClassVar[bool] = False

    def on_start(self, training: Training) -> None:
        """Before the first batch, when all arguments have been found to be right."""

    def settings(self) -> dict[str, Any]:
        """What of it makes a run what it is, as plain values; nothing if it only looks on."""
        return {}

    def on_batch_start(self, training: Training) -> None:
        """Before every batch."""

    def on_batch(self, training: Training) -> None:
        """After every batch, which is one step of the optimisers; its gradients are still there."""

    def on_skip(self, training: Training) -> None:
        """In place of ``on_batch`` where the step was left out, and nothing has moved."""

    def on_stop(self, training: Training) -> None:
        """Before ``Stopped`` is raised: after a batch, in validation or after an epoch."""

    def state_dict(self) -> dict[str, Any]:
        """What it takes to go on in another process; nothing if the next epoch or batch tells."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; called after ``on_start``, which may see a restored network."""

    def on_epoch(self, training: Training) -> None:
        """After every epoch, with its metrics in ``training.rows[-1]``."""

    def on_end(self, training: Training) -> None:
        """After the last epoch, or after whatever else has ended the training."""
