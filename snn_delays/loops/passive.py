"""Threads of OpenMP that sleep while they wait for each other.

Torch's threads meet at barriers many times a step. Threads that spin there take the core from the
very one they wait for: as soon as another program wants one too, or loops of ours do.
"""

from __future__ import annotations

import functools
import os
import sys
import threading

_POLICY = "OMP_WAIT_POLICY"
_SETTINGS = (_POLICY, "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def wait_passively() -> None:
    """For this process and all that it starts, unless the user has set how to wait.

    OpenMP reads it when it is loaded, with torch, and lets GOMP_SPINCOUNT and KMP_BLOCKTIME decide
    over it.
    """
    os.environ.setdefault(_POLICY, "passive")


@functools.cache
def let_torch_sleep() -> None:
    """The same for a torch that is loaded already, unless the user has set how to wait.

    GNU OpenMP spins for 3 ms, but for a microsecond only where there are more threads than cores
    ("GOMP_SPINCOUNT" in its manual). So a thread that only sleeps gets threads of its own. Nothing
    on other systems than Linux, where torch brings another OpenMP.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _SETTINGS):
        return
    began = threading.Event()
    threading.Thread(target=_sleep, args=(began,), name="snn_delays spare", daemon=True).start()
    began.wait()


def _sleep(began: threading.Event) -> None:
    import torch  # which this module must not load

    with torch.inference_mode():
        torch.ones(2**18).neg_()  # large enough that torch starts threads for it
    began.set()
    threading.Event().wait()
