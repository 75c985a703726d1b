"""``@loop``: a function that numba compiles; with ``parallel`` one that several threads run."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

from numba import njit
from numba.core.types import unliteral

from snn_delays.loops import team
from snn_delays.loops.kept import kept
from snn_delays.loops.shares import shared


def loop(function: Callable[..., Any] | None = None, *, parallel: bool = False) -> Any:
    """A compiled loop; with ``parallel`` threads share its ``prange`` (``shares.shared`` says what
    form it must have), and only Python may call it."""
    if function is None:
        return functools.partial(loop, parallel=parallel)
    return _Parallel(function) if parallel else kept(function)


def called(function: Callable[..., Any], *, inline: bool = False) -> Any:
    """A function that loops call, compiled into them and kept with them.

    It is compiled once for arguments of the same types; numba alone would compile it for every
    number that is given to it as a constant.
    """
    settings: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    dispatcher: Any = njit(forceinline=inline, **settings)(function)
    template = dispatcher.get_call_template

    def by_type(given: Sequence[Any], named: dict[str, Any]) -> Any:
        types = [unliteral(one) for one in given]
        return template(types, {name: unliteral(one) for name, one in named.items()})

    dispatcher.get_call_template = by_type
    return dispatcher


def pasted(function: Callable[..., Any]) -> Any:
    """A function that is copied into the loops which call it, and compiled as a part of them.

    Loops inside it are then vectorised like theirs; behind a call they were not.
    """
    return njit(inline="always")(function)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_threads = cores()


def use_threads(threads: int) -> None:
    """How many threads parallel loops take from now on, as far as there are cores."""
    global _threads
    _threads = min(threads, cores())


class _Parallel:
    """A loop on several threads."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, *arguments: Any) -> None:
        team.run(self._compiled, arguments, _threads)

    @functools.cached_property
    def _compiled(self) -> Any:
        return kept(shared(self._function))
