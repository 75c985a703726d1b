"""Where every command starts: what its process needs before torch loads, then the command."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module


def _command(name: str) -> Callable[[], None]:
    """The command ``name``, of which nothing is imported before it is called."""

    def start() -> None:
        wait_passively()
        getattr(import_module(f"snn_delays.cli.{name}"), name)()

    return start


def wait_passively() -> None:
    """Let OpenMP's threads sleep while they wait, for this process and all that it starts.

    Compiled loops and torch meet at barriers many times a step. Threads that spin there take the
    core from the very one they wait for as soon as another program wants one too. OpenMP reads the
    setting when it is loaded, with torch, and lets GOMP_SPINCOUNT and KMP_BLOCKTIME decide over it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


train = _command("train")
evaluate = _command("evaluate")
compare = _command("compare")
export = _command("export")
prepare = _command("prepare")
encode = _command("encode")
simulate = _command("simulate")
report = _command("report")
