"""One process at a time trains in a run's folder; any number may read it meanwhile.

The system releases the lock of a process that has died, for whatever reason. A file beside it says
who holds it, for whoever is refused.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from snn_delays.errors import UsageError, refusal
from snn_delays.files.atomic import write_atomically

_log = logging.getLogger("snn_delays")


@contextmanager
def training_in(folder: Path) -> Iterator[None]:
    """Lock an existing folder, and write down who holds it.

    Raises:
        UsageError: another process holds it, or its file system refuses.
    """
    holder = folder / ".training.json"
    lock = FileLock(folder / ".training.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(
            f"{folder} is being trained by {_told(holder)}. Wait until that has ended, stop it "
            "there, or choose another run=DIR."
        ) from error
    except OSError as error:
        raise UsageError(
            f"cannot lock {folder}: {refusal(error)}. Choose a folder that can be written to."
        ) from error
    try:
        if holder.exists():
            _log.warning("%s: taken over from %s, which did not end it.", folder, _told(holder))
        mine = {"pid": os.getpid(), "host": socket.gethostname()}
        write_atomically(holder, json.dumps(mine).encode())
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _told(holder: Path) -> str:
    """Who holds the lock, as far as that can be read."""
    try:
        found = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {found['pid']} on {found['host']}"
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"
