"""What additions, concatenations, slices and the like do to signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from torch import Tensor, fx

from snn_delays.deploy.fold import float64
from snn_delays.deploy.parts import ADVICE
from snn_delays.deploy.signals import Float64, Signal
from snn_delays.errors import UsageError

_SUMS = {"sum": "sum", "mean": "mean", "amax": "max"}


@dataclass(frozen=True)
class OverTime:
    """A signal that the network adds up, averages or takes the largest of over time, times a
    number above 0."""

    signal: Signal
    kind: str
    scale: float = 1.0

    def values(self, given: Mapping[str, Float64]) -> Float64:
        """``[N, size]`` of its sources' spikes ``[T, N, pre]``."""
        return self.scale * getattr(np, self.kind)(self.signal.values(given), axis=0)


def operation(node: fx.Node, arguments: Any, keywords: dict[str, Any]) -> Any:
    """A function or method on signals."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    name = {"iadd": "add", "imul": "mul", "isub": "sub"}.get(str(name).strip("_"), name)
    values = [*arguments, *keywords.values()]
    first = arguments[0] if arguments else None
    if name in ("add", "sub") and len(arguments) == 2 and not keywords:
        return _added(*arguments, sign=1 if name == "add" else -1)
    if name in ("mul", "truediv", "div") and len(arguments) == 2 and not keywords:
        return _multiplied(name, *arguments)
    if name == "neg" and isinstance(first, Signal):
        return first.scaled(-1.0)
    if name in ("cat", "concat", "concatenate"):
        return _concatenated(*_bound(arguments, keywords, "tensors", "dim"))
    if name == "getitem" and isinstance(first, Signal):
        return _sliced(first, arguments[1])
    if name == "flatten" and isinstance(first, Signal):
        return _flattened(first, *_bound(arguments, keywords, "input", "start_dim", "end_dim")[1:])
    if name == "unsqueeze" and isinstance(first, Signal):
        return _unsqueezed(first, *_bound(arguments, keywords, "input", "dim")[1:])
    if name in ("contiguous", "clone", "float", "detach") and isinstance(first, Signal):
        return first
    if name in ("chunk", "split") and isinstance(first, Signal):
        sizes = {"chunk": "chunks", "split": "split_size_or_sections"}[name]
        return _parts(name, *_bound(arguments, keywords, "input", sizes, "dim"))
    if name == "getitem" and isinstance(first, list | tuple):
        return first[arguments[1]]
    if name in _SUMS and isinstance(first, Signal):
        over = [value for value in values[1:] if not isinstance(value, bool)]
        if over not in ([0], [(0,)], [[0]]):
            raise UsageError(f"reduces over {over}; only time, dimension 0, can be.")
        return OverTime(first, _SUMS[name])
    raise UsageError(f"is an operation that a delay table cannot express. {ADVICE}")


def _flattened(x: Signal, start: int = 0, end: int = -1) -> Signal:
    """Channels and positions as one axis; from the end some of them alone."""
    kept = len(x.frame) + start if start < 0 and end == -1 else 0
    kept = max(kept, 0)
    return x.shaped((*x.frame[:kept], prod(x.frame[kept:])))


def _unsqueezed(x: Signal, dim: int) -> Signal:
    at = len(x.frame) + 1 + dim if dim < 0 else dim - 2  # behind time and samples
    if not 0 <= at <= len(x.frame):
        raise UsageError(f"puts a dimension at {dim}; only among channels can one be.")
    return x.shaped((*x.frame[:at], 1, *x.frame[at:]))


def _added(a: Any, b: Any, *, sign: int) -> Signal:
    if isinstance(a, Signal) and isinstance(b, Signal):
        return a.plus(b if sign == 1 else b.scaled(-1.0))
    if isinstance(b, Signal):
        a, b, sign = b.scaled(float(sign)), a, 1
    if isinstance(a, Signal) and isinstance(b, int | float):
        return a.scaled(1.0, float(sign * b))
    if isinstance(a, Signal) and isinstance(b, Tensor) and b.shape in ((), (1,), a.frame):
        return a.scaled(1.0, sign * float64(b).reshape(-1))
    raise UsageError(f"adds {kind_of(a)} and {kind_of(b)}; a constant needs a number per channel.")


def _multiplied(name: str, a: Any, b: Any) -> Any:
    if isinstance(b, Signal | OverTime) and name == "mul":
        a, b = b, a
    if isinstance(b, int | float) and (b or name == "mul"):
        factor = float(b) if name == "mul" else 1 / float(b)
        if isinstance(a, Signal):
            return a.scaled(factor)
        if isinstance(a, OverTime) and factor > 0:  # the same answers
            return replace(a, scale=a.scale * factor)
    raise UsageError(f"multiplies {kind_of(a)} and {kind_of(b)}; signals take numbers only.")


def _bound(arguments: Any, keywords: dict[str, Any], *names: str) -> list[Any]:
    """Arguments in the order of their names."""
    return [*arguments, *(keywords[name] for name in names[len(arguments) :] if name in keywords)]


def _concatenated(parts: Any, *after: Any) -> Signal:
    if not all(isinstance(part, Signal) for part in parts):
        raise UsageError(f"joins {', '.join(map(kind_of, parts))}; only signals can be.")
    _require_channels(after, parts[0])
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.beside(part)
    return whole


def _sliced(x: Signal, index: Any) -> Signal:
    if len(x.frame) > 1:
        raise UsageError(
            f"takes some of maps {list(x.frame)}; only of channels, flattened, can be."
        )
    index = index if isinstance(index, tuple) else (index,)
    *others, chosen = index
    whole = all(one is Ellipsis or one == slice(None) for one in others)
    # [T, N, C] or [N, C]: the last of two or three, or what follows an ellipsis.
    if not whole or not (Ellipsis in others or len(index) >= 2):
        raise UsageError(f"takes {index}; only channels, x[..., a:b], can be chosen.")
    if isinstance(chosen, int):
        raise UsageError(
            f"takes channel {chosen} alone; keep the axis: x[..., {chosen}:{chosen + 1}]."
        )
    if not isinstance(chosen, slice | list | tuple | np.ndarray | Tensor):
        raise UsageError(f"takes {kind_of(chosen)}; only a slice or a list of channels can be.")
    if isinstance(chosen, Tensor):
        chosen = chosen.tolist()
    return x.chosen(np.arange(x.size)[chosen])


def _parts(name: str, x: Signal, size: Any, *after: Any) -> list[Signal]:
    if len(x.frame) > 1:
        raise UsageError(f"parts maps {list(x.frame)}; only channels, flattened, can be.")
    _require_channels(after, x)
    if name == "chunk":
        size = -(-x.size // int(size))
    sizes = [size] * -(-x.size // size) if isinstance(size, int) else list(size)
    ends = np.minimum(np.cumsum([0, *sizes]), x.size)
    return [x.chosen(np.arange(a, b)) for a, b in pairwise(ends)]


def _require_channels(after: Sequence[Any], x: Signal) -> None:
    """Of the arguments behind the signals, the dimension comes first; 0 unless given."""
    dimension, last = int(after[0]) if after else 0, -len(x.frame)
    if dimension not in (last, 2):
        raise UsageError(f"works along dimension {dimension}; only channels, {last}, can be.")


def kind_of(value: Any) -> str:
    """A value in words."""
    if isinstance(value, Signal):
        return "a signal"
    if isinstance(value, OverTime):
        return f"a {value.kind} over time"
    if isinstance(value, Tensor | tuple | list | dict):
        return f"a {type(value).__name__.lower()}"
    return f"{value!r:.40}"
