"""Files that are either there in full or not at all."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from snn_delays.errors import UsageError, refusal


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line what the file system refuses.

    Raises:
        UsageError: it does (no permission, disk full, a folder in the way).
    """
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {refusal(error)}. Choose a folder that can be written to."
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; rename it to ``path`` when the block ends well.

    Missing folders are made; an existing file is replaced. Two processes that write the same
    file never share an unfinished one.

    Raises:
        UsageError: as ``writing``.
    """
    # In the same folder, since a rename is atomic only within one file system.
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def write_csv(path: Path, head: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file, all of it or nothing; what a row lacks is an empty cell.

    Raises:
        UsageError: as ``replacing``.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, head, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    # A path that is not valid text is escaped.
    write_atomically(path, text.getvalue().encode(errors="backslashreplace"))


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, all of it or nothing.

    Raises:
        UsageError: as ``replacing``.
    """
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)
