"""The axes of charts: where they begin and end, and what stands at their ticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Axis:
    """An axis from ``low`` to ``high``, in the unit that ``label`` names.

    Args:
        whole: it counts: ticks are whole numbers.
        names: of the places 0, 1, …, in place of numbers.
    """

    label: str
    low: float
    high: float
    whole: bool = False
    names: Sequence[str] | None = None

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """Places of ticks, and what stands there."""
        if self.names is not None:
            every = -(-len(self.names) // max(most, 1))
            return [(at, one) for at, one in enumerate(self.names) if at % every == 0]
        locator = MaxNLocator(most, integer=self.whole, steps=[1, 2, 2.5, 5, 10])
        if self.whole:
            locator = MaxNLocator(most, integer=True, steps=[1, 2, 5, 10])
        found = locator.tick_values(self.low, self.high)
        inside = [float(one) for one in found if self._has(one)]
        return [(one, f"{0 if one == 0 else one:,.10g}") for one in inside]

    def _has(self, place: float) -> bool:
        margin = 1e-9 * (self.high - self.low)
        return self.low - margin <= place <= self.high + margin


def spanning(label: str, values: ArrayLike, *, zero: bool = False, whole: bool = False) -> Axis:
    """An axis over all finite values, which need not differ.

    Args:
        zero: it begins at 0.
    """
    numbers = np.asarray(values, dtype=float).ravel()
    numbers = numbers[np.isfinite(numbers)]
    low, high = (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 1.0)
    low = min(low, 0.0) if zero else low
    room = 0.05 * (high - low) or 0.5 * abs(high) or 0.5
    return Axis(label, low if zero and low == 0 else low - room, high + room, whole)
