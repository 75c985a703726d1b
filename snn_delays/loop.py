"""``@loop``: a function that numba compiles, kept on disk where that is possible.

Everything works without a disk to keep it on: in containers and on clusters the installation and
the home are often read-only, or full. And everything works after a fork: GNU OpenMP, on which
numba's parallel loops run, kills a child whose parent had used it.
"""

from __future__ import annotations

import functools
import logging
import os
import pickle
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FunctionType
from typing import Any

from numba import config, njit, set_num_threads
from numba.core.caching import FunctionCache, NullCache
from numba.np.ufunc import threading_layer

_log = logging.getLogger("snn_delays")

# What reading or writing a damaged, full or forbidden cache raises.
_UNUSABLE = (OSError, EOFError, pickle.UnpicklingError)
# Files of which code is compiled.
_COMPILED = (
    *("*/*_cpu.py", "*/*/*_cpu.py"),
    *("ops/vectors.py", "ops/registers.py", "table/models/*.py"),
)
_forked = False


def loop(function: Callable[..., Any] | None = None, *, parallel: bool = False) -> Any:
    """A compiled loop; with ``parallel`` over ``prange``, which only Python may call."""
    if function is None:
        return functools.partial(loop, parallel=parallel)
    return _Parallel(function) if parallel else _compiled(function)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def called(function: Callable[..., Any], *, inline: bool = False) -> Any:
    """A function that loops call, compiled into them and kept with them."""
    return njit(forceinline=inline)(function)


def pasted(function: Callable[..., Any]) -> Any:
    """A function that is copied into the loops which call it, and compiled as a part of them.

    Loops inside it are then vectorised like theirs; behind a call they were not.
    """
    return njit(inline="always")(function)


def use_threads(threads: int) -> None:
    """How many threads parallel loops take from now on, as far as there are cores."""
    if not _forked:
        # Set when numba is imported, and invisible to type checkers.
        limit: int = config.NUMBA_NUM_THREADS  # pyright: ignore[reportAttributeAccessIssue]
        set_num_threads(min(threads, limit))


def forked() -> bool:
    """Whether this process was forked from one in which parallel loops had run."""
    return _forked


def _after_fork() -> None:
    global _forked
    with suppress(ValueError):  # none have run: threads can start here as anywhere
        threading_layer()
        _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Parallel:
    """A loop on several threads; in a forked process the same loop on one."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._threads = _compiled(function, parallel=True)

    def __call__(self, *arguments: Any) -> Any:
        return (self._alone if _forked else self._threads)(*arguments)

    @functools.cached_property
    def _alone(self) -> Any:
        code = self._function.__code__
        # Numba keeps what it compiles by the name alone, however it was told to compile it.
        alone = FunctionType(code, self._function.__globals__, f"{code.co_name}_alone")
        alone.__qualname__ = alone.__name__
        return _compiled(alone)


def _compiled(function: Callable[..., Any], *, parallel: bool = False) -> Any:
    dispatcher: Any = njit(parallel=parallel)(function)
    try:
        dispatcher._cache = _Disk(function)
    except RuntimeError:  # "no locator available": no folder takes a file
        dispatcher._cache = _Nowhere()
    return dispatcher


class _Nowhere(NullCache):
    """No cache, and a line that says so when it is missed."""

    def save_overload(self, sig: Any, cres: Any) -> None:
        _say_unkept("no folder for them can be written")


class _Disk(FunctionCache):
    """Numba's cache on disk, without which the loops do if they must.

    Numba asks whether a loop's own file has changed. What a loop calls is compiled into it, so that
    a change in any file of loops makes all of them anew.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file._source_stamp = (self._cache_file._source_stamp, _sources())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        self._began = time.perf_counter()
        try:
            return super().load_overload(sig, target_context)
        except _UNUSABLE:
            self._remove()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        seconds = time.perf_counter() - self._began
        try:
            super().save_overload(sig, data)
        except _UNUSABLE as error:
            self._remove()
            _say_unkept(str(error))
            return
        name = self._py_func.__name__
        if not name.startswith("_"):  # those belong to others
            _log.info(
                "Compiled %s for this processor in %.1f s, once: it is kept on disk.", name, seconds
            )

    def _remove(self) -> None:
        """Forget the index: it is written first, and the code that it names may be older."""
        with suppress(OSError):
            os.unlink(self._cache_file._index_path)


@functools.cache
def _sources() -> tuple[tuple[str, int, int], ...]:
    """Name, time and size of all files of which code is compiled."""
    package = Path(__file__).parent
    files = sorted(file for pattern in _COMPILED for file in package.glob(pattern))
    return tuple((file.name, (on := file.stat()).st_mtime_ns, on.st_size) for file in files)


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
