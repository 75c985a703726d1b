"""What a person sees in the terminal while a command runs."""

from __future__ import annotations

import codecs
import io
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from snn_delays.run_folder import Row

# The signs that commands print, for terminals and files that have no more than letters.
_IN_LETTERS = {
    **{"σ": "sigma", "τ": "tau", "Δ": "delta ", "Σ": "sum ", "×": "x", "±": "+/-", "≥": ">="},
    **{"–": "-", "−": "-", "…": "...", "→": "->", "‘": "'", "’": "'", "“": '"', "”": '"'},
    **{bar: str(height) for height, bar in enumerate("▁▂▃▄▅▆▇█", start=1)},
}
ERRORS = "snn_delays.in_letters"
# Columns that a bar of 12, the time left, and the spaces between need, whatever else is shown.
_BAR_AND_TIME = 12 + len("100:00:00") + 3


def _in_letters(error: UnicodeError) -> tuple[str, int]:
    """An error handler as ``codecs`` has them: signs in letters, whatever is left as an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    plain = "".join(_IN_LETTERS.get(sign, sign) for sign in signs)
    return plain.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error(ERRORS, _in_letters)


def print_anywhere() -> None:
    """What this process prints may hold any sign, whatever encoding the terminal or file has."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not where another program took its place
            stream.reconfigure(errors=ERRORS)


@contextmanager
def live(progress: Progress) -> Iterator[None]:
    """Show a bar; what is printed or logged meanwhile appears above it, in whole lines."""
    real = {id(stream): name for name in ("stdout", "stderr") if (stream := getattr(sys, name))}
    moved: list[tuple[logging.StreamHandler[Any], Any]] = []
    with progress:  # which puts itself in the place of both, in a terminal
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and id(handler.stream) in real:
                stream = handler.setStream(getattr(sys, real[id(handler.stream)]))
                moved.append((handler, stream))
        try:
            yield
        finally:
            for handler, stream in moved:
                if stream is not None:
                    handler.setStream(stream)


def terminal_bar(*columns: ProgressColumn, console: Console | None = None) -> Progress:
    """A bar for ``live`` in a terminal; nothing but what is printed elsewhere."""
    console = console or Console(highlight=False)
    # Lines in a terminal keep to its width: a bar that the terminal breaks is drawn over the rest.
    return Progress(
        *columns,
        console=console,
        disable=not console.is_terminal,
        redirect_stderr=sys.stderr.isatty(),
    )


def print_line(console: Console, *fields: str) -> None:
    """A line of fields: the first and as many as fit in a terminal, all of them in a file."""
    whole = not console.is_terminal
    line = "  ".join(fields) if whole else _fitting(console, console.width, *fields) or fields[0]
    console.print(Text(line), soft_wrap=whole)


def _fitting(console: Console, width: int, *fields: str) -> str:
    """As many of the fields, from the first on, as fit in ``width`` columns."""
    shown = [_printable(console, field) for field in fields]
    while len("  ".join(shown)) > max(width, 0):
        shown.pop()
    return "  ".join(shown)


class TrainingView:
    """Watches a training run: a live bar in a terminal, one plain line per epoch elsewhere.

    Use as a context manager; it is the ``Observer`` that ``training.train`` asks for.
    """

    def __init__(self, epochs: int, first: int = 0, console: Console | None = None) -> None:
        self.epochs = epochs
        self.began, self.first = time.monotonic(), first
        self.last: list[str] = []
        self.progress = terminal_bar(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
        )
        self.console = self.progress.console
        self.task = self.progress.add_task(
            "training", total=None, epoch=first + 1, epochs=epochs, status=""
        )
        self.stack = ExitStack()

    def __enter__(self) -> TrainingView:
        self.stack.enter_context(live(self.progress))
        return self

    def __exit__(self, *exception: object) -> None:
        self.stack.close()

    def batch(self, epoch: int, done: int, batches: int, loss: float, accuracy: float) -> None:
        if self.progress.tasks[0].total is None:  # the time left is that of what is trained now
            total = batches * self.epochs
            self.progress.reset(self.task, total=total, completed=batches * self.first)
        status = (f"loss {loss:.3f}", f"accuracy {100 * accuracy:.1f} %", *self.last)
        room = self.console.width - len(f"epoch {epoch}/{self.epochs}") - _BAR_AND_TIME
        self.progress.update(
            self.task,
            completed=batches * (epoch - 1) + done,
            epoch=epoch,
            status=_fitting(self.console, room, *status),
        )

    def epoch(self, row: Row) -> None:
        done = int(row["epoch"])
        self.last = [
            f"σ {row['sigma']:.2f}",
            f"mean |Δdelay| {row['delay_change']:.3f}",
            f"rate {row['rate_hz']:.1f} Hz",
        ]
        pace = (time.monotonic() - self.began) / (done - self.first)
        print_line(
            self.console,
            f"epoch {done:>3}/{self.epochs}",
            f"loss {row['loss']:.3f}",
            f"accuracy {100 * row['accuracy']:5.1f} %",
            f"validation (rounded) {100 * row['valid_accuracy']:5.1f} %",
            *self.last,
            f"{row['seconds']:.1f} s",
            f"left {duration(pace * (self.epochs - done))}",
        )


def duration(seconds: float) -> str:
    """``1:02:03``, or ``2:03`` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def percent(share: float | None) -> str:
    """``73.9 %``; a dash where there is nothing to report."""
    return "–" if share is None else f"{100 * share:.1f} %"


def _printable(console: Console, text: str) -> str:
    """What will stand there: columns are as wide as that."""
    return text.encode(console.encoding, ERRORS).decode(console.encoding)


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table; numbers stand to the right of their column, the first column to the left."""
    # A log file has no width to keep to.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)

    def printable(text: str) -> str:
        return _printable(console, text)

    table = Table(title=printable(title), title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(printable(column), justify="left" if index == 0 else "right")
    for row in rows:
        # A cell may hold brackets, which are no markup.
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)
