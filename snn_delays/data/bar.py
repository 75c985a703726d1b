"""A progress bar on the terminal while a data set is fetched, unpacked or computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


@contextmanager
def bar(name: str, total: float | None, *more: ProgressColumn) -> Iterator[Callable[..., None]]:
    """A bar in a terminal, nothing elsewhere; with ``more`` columns, such as of bytes.

    What is yielded takes ``advance``, or ``completed`` and ``total``.
    """
    console = Console(stderr=True)
    columns = TextColumn(name), BarColumn(bar_width=None), *more, TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield partial(progress.update, progress.add_task(name, total=total))
