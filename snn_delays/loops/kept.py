"""Compiled functions that are kept on disk where possible.

Everything works without a disk to keep them on: in containers and on clusters the installation and
the home are often read-only, or full.
"""

from __future__ import annotations

import functools
import gc
import logging
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache, NullCache

_log = logging.getLogger(__name__)

# What reading or writing a damaged, full or forbidden cache raises.
_UNUSABLE = (OSError, EOFError, pickle.UnpicklingError)
# What the loops of one training take, most of it before its first step ends.
_SECONDS = 15
# Files of which code is compiled.
_COMPILED = (
    *("*/*_cpu.py", "*/*/*_cpu.py", "loops/shares.py"),
    *("ops/vectors.py", "ops/registers.py", "table/models/*.py"),
)


def kept(function: Callable[..., Any]) -> Any:
    """Compiled for the types that it is called with; other threads run meanwhile."""
    settings: Any = {"nogil": True, "no_cfunc_wrapper": True}  # unknown to numba's stubs
    dispatcher: Any = njit(**settings)(function)
    dispatcher.compile = _uncollected(dispatcher.compile)
    try:
        dispatcher._cache = _Disk(function)
    except RuntimeError:  # "no locator available": no folder takes a file
        dispatcher._cache = _Nowhere()
    return dispatcher


def _uncollected(compiling: Callable[..., Any]) -> Callable[..., Any]:
    """Without looks for garbage meanwhile, which take an eighth of the time and find little."""

    @functools.wraps(compiling)
    def compiled(*arguments: Any) -> Any:
        collects = gc.isenabled()
        gc.disable()
        try:
            return compiling(*arguments)
        finally:
            if collects:
                gc.enable()

    return compiled


class _Nowhere(NullCache):
    """No cache, and a line that says so when it is missed."""

    def load_overload(self, sig: Any, target_context: Any) -> None:
        _say_unkept("no folder for them can be written")


class _Disk(FunctionCache):
    """Numba's cache on disk, without which the loops run as well.

    Numba checks only whether a loop's own file has changed. Since what a loop calls is compiled
    into it, a change in any file of loops compiles all of them anew.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file._source_stamp = (self._cache_file._source_stamp, _sources())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            found = super().load_overload(sig, target_context)
        except _UNUSABLE:
            self._remove()
            found = None
        if found is None:
            _say_compiling()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except _UNUSABLE as error:
            self._remove()
            _say_unkept(str(error))

    def _remove(self) -> None:
        """Forget the index: it is written first, and the code that it names may be older."""
        with suppress(OSError):
            os.unlink(self._cache_file._index_path)


@functools.cache
def _sources() -> tuple[tuple[str, int, int], ...]:
    """Name, time and size of all files of which code is compiled."""
    package = Path(__file__).parents[1]
    files = sorted(file for pattern in _COMPILED for file in package.glob(pattern))
    return tuple((file.name, (on := file.stat()).st_mtime_ns, on.st_size) for file in files)


@functools.cache
def _say_compiling() -> None:
    """Before the first one, once in a process; others are compiled when they are called."""
    _log.warning(
        "Compiling loops for this processor, once: about %d s in all. They are kept on disk.",
        _SECONDS,
    )


_unkept: set[str] = set()


def _say_unkept(reason: str) -> None:
    """Once in a process."""
    if not _unkept:
        _unkept.add(reason)
        _log.warning(
            "Compiled loops cannot be kept on disk (%s): every process compiles its own, which "
            "takes up to a minute. Set NUMBA_CACHE_DIR to a folder with room that can be written.",
            reason,
        )
