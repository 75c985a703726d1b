"""In which step a time falls, in exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction


def begins_below(time: float, k: int, dt_ms: float) -> bool:
    """Whether k · dt, but for what k additions of doubles lose, is not after ``time`` (s)."""
    slack = Fraction(k, 2**52)
    return k * Fraction(str(dt_ms)) / 1000 * (1 - slack) <= Fraction(time)


def exact_step(time: float, dt_ms: float) -> int:
    """The step of a time in double precision."""
    step = math.floor(Fraction(time) * 1000 / Fraction(str(dt_ms)))
    return step + begins_below(time, step + 1, dt_ms)
