"""A run's train.log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler

from snn_delays.run.folder import RunFolder
from snn_delays.terminal import ERRORS


@contextmanager
def run_log() -> Iterator[Callable[[RunFolder], None]]:
    """Keep all that is logged in a run's train.log, once the run is known to have no mistake."""
    root = logging.getLogger()
    held = MemoryHandler(sys.maxsize, flushLevel=sys.maxsize)
    files: list[logging.Handler] = []

    def keep(run: RunFolder) -> None:
        file = logging.FileHandler(run.path / "train.log", encoding="utf-8", errors=ERRORS)
        file.setFormatter(logging.Formatter("%(message)s"))
        files.append(file)
        held.setTarget(file)
        held.flush()
        held.capacity = 1  # from now on every line at once

    root.addHandler(held)
    try:
        yield keep
    finally:
        root.removeHandler(held)
        for handler in (held, *files):
            handler.close()
