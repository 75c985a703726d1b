"""Signals that stop a training, which saves where it stands, so that it can be resumed."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from snn_delays.callbacks.callback import Callback, Training
from snn_delays.errors import UsageError

_log = logging.getLogger("snn_delays")
# EX_TEMPFAIL of sysexits.h: nothing is wrong, try again later.
EXIT_CODE = 75
# May be sent any number of times; a process that passes a signal on to another sends this one.
ASKING = getattr(signal, "SIGUSR1", signal.SIGTERM)  # which Windows lacks
STOPPING = (signal.SIGTERM, signal.SIGINT)


class Stopped(SystemExit):
    """A signal has stopped a training, which can go on; the process ends with exit code 75."""

    def __init__(self, by: str) -> None:
        super().__init__(EXIT_CODE)
        self.by = by

    def __reduce__(self) -> tuple[type[Stopped], tuple[str]]:  # from a launcher's process
        return Stopped, (self.by,)


@contextmanager
def listening(take: Callable[[int, Any], object], signals: Iterable[int]) -> Iterator[None]:
    """Within it ``take`` handles these signals; afterwards the earlier handlers do again."""
    before = {one: signal.signal(one, take) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, signal.SIG_DFL if handler is None else handler)


def stop_if_asked(training: Training) -> None:
    """Let callbacks save, and stop.

    Raises:
        Stopped: something has asked for it.
    """
    if training.stopping:
        for callback in training.callbacks:
            callback.on_stop(training)
        saved = f" Saved: {training.saved}." if training.saved else ""
        _log.info("Stopped by %s.%s", training.stopping, saved)
        raise Stopped(training.stopping)


@contextmanager
def stopped_with_others(training: Training) -> Iterator[None]:
    """When several processes are asked to stop, one stops first; the others, which then lose their
    connection to it, stop as well.

    Raises:
        Stopped: in place of what the broken connection raises.
    """
    try:
        yield
    except RuntimeError as error:
        if training.processes == 1 or not training.stopping:
            raise
        raise Stopped(training.stopping) from error


class StopOnSignals(Callback):
    """SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 stop the training once the batch is done.

    ``Checkpoints`` then saves within the epoch, and ``fit`` raises ``Stopped``. A second SIGTERM
    or SIGINT ends the process at once. As a context manager it also works around ``fit``, where it
    raises ``Stopped`` right away, since there is nothing to save.

    Raises:
        UsageError: outside the main thread, the only one that Python gives signals.
    """

    everywhere = True

    def __init__(self) -> None:
        self._training: Training | None = None
        self._stack = ExitStack()
        self._around = False

    def __enter__(self) -> StopOnSignals:
        self._listen()
        self._around = True
        return self

    def __exit__(self, *exception: object) -> None:
        self._around = False
        self._stack.close()

    def on_start(self, training: Training) -> None:
        self._training = training
        if not self._around:
            self._listen()

    def on_end(self, training: Training) -> None:
        self._training = None
        if not self._around:
            self._stack.close()

    def _listen(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise UsageError(
                "StopOnSignals: signals reach the main thread only, got another thread. Train in "
                "the main thread, or without it."
            )
        self._process = os.getpid()
        self._stack.enter_context(listening(self._take, {*STOPPING, ASKING}))

    def _take(self, number: int, frame: object) -> None:
        if os.getpid() != self._process:  # a child of this process, which is no training
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        name = signal.Signals(number).name
        if self._training is None:
            raise Stopped(name)
        self._training.stopping = name
        if number in STOPPING:
            for one in STOPPING:
                signal.signal(one, signal.SIG_DFL)
