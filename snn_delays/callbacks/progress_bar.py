"""How far a training is, in a terminal."""

from __future__ import annotations

import time
from contextlib import ExitStack

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from snn_delays.callbacks.callback import Callback, Training
from snn_delays.terminal import fitting, live, print_line, terminal_bar

_READ_EVERY = 0.5  # seconds: reading waits for a GPU
# Columns that a bar of 12, the time left, and the spaces between need, whatever else is shown.
_BAR_AND_TIME = 12 + len("100:00:00") + 3


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
