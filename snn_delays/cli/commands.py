"""Where every command starts: what its process needs before torch loads, then the command."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from snn_delays.loops.passive import wait_passively


def _command(name: str) -> Callable[[], None]:
    """The command ``name``, of which nothing is imported before it is called."""

    def start() -> None:
        wait_passively()
        getattr(import_module(f"snn_delays.cli.{name}"), name)()

    return start


train = _command("train")
evaluate = _command("evaluate")
compare = _command("compare")
export = _command("export")
prepare = _command("prepare")
encode = _command("encode")
simulate = _command("simulate")
report = _command("report")
