"""One training by several processes of this machine, as ``trainer.devices`` asks.

torchrun and SLURM's srun start them as well, on several machines; then nothing is started here.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Queue
from typing import Any

from omegaconf import DictConfig

from snn_delays.arguments import whole_number
from snn_delays.callbacks.stopping import ASKING, STOPPING, listening
from snn_delays.cli.child import ERROR, killed_by, start_training
from snn_delays.cli.sweep import in_sweep
from snn_delays.errors import UsageError
from snn_delays.loops.loop import cores
from snn_delays.run.ranks import started

_LAST_WORDS_S = 20.0  # for the others to end by themselves


def to_start(cfg: DictConfig) -> int:
    """How many processes to start; 1 means none beside this one.

    Raises:
        UsageError: several processes for each of several runs (-m).
    """
    devices = whole_number("trainer.devices", cfg.trainer.get("devices", 1), 1)
    nodes = whole_number("trainer.num_nodes", cfg.trainer.get("num_nodes", 1), 1)
    if devices == 1 or nodes > 1 or started() != 1:
        return 1
    if in_sweep():
        raise UsageError(
            f"of several runs (-m) none starts processes of its own, got trainer.devices={devices}."
            " Run them one by one, or on SLURM with hydra.launcher.tasks_per_node="
            f"{devices}."
        )
    return devices


def run_processes(count: int) -> None:
    """Run this very command ``count`` times, as one training; the first one's lines are shown.

    Raises:
        SystemExit: a process has failed, with its exit code. The reason has been printed, and the
            others were ended.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "NODE_RANK": 0}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common |= {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", max(1, cores() // count))}
    ended: Queue[_One] = Queue()
    every = [_One(common, rank, ended) for rank in range(count)]
    code, timeout_s = 0, 0.0
    try:
        with _passing_on(every) as signals:
            for _ in every:
                one = ended.get()
                if one.code and not signals:
                    one.tell()
                if code := one.code:  # the others, which wait for it in vain, are ended
                    break
            timeout_s = _LAST_WORDS_S if signals else 0.0
    finally:
        for other in every:
            other.end(timeout_s)
    if code:
        sys.exit(code if code > 0 else 128 - code)


@contextmanager
def _passing_on(every: list[_One]) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM reach each process once, which ends as a single one would.

    Yields:
        the signals that have come so far.
    """
    come: list[int] = []

    def pass_on(number: int, _: object) -> None:
        come.append(number)
        for one in every:
            one.process.send_signal(number)

    with listening(pass_on, (*STOPPING, ASKING)):
        yield come


class _One:
    """A process, followed by a thread that notes in which order they end."""

    def __init__(self, common: dict[str, Any], rank: int, ended: Queue[_One]) -> None:
        self.rank, self.code = rank, 0
        self.said: deque[str] = deque(maxlen=30)
        own = {**common, "RANK": rank, "LOCAL_RANK": rank}
        self.process = start_training(
            sys.argv[1:],
            {key: str(of) for key, of in own.items()},
            stdout=None if rank == 0 else subprocess.DEVNULL,
            start_new_session=True,  # a terminal's Ctrl-C comes from the command alone
        )
        self.thread = threading.Thread(target=self._follow, args=(ended,), daemon=True)
        self.thread.start()

    def _follow(self, ended: Queue[_One]) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            # Only later is it known whose error ended them all.
            if self.rank == 0 and not line.startswith(ERROR):
                sys.stderr.write(line)
            else:
                self.said.append(line)
        self.code = self.process.wait()
        ended.put(self)

    def tell(self) -> None:
        """Say why it has failed: in its one line, if it had one, else all that it said last."""
        name = f"process {self.rank} of the training: " if self.rank else ""
        if errors := [line for line in self.said if line.startswith(ERROR)]:
            sys.stderr.write(f"{ERROR}{name}{errors[-1].removeprefix(ERROR)}")
            return
        sys.stderr.writelines(f"{name}{line}" for line in self.said)
        if self.code < 0:
            print(f"{ERROR}{name}{killed_by(self.code)}", file=sys.stderr)

    def end(self, timeout_s: float) -> None:
        """End it, if it does not within so many seconds."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout_s)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_LAST_WORDS_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.thread.join(_LAST_WORDS_S)
