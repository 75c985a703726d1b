"""What a person sees in the terminal while a command runs."""

from __future__ import annotations

import codecs
import io
import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from snn_delays.checkpoint import Row

# The signs that commands print, for terminals and files that have no more than letters.
_IN_LETTERS = {
    **{"σ": "sigma", "τ": "tau", "Δ": "delta ", "Σ": "sum ", "×": "x", "±": "+/-", "≥": ">="},
    **{"–": "-", "−": "-", "…": "...", "→": "->", "‘": "'", "’": "'", "“": '"', "”": '"'},
    **{bar: str(height) for height, bar in enumerate("▁▂▃▄▅▆▇█", start=1)},
}
ERRORS = "snn_delays.in_letters"


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


class TrainingView:
    """Watches a training run: a live bar in a terminal, one plain line per epoch elsewhere.

    Use as a context manager; it is the ``Observer`` that ``training.train`` asks for.
    """

    def __init__(self, epochs: int, first: int = 0, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.epochs = epochs
        self.began, self.first = time.monotonic(), first
        self.last = ""
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task(
            "training", total=None, epoch=first + 1, epochs=epochs, status=""
        )

    def __enter__(self) -> TrainingView:
        self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()

    def batch(self, epoch: int, done: int, batches: int, loss: float, accuracy: float) -> None:
        self.progress.update(
            self.task,
            total=batches * self.epochs,
            completed=batches * (epoch - 1) + done,
            epoch=epoch,
            status=f"loss {loss:.3f}  accuracy {100 * accuracy:.1f} %  {self.last}",
        )

    def epoch(self, row: Row) -> None:
        done = int(row["epoch"])
        self.last = (
            f"σ {row['sigma']:.2f}  mean |Δdelay| {row['delay_change']:.3f}  "
            f"rate {row['rate_hz']:.1f} Hz"
        )
        pace = (time.monotonic() - self.began) / (done - self.first)
        self.progress.console.print(
            f"epoch {done:>3}/{self.epochs}  loss {row['loss']:.3f}  "
            f"accuracy {100 * row['accuracy']:5.1f} %  "
            f"validation (rounded) {100 * row['valid_accuracy']:5.1f} %  "
            f"{self.last}  {row['seconds']:.1f} s  "
            f"left {duration(pace * (self.epochs - done))}"
        )


def duration(seconds: float) -> str:
    """``1:02:03``, or ``2:03`` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def percent(share: float | None) -> str:
    """``73.9 %``; a dash where there is nothing to report."""
    return "–" if share is None else f"{100 * share:.1f} %"


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table; numbers stand to the right of their column, the first column to the left."""
    # A log file has no width to keep to.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)

    def printable(text: str) -> str:  # now, since columns are as wide as what will stand in them
        return text.encode(console.encoding, ERRORS).decode(console.encoding)

    table = Table(title=printable(title), title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(printable(column), justify="left" if index == 0 else "right")
    for row in rows:
        # A cell may hold brackets, which are no markup.
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)
