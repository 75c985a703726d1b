"""A loop's iterations, shared out among threads: each takes the next few whenever it is free.

Numba would divide a ``prange`` beforehand, and wait until all threads have done their parts. Where
another program takes one core, all then wait for the slowest. Here the loop

    for i in prange(count): BODY

of a function becomes, in every thread that runs the function,

    while there are shares left: take one; for i in it: BODY

so that a thread which comes late, or never, costs nothing but its help. What is counted lies in an
array that the threads share, and is added up in one step of the processor.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, njit, types
from numpy.typing import NDArray

from snn_delays.loops.kept import kept

intrinsic: Any = extending.intrinsic  # what it makes takes one argument less: typed loosely

# Places in the array: the next iteration that nobody has taken, into how many shares all are
# divided, how many are done, and how many there are.
NEXT, SHARES, DONE, COUNT = 0, 1, 2, 3
_LOOP = "prange"


def counts(shares: int) -> NDArray:
    """What threads count for one run of a loop, divided into so many shares at most."""
    found = np.zeros(8, np.int64)
    found[SHARES] = shares
    return found


def shared(function: Callable[..., Any]) -> FunctionType:
    """``function`` with the array of ``counts`` before its arguments, and its last statement, a
    ``for`` over ``prange``, done in shares.

    What stands before that loop is done by every thread: it may prepare numbers, views and arrays
    of its own, and write nothing that was given to it.

    Raises:
        TypeError: the function has another form.
    """
    source = textwrap.dedent(inspect.getsource(function))
    definition = ast.parse(source).body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list, definition.returns = [], None
    given = {argument.arg for argument in definition.args.args}
    for argument in definition.args.args:
        argument.annotation = None
    *before, last = definition.body
    if not _over_prange(last):
        raise TypeError(_wrong(function, f"to end with `for … in {_LOOP}(…)`"))
    loops = [part for part in ast.walk(definition) if _name(part) == _LOOP]
    returns = [part for part in ast.walk(definition) if isinstance(part, ast.Return)]
    if len(loops) > 1 or returns:
        raise TypeError(_wrong(function, f"one {_LOOP} and no return"))
    if written := given & {name for part in before for name in _written(part)}:
        raise TypeError(_wrong(function, f"{', '.join(written)} written within the loop only"))
    definition.args.args.insert(0, ast.arg("_shares_counts"))
    assert isinstance(last, ast.For)
    assert isinstance(last.iter, ast.Call)
    count, *_ = last.iter.args
    definition.body[-1:] = _in_shares(count, last)
    module = ast.Module([definition], [])
    ast.copy_location(definition.args.args[0], definition)
    ast.increment_lineno(ast.fix_missing_locations(module), function.__code__.co_firstlineno - 1)
    code = compile(module, function.__code__.co_filename, "exec")
    (own,) = (one for one in code.co_consts if isinstance(one, CodeType))
    # Names of the frame, which no loop has for anything else.
    ours = {"_shares_begin": _begin, "_shares_take": _take, "_shares_finish": _finish}
    around = {**function.__globals__, **ours}
    made = FunctionType(own, around, function.__name__)
    made.__module__, made.__qualname__ = function.__module__, function.__qualname__
    return made


def _in_shares(count: ast.expr, loop: ast.For) -> list[ast.stmt]:
    """The statements that do ``loop`` in shares."""
    frame = ast.parse(
        "_shares_count = 0\n"
        "_shares_size = _shares_begin(_shares_counts, _shares_count)\n"
        "for _shares_turn in range(_shares_count):\n"
        "    _shares_first = _shares_take(_shares_counts, _shares_size)\n"
        "    if _shares_first >= _shares_count:\n"
        "        break\n"
        "    _shares_last = min(_shares_count, _shares_first + _shares_size)\n"
        "    for _ in range(_shares_first, _shares_last):\n"
        "        pass\n"
        "    _shares_finish(_shares_counts, _shares_last - _shares_first)\n"
    )
    assign, _, outer = frame.body
    assert isinstance(assign, ast.Assign)
    assert isinstance(outer, ast.For)
    inner = outer.body[-2]
    assert isinstance(inner, ast.For)
    assign.value = count
    for part in ast.walk(frame):
        if isinstance(part, ast.stmt | ast.expr):
            ast.copy_location(part, loop)
    inner.target, inner.body = loop.target, loop.body
    return frame.body


def _over_prange(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.For)
        and isinstance(statement.iter, ast.Call)
        and _name(statement.iter.func) == _LOOP
        and len(statement.iter.args) == 1
        and not statement.orelse
    )


def _name(part: ast.AST) -> str | None:
    return part.id if isinstance(part, ast.Name) else None


def _written(statement: ast.stmt) -> list[str]:
    """Names of arrays into which a statement writes."""
    places = [
        part.value
        for part in ast.walk(statement)
        if isinstance(part, ast.Subscript) and isinstance(part.ctx, ast.Store)
    ]
    return [name for place in places for part in ast.walk(place) if (name := _name(part))]


def _wrong(function: Callable[..., Any], expected: str) -> str:
    return f"the loop {function.__module__}.{function.__qualname__} must have {expected}"


@njit
def _begin(counts: NDArray, count: int) -> int:
    """How many iterations a share has, of ``count``."""
    counts[COUNT] = count  # each thread writes the same
    return max(1, count // counts[SHARES])


@njit
def _take(counts: NDArray, size: int) -> int:
    """The first of the ``size`` iterations that the thread may do now."""
    return _add(counts, NEXT, size)


@njit
def _finish(counts: NDArray, number: int) -> None:
    _add(counts, DONE, number)


def is_done(counts: NDArray) -> bool:
    """Whether all iterations are done, whoever does them."""
    return bool(counts[DONE] >= counts[COUNT])


def stop(counts: NDArray) -> None:
    """Leave what nobody has taken undone."""
    counts[NEXT] = np.iinfo(np.int64).max // 2


@kept
def wait(counts: NDArray, looks: int) -> bool:
    """``is_done`` within so many looks."""
    for _ in range(looks):
        if _add(counts, DONE, 0) >= counts[COUNT]:
            return True
        _pause()
    return False


@intrinsic
def _add(_typing, array, index, number):
    """array[index], to which ``number`` is added before any other thread sees it."""

    def code(context, builder, _, arguments):
        of, at, what = arguments
        data = context.make_array(array)(context, builder, of).data
        return builder.atomic_rmw("add", builder.gep(data, [at]), what, "seq_cst")

    return types.int64(array, types.intp, types.int64), code


@intrinsic
def _pause(_typing):
    """Nothing, for a moment: what the other thread of a core may use. Compilers keep it."""

    def code(_context, builder, _, arguments):
        builder.fence("seq_cst")
        return ir.Constant(ir.IntType(64), 0)

    return types.int64(), code
