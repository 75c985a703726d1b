"""Lines, tables and bars in a terminal or a file, whatever letters and width it has."""

from __future__ import annotations

import codecs
import io
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

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


@contextmanager
def bar(name: str, total: float | None, *more: ProgressColumn) -> Iterator[Callable[..., None]]:
    """A bar on stderr while a data set is fetched, unpacked or computed; nothing in a file.

    What is yielded takes ``advance``, or ``completed`` and ``total``; ``more`` columns are such as
    of bytes.
    """
    columns = TextColumn(name), BarColumn(bar_width=None), *more, TimeRemainingColumn()
    with terminal_bar(*columns, console=Console(stderr=True)) as progress:
        yield partial(progress.update, progress.add_task(name, total=total))


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table; numbers stand to the right of their column, the first column to the left."""
    # A log file has no width to keep to.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)

    table = Table(title=printable(console, title), title_justify="left")
    for index, column in enumerate(columns):
        justify = "left" if index == 0 else "right"
        table.add_column(printable(console, column), justify=justify, overflow="fold")
    for row in rows:
        # A cell may hold brackets, which are no markup.
        table.add_row(*(Text(printable(console, cell)) for cell in row))
    console.print(table)


def print_line(console: Console, *fields: str) -> None:
    """A line of fields: the first and as many as fit in a terminal, all of them in a file."""
    whole = not console.is_terminal
    line = "" if whole else fitting(console, console.width, *fields) or fields[0]
    line = line or printable(console, "  ".join(fields))
    console.print(Text(line), soft_wrap=whole)


def fitting(console: Console, width: int, *fields: str) -> str:
    """As many of the fields, from the first on, as fit in ``width`` columns."""
    shown = [printable(console, field) for field in fields]
    while len("  ".join(shown)) > max(width, 0):
        shown.pop()
    return "  ".join(shown)


def printable(console: Console, text: str) -> str:
    """What will stand there: columns are as wide as that."""
    return text.encode(console.encoding, ERRORS).decode(console.encoding)
