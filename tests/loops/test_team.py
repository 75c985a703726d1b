"""Loops that threads share: every iteration once, whoever comes, late or never."""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numba import prange
from numpy.typing import NDArray

from snn_delays.loops import team
from snn_delays.loops.kept import kept
from snn_delays.loops.loop import _Parallel
from snn_delays.loops.shares import counts, shared, stop

PACKAGE = Path(__file__).resolve().parents[2] / "snn_delays"


def visit(times: NDArray, skipped: int, forbidden: int) -> None:
    """times[i] += 1 but at i = skipped; an error at i = forbidden."""
    size = len(times)
    for i in prange(size):
        if i == skipped:
            continue
        if i == forbidden:
            raise ValueError("forbidden")
        times[i] += 1


VISIT = kept(shared(visit))


@pytest.fixture
def _always_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "SMALL", 0)


def visited(count: int, threads: int, forbidden: int = -1) -> NDArray:
    times = np.zeros(count, np.int64)
    team.run(VISIT, (times, 3, forbidden), threads)
    return times


def once(count: int) -> NDArray:
    return np.where(np.arange(count) == 3, 0, 1)


@pytest.mark.usefixtures("_always_shared")
@pytest.mark.parametrize("count", [0, 1, 5, 63, 10_007])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_iteration_is_done_once(count: int, threads: int) -> None:
    for _ in range(20):
        np.testing.assert_array_equal(visited(count, threads), once(count))


@pytest.mark.usefixtures("_always_shared")
def test_nobody_waits_for_a_helper_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[team._Run] = []
    monkeypatch.setattr(team._Helper, "call", lambda _, run: called.append(run))
    np.testing.assert_array_equal(visited(1000, 2), once(1000))
    (late,) = called
    assert late.arguments is None  # and it would keep nothing alive
    late.help()


@pytest.mark.usefixtures("_always_shared")
def test_a_share_that_another_has_taken_is_waited_for() -> None:
    entered, go = threading.Event(), threading.Event()

    def slow(shares: NDArray, times: NDArray) -> None:
        """As a compiled loop of one iteration, which a helper takes first."""
        if threading.current_thread() is threading.main_thread():
            shares[3] = 1  # how many there are
            assert entered.wait(10)
            threading.Timer(0.2, go.set).start()
        else:
            entered.set()
            assert go.wait(10)
            times[0] = 1
            shares[2] = 1  # how many are done

    times = np.zeros(1)
    began = time.perf_counter()
    team.run(slow, (times,), 2)
    assert times[0] == 1
    assert time.perf_counter() - began >= 0.2


@pytest.mark.usefixtures("_always_shared")
def test_an_error_reaches_the_caller_whoever_meets_it() -> None:
    for _ in range(20):
        with pytest.raises(ValueError, match="forbidden"):
            visited(64, 2, forbidden=40)
    np.testing.assert_array_equal(visited(64, 2), once(64))


@pytest.mark.usefixtures("_always_shared")
def test_an_error_of_a_helper_alone_reaches_the_caller() -> None:
    entered = threading.Event()

    def fails(shares: NDArray, times: NDArray) -> None:
        if threading.current_thread() is threading.main_thread():
            shares[3] = 1
            assert entered.wait(10)
        else:
            entered.set()
            raise MemoryError("of the helper")

    with pytest.raises(MemoryError, match="of the helper"):
        team.run(fails, (np.zeros(1),), 2)


@pytest.mark.usefixtures("_always_shared")
def test_loops_of_several_threads_run_at_once() -> None:
    with ThreadPoolExecutor(4) as callers:
        found = list(callers.map(lambda _: visited(999, 3), range(80)))
    assert all(np.array_equal(one, once(999)) for one in found)


def test_what_is_stopped_is_taken_by_nobody() -> None:
    times, shares = np.zeros(10, np.int64), counts(2)
    stop(shares)
    VISIT(shares, times, -1, -1)
    assert not times.any()


def two_loops(x: NDArray) -> None:
    for i in prange(len(x)):
        x[i] = 0
    for i in prange(len(x)):
        x[i] = 1


def an_answer(x: NDArray) -> NDArray:
    for i in prange(len(x)):
        x[i] = 0
    return x


def a_return(x: NDArray) -> None:
    if len(x) == 3:
        return
    for i in prange(len(x)):
        x[i] = 0


def written_before(x: NDArray) -> None:
    x[0] = 1
    for i in prange(len(x)):
        x[i] = 0


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (two_loops, "one prange and no return"),
        (an_answer, "to end with `for"),
        (a_return, "one prange and no return"),
        (written_before, "x written within the loop only"),
    ],
)
def test_what_threads_would_do_twice_is_refused(
    function: Callable[..., object], expected: str
) -> None:
    with pytest.raises(TypeError, match=f"{function.__name__} must have {expected}"):
        shared(function)


def test_all_loops_have_the_form_that_threads_share() -> None:
    found = [
        shared(one._function)
        for path in PACKAGE.rglob("*_cpu.py")
        for one in vars(importlib.import_module(_module(path))).values()
        if isinstance(one, _Parallel)
    ]
    assert len(found) > 20
    assert "numba.np.ufunc.omppool" not in sys.modules  # and nothing starts its threads


def _module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
