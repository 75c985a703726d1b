"""The one place that knows whether numba is there, and gives its loops torch's threads."""

from __future__ import annotations

import importlib
import logging
import os
from typing import Any

import torch

try:
    from snn_delays import loop
except ImportError:
    loop = None
    logging.getLogger("snn_delays").warning(
        "numba is not installed: delays and neurons run on the CPU, but several times slower. "
        "Install it with: pip install numba"
    )


def loops(module: str) -> Any:
    """The compiled loops ``snn_delays.ops.<module>``; ``None`` where numba is missing."""
    return None if loop is None else importlib.import_module(f"snn_delays.ops.{module}")


def use_torch_threads() -> None:
    """Give numba torch's thread count, as far as there are cores."""
    if loop is not None:
        threads = torch.get_num_threads()
        loop.use_threads(threads)
        # The first call starts numba's OpenMP, and gives the one that torch shares all cores.
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def _after_fork() -> None:
    """Torch's threads do not come along: what waits for them would wait for ever."""
    if loop is not None and loop.forked():
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
