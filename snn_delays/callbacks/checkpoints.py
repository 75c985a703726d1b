"""Saving a training in a run's folder, and resuming it."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from snn_delays.arguments import real_number
from snn_delays.callbacks.callback import Callback, Training
from snn_delays.errors import UsageError
from snn_delays.run.folder import Row, RunFolder
from snn_delays.run.lock import training_in
from snn_delays.run.progress import Progress, load_progress

_log = logging.getLogger("snn_delays")


class Checkpoints(Callback):
    """Saves the last and the best epoch in a run's folder, and resumes from there.

    ``checkpoints/last.ckpt`` holds all that is needed to resume, ``best.ckpt`` the network with the
    best score on the validation split, delays rounded. ``within.ckpt`` is saved within an epoch
    when the training is stopped, and every ``minutes``; it is removed once the epoch has ended. A
    resumed run gives the same numbers as one that was never stopped. If ``last.ckpt`` is damaged,
    its epoch is trained again; if ``within.ckpt`` is, that epoch is trained from its beginning.
    ``fit`` calls this callback before others, which go on from what it restores, but after each
    batch last. The folder is locked against other processes while one trains in it; a process that
    has died holds no lock.

    Args:
        run: the folder, without a run in it, or with the run to ``resume``.
        resume: whether to resume the run in the folder.
        config: all that defines the run, and must be the same to resume it; ``None`` takes
            ``training.config``.
        minutes: how often to save within an epoch; ``None`` saves there only when stopped.

    Raises:
        UsageError: the folder holds a run already, or another process trains in it; there is
            nothing to resume, or the run has another configuration.
    """

    def __init__(
        self,
        run: Path | str | RunFolder,
        *,
        resume: bool = False,
        config: Mapping[str, Any] | None = None,
        minutes: float | None = None,
    ) -> None:
        if minutes is not None:
            minutes = real_number("Checkpoints: minutes", minutes, above=0)
        self.minutes = minutes
        self.run = run if isinstance(run, RunFolder) else RunFolder(Path(run))
        self.resume, self.config = resume, config
        self.best: dict[str, Any] = {}
        self.held = ExitStack()

    def on_start(self, training: Training) -> None:
        if self.minutes is not None and training.processes > 1:
            raise UsageError(
                f"Checkpoints: minutes={self.minutes:g}: of {training.processes} processes none "
                "saves within an epoch. Leave it out: every epoch is saved."
            )
        self.config = training.config if self.config is None else self.config
        if not self.resume:
            self.run.begin()
        elif progress := load_progress(self.run):
            progress.require_config(self.config, self.run.path)  # before anything is written
        with ExitStack() as held:
            held.enter_context(training_in(self.run.path))
            # Read only now that it is locked: another process may have trained until here.
            if self.resume and (progress := load_progress(self.run)):
                progress.require_config(self.config, self.run.path)
                progress.restore(self.run, training.net, training.optimisation)
                training.rows[:], self.best = progress.rows, progress.best
                training.restored = {"callbacks": progress.callbacks, "within": progress.within}
                training.saved = progress.told(self.run)
            elif self.resume and (within := self.run.checkpoint("within")).exists():
                _log.warning("%s is damaged: the run is begun again.", within)
            self.held = held.pop_all()
        self.saved_at = time.monotonic()

    def on_end(self, training: Training) -> None:
        self.held.close()

    def on_epoch(self, training: Training) -> None:
        if best_epoch(training.rows, training.metric) == training.epoch:
            network = copy.deepcopy(training.net.state_dict())
            self.best = {"network": network, "epoch": training.epoch}
        self._save(training, within=False)

    def on_batch(self, training: Training) -> None:
        minutes = (time.monotonic() - self.saved_at) / 60
        if self.minutes is not None and minutes >= self.minutes:
            self._save(training, within=True)

    def on_skip(self, training: Training) -> None:
        self.on_batch(training)

    def on_stop(self, training: Training) -> None:
        if len(training.rows) < training.epoch and training.processes == 1:
            self._save(training, within=True)

    def _save(self, training: Training, *, within: bool) -> None:
        training.settle()
        assert self.config is not None
        progress = Progress(
            training.net.state_dict(),
            [part.state_dict() for part in training.optimisation],
            training.rows,
            self.best,
            dict(self.config),
            training.callback_states(),
            training.within() if within else None,
        )
        progress.save(self.run)
        training.saved, self.saved_at = progress.told(self.run), time.monotonic()


def best_epoch(rows: list[Row], metric: str = "accuracy") -> int:
    """The epoch (from 1) with the best score on validation; among equals the last, most settled."""
    return 1 + max(range(len(rows)), key=lambda e: (rows[e][f"valid_{metric}"], e))
