"""Threads that help with loops: they sleep until there is something to take, and nobody waits for
one that has taken nothing.

They are Python's, and hold its lock for a few microseconds a loop. No OpenMP: its threads wait for
each other at the end of every loop, one core of which another program may have, and a fork kills
them. Beside a busy program this is what a loop takes instead: what the cores that are left take.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from snn_delays.loops import shares

# Shares for each thread: many small ones end together, few large ones cost less to take.
SHARES = 16
# Numbers in the largest array of a loop below which help comes too late.
SMALL = 4096
# How often to look, some 100 µs in all, before falling asleep.
LOOKS = 10_000

Function = Callable[..., Any]


class _Run:
    """One run of a loop: what it is given, and how far it is."""

    def __init__(self, function: Function, arguments: tuple[Any, ...], threads: int) -> None:
        self.function = function
        self.arguments: tuple[Any, ...] | None = arguments
        self.counts = shares.counts(SHARES * threads)
        self.changed: threading.Event | None = None
        self.error: BaseException | None = None

    def help(self) -> None:
        """Take shares in a helper's thread."""
        if (arguments := self.arguments) is None:
            return
        try:
            self.function(self.counts, *arguments)
        except BaseException as error:  # raised where the loop was called
            self.error = error
        if self.changed is not None:
            self.changed.set()

    def finish(self) -> None:
        """Take shares in the caller's thread, then wait for what others have taken."""
        try:
            self.function(self.counts, *(self.arguments or ()))
            if not shares.wait(self.counts, LOOKS):
                self._sleep()
        finally:
            shares.stop(self.counts)
            self.arguments = None  # what comes late finds nothing, and keeps nothing alive

    def _sleep(self) -> None:
        changed = self.changed = threading.Event()
        while not shares.is_done(self.counts) and self.error is None:
            changed.wait()
            changed.clear()
        if self.error is not None:
            raise self.error


class _Helper(threading.Thread):
    """A thread that sleeps until it is called."""

    def __init__(self) -> None:
        super().__init__(name="snn_delays loops", daemon=True)
        self.asleep = threading.Lock()
        self.asleep.acquire()
        self.next: _Run | None = None
        self.start()

    def call(self, run: _Run) -> None:
        """Let it help with this run, when it has time; an earlier one that it has not begun is
        forgotten."""
        self.next = run
        if self.asleep.locked():
            self.asleep.release()

    def run(self) -> None:
        while True:
            self.asleep.acquire()
            run, self.next = self.next, None
            if run is not None:
                run.help()
            del run


_helpers: list[_Helper] = []
_calling = threading.Lock()
_used = _forked = False


def run(function: Function, arguments: tuple[Any, ...], threads: int) -> None:
    """Run a loop that ``shares.shared`` made, by up to ``threads`` threads."""
    global _used
    _used = True
    if threads < 2 or _small(arguments):
        function(shares.counts(1), *arguments)
        return
    one = _Run(function, arguments, threads)
    with _calling:
        while len(_helpers) < threads - 1:
            _helpers.append(_Helper())
        for helper in _helpers[: threads - 1]:
            helper.call(one)
    one.finish()


def forked() -> bool:
    """Whether this process was forked from one in which such loops had run."""
    return _forked


def _small(arguments: tuple[Any, ...]) -> bool:
    return all(one.size < SMALL for one in arguments if isinstance(one, np.ndarray))


def _after_fork() -> None:
    """Threads do not come along; the child starts its own when it needs them."""
    global _calling, _forked
    _forked = _used
    _helpers.clear()
    _calling = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
