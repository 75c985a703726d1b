"""Trainings one after the other, each in a process of its own: what ends one ends no other.

A run that is finished is left as it is, one that was interrupted goes on.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from snn_delays.callbacks.stopping import ASKING, EXIT_CODE, STOPPING, Stopped, listening
from snn_delays.cli.child import ERROR, killed_by, start_training
from snn_delays.cli.runs import ELSEWHERE, OF_A_CALL
from snn_delays.cli.sweep import forget_failure, keep_failure, keep_typed, typed_in
from snn_delays.errors import UsageError
from snn_delays.run.folder import RunFolder

log = logging.getLogger("snn_delays")


@dataclass(frozen=True)
class PlannedRun:
    """A run to train: its folder, and what else is typed for it."""

    path: Path
    settings: tuple[str, ...]

    @property
    def finished(self) -> bool:
        return RunFolder(self.path).summary.exists()

    @property
    def begun(self) -> bool:
        return RunFolder(self.path).config.exists()

    def require_same(self) -> None:
        """Refuse to take a run with other settings for this one.

        Raises:
            UsageError: the folder holds one.
        """
        if not self.begun:
            return
        there, asked = (_kept(one) for one in (typed_in(self.path), _by_key(self.settings)))
        if there == asked:
            return
        told = [
            f"{key} was {there[key].partition('=')[2] if key in there else 'not typed'}, "
            f"now {asked[key].partition('=')[2] if key in asked else 'not typed'}"
            for key in sorted(there.keys() | asked.keys())
            if there.get(key) != asked.get(key)
        ]
        raise UsageError(
            f"{self.path} holds a run with other settings: {'; '.join(told)}. Choose another "
            "folder=DIR, or type what it was trained with."
        )


def train_all(trainings: Sequence[PlannedRun], *flags: str, trust: bool) -> None:
    """Run what is not finished; a failure is kept in the run's folder, and logged.

    Args:
        flags: for Hydra, such as ``--config-dir=DIR``.
        trust: for interrupted runs, see ``load_config``.

    Raises:
        UsageError: as ``PlannedRun.require_same``, before anything has run.
        Stopped: a signal has stopped a training; the others are not begun.
    """
    for one in trainings:
        one.require_same()
    for number, one in enumerate(trainings, start=1):
        where = f"[{number}/{len(trainings)}] {one.path}"
        if one.finished:
            log.info(f"{where}: finished before")
            continue
        log.info(f"{where}: {'going on' if one.begun else ' '.join(one.settings)}")
        typed = [f"run={one.path}"]
        if one.begun:
            typed += ["resume=true", f"trust={str(trust).lower()}"]
            forget_failure(one.path)
        else:
            typed += one.settings
            keep_typed(one.path, one.settings)  # makes the folder, too
        if failure := _run([*flags, *typed]):
            keep_failure(one.path, failure)
            log.error(f"{where} failed: {failure}")


def _run(arguments: Sequence[str]) -> str | None:
    """Train; one line if that fails. What the training prints appears as it is printed.

    Raises:
        Stopped: a signal has stopped it.
    """
    last = ""
    with _passing_on() as (running, signals), start_training(arguments) as process:
        running.append(process)
        if signals:  # before there was a training to pass it on to
            process.send_signal(ASKING)
        assert process.stderr is not None
        try:
            for line in process.stderr:
                sys.stderr.write(line)
                last = line.strip() or last
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
    if signals or code == EXIT_CODE:
        log.info("Stopped. The same command goes on from here.")
        raise Stopped(signals[0] if signals else "the end of a training")
    if code == 0:
        return None
    error = last.removeprefix(ERROR)
    if code < 0:
        return f"{killed_by(code)} {error}".rstrip()
    return error or f"ended with exit code {code}"


@contextmanager
def _passing_on() -> Iterator[tuple[list[subprocess.Popen[str]], list[str]]]:
    """A signal stops the training, which saves first, and is waited for; a second one kills it.

    The training may have been sent the signal, too, as a terminal's Ctrl-C and SLURM do: what is
    passed on is one that it does not take for a second.
    """
    running: list[subprocess.Popen[str]] = []
    signals: list[str] = []

    def take(number: int, _: object) -> None:
        for process in running:
            process.send_signal(signal.SIGKILL if signals else ASKING)
        signals.append(signal.Signals(number).name)

    with listening(take, STOPPING):
        yield running, signals


def _by_key(settings: Sequence[str]) -> dict[str, str]:
    return {one.partition("=")[0]: one for one in settings}


def _kept(typed: dict[str, str]) -> dict[str, str]:
    """Those settings that make a run what it is."""
    return {key: of for key, of in typed.items() if not elsewhere(key)}


def elsewhere(key: str) -> bool:
    """Whether a setting says where a run happens, not what it is."""
    section, _, name = key.lstrip("+").rpartition(".")
    return name in (ELSEWHERE.get(section, ()) if section else OF_A_CALL)
