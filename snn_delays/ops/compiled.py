"""The one place that knows whether numba is there, and how many threads its loops may use."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import torch

try:
    import numba
except ImportError:
    numba = None
    logging.getLogger("snn_delays").warning(
        "numba is not installed: delays and neurons run on the CPU, but several times slower. "
        "Install it with: pip install numba"
    )


def loops(module: str) -> Any:
    """The compiled loops ``snn_delays.ops.<module>``; ``None`` where numba is missing."""
    return None if numba is None else importlib.import_module(f"snn_delays.ops.{module}")


def use_torch_threads() -> None:
    """Give numba torch's thread count, as far as there are cores."""
    if numba is not None:
        # NUMBA_NUM_THREADS is set at import, and invisible to type checkers.
        limit: int = numba.config.NUMBA_NUM_THREADS  # pyright: ignore
        threads = torch.get_num_threads()
        numba.set_num_threads(min(threads, limit))
        # The first call starts numba's OpenMP, and gives the one that torch shares all cores.
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
