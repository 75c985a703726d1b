"""Threads of OpenMP that sleep while they wait for each other.

Torch's threads meet at barriers many times a step. Threads that spin there take the core from the
very one they wait for as soon as another program wants one too. OpenMP reads how to wait when it is
loaded, with torch, and lets GOMP_SPINCOUNT and KMP_BLOCKTIME decide over it.
"""

from __future__ import annotations

import importlib
import os
import sys

_POLICY = "OMP_WAIT_POLICY"
_SETTINGS = (_POLICY, "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def wait_passively() -> None:
    """For this process and all that it starts, unless the user has set how to wait."""
    os.environ.setdefault(_POLICY, "passive")


def load_torch() -> None:
    """Load torch so that its threads wait passively, and leave the environment as it was.

    Nothing, if it is loaded or the user has set how to wait.
    """
    if "torch" in sys.modules or any(name in os.environ for name in _SETTINGS):
        return
    os.environ[_POLICY] = "passive"
    try:
        importlib.import_module("torch")
    finally:
        del os.environ[_POLICY]
