"""The one place that knows whether numba is there, and how many threads its loops may use."""

from __future__ import annotations

import importlib
import logging
import time
from typing import Any

import torch

_log = logging.getLogger("snn_delays")

try:
    import numba
    from numba.core import event
except ImportError:
    numba = None
    _log.warning(
        "numba is not installed: delays and neurons run on the CPU, but several times slower. "
        "Install it with: pip install numba"
    )
else:

    class _Compilation(event.Listener):
        """Says what the first run of all waits for; loops that are on disk already are silent."""

        def __init__(self) -> None:
            self._began: list[float] = []

        def on_start(self, event: Any) -> None:
            self._began.append(time.perf_counter())

        def on_end(self, event: Any) -> None:
            seconds = time.perf_counter() - self._began.pop()
            function = event.data["dispatcher"].py_func
            if not self._began and function.__module__.startswith("snn_delays."):
                _log.info(
                    "Compiled %s for this processor in %.1f s, once: it is kept on disk.",
                    function.__name__,
                    seconds,
                )

    event.register("numba:compile", _Compilation())


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
