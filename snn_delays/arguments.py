"""What a caller hands over: choices, and numbers of Python, numpy or torch, made Python's own."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

from snn_delays.errors import UsageError


def plain(value: Any) -> Any:
    """The Python number of a numpy scalar, a 0-d array or a 0-d tensor; all else as it is."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        try:
            return value.item()
        except (RuntimeError, ValueError):  # a tensor without a value: meta, fake, traced
            return value
    return value


def choice(name: str, value: Any, known: Sequence[Any]) -> Any:
    """``value``, which must be one of ``known``; 1 is not True.

    Raises:
        UsageError: anything else.
    """
    if any(isinstance(value, bool) == isinstance(one, bool) and value == one for one in known):
        return value
    words = ("null" if one is None else str(one).lower() for one in known)
    raise _refused(name, f"be one of {', '.join(words)}", value, "")


def whole_number(
    name: str,
    value: Any,
    least: int,
    most: int | None = None,
    *,
    unit: str = "",
    must: str = "",
    advice: str = "",
) -> int:
    """``value`` as an int of at least ``least`` and at most ``most``; True and 3.0 are none.

    Args:
        name: owner and argument, as in ``"DelayLayer: max_delay"``.
        unit: what it counts, as in ``"steps"``.
        must: how to say what is expected, where "be a whole number >= 0" will not do.
        advice: the next move, a sentence of its own.

    Raises:
        UsageError: anything else.
    """
    number = plain(value)
    whole = isinstance(number, int) and not isinstance(number, bool)
    if whole and number >= least and (most is None or number <= most):
        return number
    of_unit = f" of {unit}" if unit else ""
    span = f">= {least}" if most is None else f"from {least} to {most}"
    raise _refused(name, must or f"be a whole number{of_unit} {span}", value, advice)


def per_axis(name: str, given: Any, axes: int, least: int) -> tuple[int, ...]:
    """A whole number for each axis, of one for all or a list of them.

    Raises:
        UsageError: another number of them, or what is no whole number of at least ``least``.
    """
    if not isinstance(given, tuple | list):
        return (whole_number(name, given, least),) * axes
    if len(given) != axes:
        raise UsageError(
            f"{name} must be a whole number or one for each of {axes} axes, got {shown(given)}."
        )
    return tuple(whole_number(name, one, least) for one in given)


def real_number(
    name: str,
    value: Any,
    least: float = -math.inf,
    most: float = math.inf,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    unit: str = "",
    must: str = "",
    advice: str = "",
) -> float:
    """``value`` as a finite float within its bounds; True is none.

    Args:
        least, most: bounds that it may reach.
        above, below: bounds that it may not; all else as in :func:`whole_number`.

    Raises:
        UsageError: anything else.
    """
    number = plain(value)
    real = isinstance(number, int | float) and not isinstance(number, bool)
    finite = real and abs(number) <= sys.float_info.max  # an int may be larger
    if finite and least <= number <= most and above < number < below:
        return float(number)
    bounds = ((">=", least), (">", above), ("<=", most), ("<", below))
    span = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if math.isfinite(bound))
    of_unit = f" of {unit}" if unit else ""
    raise _refused(name, must or f"be a number{of_unit} {span}".rstrip(), value, advice)


def require(fits: Any, name: str, must: str, value: Any) -> None:
    """Refuse a value that does not fit: ``name`` must ``must``, got this value or such an array."""
    if not fits:
        raise UsageError(f"{name} must {must}, got {described(value)}.")


def tuple_of(name: str, values: Any, kind: type, least: int = 0) -> None:
    """Refuse what is no tuple of at least so many values of a kind."""
    typed = isinstance(values, tuple) and all(isinstance(one, kind) for one in values)
    require(typed and len(values) >= least, name, f"be a tuple of {kind.__name__}", values)


Rule = Callable[[str, Any], Any]


def whole(least: int, most: int | None = None, **said: str) -> Rule:
    """A rule for :func:`settle`: as :func:`whole_number`."""
    return lambda name, value: whole_number(name, value, least, most, **said)


def real(least: float = -math.inf, most: float = math.inf, **said: Any) -> Rule:
    """A rule for :func:`settle`: as :func:`real_number`."""
    return lambda name, value: real_number(name, value, least, most, **said)


def settle(settings: Any, owner: str = "", **rules: Rule) -> None:
    """Check fields of a frozen dataclass, each by its rule, and keep the numbers as Python's own.

    Raises:
        UsageError: of the first that does not fit; ``owner`` stands before its name.
    """
    for name, rule in rules.items():
        object.__setattr__(settings, name, rule(f"{owner}{name}", getattr(settings, name)))


def shown(value: Any) -> str:
    """A value as an error message shows it: one line, not too long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}…"


def described(array: Any) -> str:
    """Type, layout, shape and device of an array or tensor, as an error message shows it."""
    if not hasattr(array, "dtype") or not hasattr(array, "shape"):
        return shown(array)
    device = getattr(array, "device", "cpu")  # numpy's arrays have one as well, from 2.0 on
    where = "" if str(device) == "cpu" else f" on {device}"
    sparse = "sparse " if "sparse" in str(getattr(array, "layout", "")) else ""
    kind = str(array.dtype).removeprefix("torch.")
    return f"{sparse}{kind} of shape {list(array.shape)}{where}"


def _refused(name: str, must: str, value: Any, advice: str) -> UsageError:
    return UsageError(f"{name} must {must}, got {shown(value)}." + (f" {advice}" if advice else ""))
