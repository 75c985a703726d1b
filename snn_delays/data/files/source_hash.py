"""Which file this is, by its content; and remembering that, as hashing gigabytes takes seconds.

A hash is remembered together with the file's size, inode, and times of its last change. Content of
the same size under a modification time that was set back is noticed, since no program can set back
the time of the change itself (ctime). Where there is no such time, and for a file so new that
another change might fall into the same tick of the clock, content is hashed each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

# The coarsest clock of a file system in use: two seconds, of FAT.
_TICK_NS = 2_000_000_000

Stamp = dict[str, int]


def stamp(path: Path) -> Stamp:
    """What changes whenever the file's content does.

    Raises:
        OSError: it cannot be told.
    """
    found = path.stat()
    return {
        "size": found.st_size,
        "inode": found.st_ino,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
    }


def note_name(path: Path) -> str:
    """Name of the note that remembers the hash of ``path``, another one for every path."""
    place = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()
    return f"{path.stem}-{place[:16]}.sha256.json"


def note(at: Stamp, content: str) -> bytes | None:
    """What to remember of a file that was hashed with this stamp; None if nothing is safe."""
    # Windows keeps the time of creation in place of that of the last change.
    if os.name == "nt" or time.time_ns() - max(at["mtime_ns"], at["ctime_ns"]) < _TICK_NS:
        return None
    return json.dumps({"stamp": at, "sha256": content}).encode()


def remembered(notes: Iterable[Path], at: Stamp) -> str | None:
    """The hash that one of the notes has for a file with this stamp; None if there is none."""
    for path in notes:
        try:
            noted = json.loads(path.read_bytes())
            if noted["stamp"] == at and len(noted["sha256"]) == 64:
                return str(noted["sha256"])
        except (OSError, ValueError, TypeError, KeyError):
            continue  # A note that is missing or damaged costs a second, no more.
    return None


def sha256(path: Path) -> str:
    """Hash of the whole content.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
