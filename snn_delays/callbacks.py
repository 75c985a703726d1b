"""Ready-made callbacks of ``fit``: saving and resuming, metrics, TensorBoard, a progress bar."""

from __future__ import annotations

import copy
import csv
import io
import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from snn_delays import board
from snn_delays.arguments import real_number
from snn_delays.atomic import write_atomically
from snn_delays.callback import Callback, Training
from snn_delays.errors import UsageError
from snn_delays.progress import Progress, load_progress
from snn_delays.run_folder import Row, RunFolder
from snn_delays.run_lock import training_in
from snn_delays.terminal import fitting, live, print_line, terminal_bar

_log = logging.getLogger("snn_delays")
_READ_EVERY = 0.5  # seconds: reading waits for a GPU
# Columns that a bar of 12, the time left, and the spaces between need, whatever else is shown.
_BAR_AND_TIME = 12 + len("100:00:00") + 3


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


class MetricsCsv(Callback):
    """Writes every epoch's metrics as a row of the CSV file ``path``, anew each time."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def on_start(self, training: Training) -> None:
        if training.rows:  # the file may have rows of epochs that are trained again
            self.on_epoch(training)

    def on_epoch(self, training: Training) -> None:
        text = io.StringIO()
        columns = dict.fromkeys(name for row in training.rows for name in row)
        writer = csv.DictWriter(text, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(training.rows)
        write_atomically(self.path, text.getvalue().encode())


class TensorBoard(Callback):
    """Writes every epoch's metrics and delays, and the settings, for TensorBoard (``board.py``).

    Args:
        path: the folder.
        settings: what the page HPARAMS shows; ``None`` takes those of ``fit``.
    """

    def __init__(self, path: Path | str, settings: Mapping[str, Any] | None = None) -> None:
        self.path, self.hyperparameters = Path(path), settings

    def on_start(self, training: Training) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        # Epochs that a resumed run trains again are cut. The last finished one may be missing, and
        # is written; not when resuming within an epoch, whose delays have moved on.
        within = bool(training.restored.get("within"))
        purge_step = max(len(training.rows) + within, 1)
        self.writer = SummaryWriter(str(self.path), purge_step=purge_step)
        if training.resumed:
            if not within:
                self.on_epoch(training)
            return
        given = self.hyperparameters
        board.add_settings(self.writer, training.config["settings"] if given is None else given)
        board.add_delays(self.writer, training.net, 0)

    def on_epoch(self, training: Training) -> None:
        row = training.rows[-1]
        for name, value in row.items():
            self.writer.add_scalar(name, value, int(row["epoch"]))
        board.add_delays(self.writer, training.net, int(row["epoch"]))
        self.writer.flush()

    def on_end(self, training: Training) -> None:
        self.writer.close()


class ProgressBar(Callback):
    """A live bar in a terminal; a line for every epoch, in a file as well."""

    def __init__(self, console: Console | None = None) -> None:
        self.bar = terminal_bar(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
        )
        self.console, self.stack = self.bar.console, ExitStack()

    def on_start(self, training: Training) -> None:
        self.first, self.began, self.last = len(training.rows), time.monotonic(), []
        self.read, self.numbers = -_READ_EVERY, []
        self.task = self.bar.add_task(
            "training", total=None, epoch=self.first + 1, epochs=training.epochs, status=""
        )
        self.stack.enter_context(live(self.bar))

    def on_batch(self, training: Training) -> None:
        batches, epoch, epochs = training.batches, training.epoch, training.epochs
        if self.bar.tasks[-1].total is None:  # the time left counts from where this run began
            self.bar.reset(self.task, total=batches * epochs, completed=batches * self.first)
        if time.monotonic() - self.read >= _READ_EVERY or training.batch == batches:
            self.numbers = [f"loss {training.loss:.3f}"]
            if (score := training.score) is not None:
                self.numbers.append(f"{training.metric} {100 * score:.1f} %")
            self.read = time.monotonic()
        room = self.console.width - len(f"epoch {epoch}/{epochs}") - _BAR_AND_TIME
        self.bar.update(
            self.task,
            completed=batches * (epoch - 1) + training.batch,
            epoch=epoch,
            status=fitting(self.console, room, *self.numbers, *self.last),
        )

    def on_skip(self, training: Training) -> None:
        self.on_batch(training)

    def on_epoch(self, training: Training) -> None:
        row, done = training.rows[-1], training.epoch
        self.last = [f"σ {row['sigma']:.2f}", f"mean |Δdelay| {row['delay_change']:.3f}"]
        if "rate_hz" in row:
            self.last.append(f"rate {row['rate_hz']:.1f} Hz")
        pace = (time.monotonic() - self.began) / (done - self.first)
        print_line(
            self.console,
            f"epoch {done:>3}/{training.epochs}",
            f"loss {row['loss']:.3f}",
            f"{training.metric} {100 * row[training.metric]:5.1f} %",
            f"validation (rounded) {100 * row[f'valid_{training.metric}']:5.1f} %",
            *self.last,
            f"{row['seconds']:.1f} s",
            f"left {duration(pace * (training.epochs - done))}",
        )

    def on_end(self, training: Training) -> None:
        self.stack.close()


def duration(seconds: float) -> str:
    """``1:02:03``, or ``2:03`` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
