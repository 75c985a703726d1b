"""A progress bar on the terminal while a data set is fetched, unpacked or computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


class Bar:
    """What tells the bar of how much is done, of how much."""

    def __init__(self, progress: Progress, name: str, total: float | None) -> None:
        self._progress, self._task = progress, progress.add_task(name, total=total)

    def advance(self, done: float) -> None:
        self._progress.advance(self._task, done)

    def at(self, done: float, total: float | None) -> None:
        self._progress.update(self._task, completed=done, total=total)


@contextmanager
def bar(name: str, total: float | None, *more: ProgressColumn) -> Iterator[Bar]:
    """A bar in a terminal, nothing elsewhere; with ``more`` columns, such as of bytes."""
    console = Console(stderr=True)
    columns = TextColumn(name), BarColumn(bar_width=None), *more, TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield Bar(progress, name, total)
