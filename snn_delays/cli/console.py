"""What a person sees in the terminal when a command has run."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from snn_delays.terminal import printable


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
