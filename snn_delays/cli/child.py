"""``snn-delays-train`` in a process of its own, which another command starts and waits for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

PROGRAM = "from snn_delays.cli.commands import train; train()"
ERROR = "snn-delays-train: error: "  # how the line begins in which a training says why it failed


def start_training(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None, **how: Any
) -> subprocess.Popen[str]:
    """Start it; its standard error is to be read.

    Args:
        arguments: what would be typed.
        environment: what differs from this process's.
        how: further arguments of ``Popen``.
    """
    own = {key: of for key, of in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**own, **(environment or {})},
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        **how,
    )


def killed_by(code: int) -> str:
    """What the exit code of a process that a signal has ended means."""
    return f"ended by {signal.Signals(-code).name}: was there memory enough?"
