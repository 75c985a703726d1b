"""In which step a time falls, in exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

DOUBLE = Fraction(1, 2**52)


def begins_below(time: float, k: int, dt_ms: float, slack: Fraction = DOUBLE) -> bool:
    """Whether k · dt, but for a share ``slack`` of it, is not after ``time`` (s)."""
    return k * Fraction(str(dt_ms)) / 1000 * (1 - slack) <= Fraction(time)


def exact_step(time: float, dt_ms: float) -> int:
    """The step of a time in double precision."""
    step = math.floor(Fraction(time) * 1000 / Fraction(str(dt_ms)))
    return step + begins_below(time, step + 1, dt_ms)
