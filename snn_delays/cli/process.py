"""The process that a command runs in, or one job of several that a launcher has started."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO

import torch

from snn_delays.loops.loop import cores
from snn_delays.loops.processor import prepare_cpu
from snn_delays.terminal import print_anywhere


def prepare_process() -> None:
    """Set a process up for training: it prints any letter, keeps its memory and its own cores."""
    print_anywhere()
    prepare_cpu()
    _keep_to_given_cores()
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


def _keep_to_given_cores() -> None:
    """Take as many threads as SLURM gives a task cores, to which it may not bind it, unless
    OMP_NUM_THREADS says otherwise. Compiled loops take as many as torch."""
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if given.isdecimal() and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(int(given), cores()))


@contextmanager
def lines_of(job: str) -> Iterator[None]:
    """Begin all that is printed or logged with the job's name, in whole lines: others print, too.

    No live bar is drawn, since such a stream is no terminal.
    """
    with ExitStack() as undo:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            lines = _Lines(stream, f"[{job}] ")
            setattr(sys, name, lines)
            undo.callback(setattr, sys, name, stream)
            for handler in logging.getLogger().handlers:
                if isinstance(handler, logging.StreamHandler) and handler.stream is stream:
                    handler.setStream(lines)
                    undo.callback(handler.setStream, stream)
            undo.callback(lines.end)
        yield


class _Lines(io.TextIOBase):
    """Text that reaches another stream line by line, each at once and with a prefix."""

    def __init__(self, stream: TextIO, prefix: str) -> None:
        self.stream, self.prefix, self.begun = stream, prefix, ""

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.stream.encoding

    @property
    def errors(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.stream.errors

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.stream.fileno()

    def isatty(self) -> bool:
        return False

    def write(self, text: str, /) -> int:
        *whole, self.begun = (self.begun + text).split("\n")
        if whole:
            self.stream.write("".join(f"{self.prefix}{line}\n" for line in whole))
            self.stream.flush()
        return len(text)

    def end(self) -> None:
        """Write what no line break has ended."""
        if self.begun:
            self.write("\n")
