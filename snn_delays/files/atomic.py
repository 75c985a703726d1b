"""Files that are either there in full or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from snn_delays.errors import UsageError, refusal


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; rename it to ``path`` when the block ends well.

    Missing folders are made; an existing file is replaced. Two processes that write the same
    file never share an unfinished one.

    Raises:
        UsageError: the file system refuses (no permission, disk full, a folder in the way).
    """
    # In the same folder, since a rename is atomic only within one file system.
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {refusal(error)}. Choose a folder that can be written to."
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, all of it or nothing.

    Raises:
        UsageError: as ``replacing``.
    """
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)
