"""How the interpolation width σ shrinks during training: pure functions of progress in [0, 1].

Wide kernels let a delay feel gradients from far away; a narrow one at the end makes the trained
network close to the deployed one, whose delays are integers. All values are true σ, in steps.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from snn_delays.errors import UsageError


@dataclass(frozen=True)
class Schedule(ABC):
    """σ from ``start`` to ``end`` while progress goes from 0 to ``until``; constant afterwards.

    Args:
        start, end: σ in steps, >= 0.
        until: share of training after which σ stays at ``end``, in (0, 1].

    Raises:
        UsageError: values out of range.
    """

    start: float
    end: float = 0.5
    until: float = 0.25

    def __post_init__(self) -> None:
        for field in ("start", "end"):
            value = getattr(self, field)
            if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
                raise UsageError(
                    f"{type(self).__name__}: {field} must be a number of steps >= 0, got {value!r}."
                )
        if not (isinstance(self.until, int | float) and 0 < self.until <= 1):
            raise UsageError(
                f"{type(self).__name__}: until must be a share of training in (0, 1], "
                f"got {self.until!r}."
            )

    @abstractmethod
    def shape(self, x: float) -> float:
        """σ at the share ``x`` in [0, 1) of the way from ``start`` to ``end``."""

    def __call__(self, progress: float) -> float:
        """σ (steps) at ``progress`` in [0, 1] of training."""
        if not 0 <= progress <= 1:
            raise UsageError(
                f"{type(self).__name__}: progress must lie in [0, 1], got {progress!r}."
            )
        # The ratio of two equal epochs must be exactly 1, hence no `>` on the rounded product.
        x = progress / self.until
        return float(self.end if x >= 1 else self.shape(x))

    def epochs(self, count: int) -> list[float]:
        """σ of each of ``count`` epochs; ``until`` falls on a whole epoch, as published.

        Of 150 epochs the published schedule anneals over 150 // 4 = 37.
        """
        last = math.floor(self.until * count)
        if last == 0:
            return [self(1.0)] * count
        aligned = replace(self, until=last / count)
        return [aligned(epoch / count) for epoch in range(count)]


@dataclass(frozen=True)
class Exponential(Schedule):
    """σ − offset shrinks by a constant factor per epoch (the published schedule).

        σ(x) = offset + (start − offset) · ((end − offset) / (start − offset))^x

    DCLS stores SIG = σ − 0.27 and multiplies SIG, hence the default offset.

    Reference:
        Hammouamri et al. (2024, arXiv:2306.17670): 12.27 → 0.50 over a quarter of training.
    """

    offset: float = 0.27

    def __post_init__(self) -> None:
        super().__post_init__()
        if not min(self.start, self.end) > self.offset:
            raise UsageError(
                f"Exponential: start and end must be above offset = {self.offset:g}, "
                f"got {self.start:g} and {self.end:g}. Use a smaller offset, or Linear to reach 0."
            )

    def shape(self, x: float) -> float:
        start, end = self.start - self.offset, self.end - self.offset
        return self.offset + start * (end / start) ** x


@dataclass(frozen=True)
class Linear(Schedule):
    """σ(x) = start + (end − start) · x."""

    def shape(self, x: float) -> float:
        return self.start + (self.end - self.start) * x


@dataclass(frozen=True)
class Cosine(Schedule):
    """σ(x) = end + (start − end) · (1 + cos πx) / 2: slow, fast, slow."""

    def shape(self, x: float) -> float:
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * x)) / 2


@dataclass(frozen=True)
class Step(Schedule):
    """Equal ratios in ``steps`` plateaus, the first at ``start``, the last before ``end``.

    σ(x) = start · (end / start)^(⌊steps · x⌋ / steps)
    """

    steps: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.steps, int) or self.steps < 1:
            raise UsageError(f"Step: steps must be a whole number >= 1, got {self.steps!r}.")
        if not min(self.start, self.end) > 0:
            raise UsageError(
                f"Step: start and end must be above 0, got {self.start:g} and {self.end:g}. "
                "Use Linear to reach 0."
            )

    def shape(self, x: float) -> float:
        return self.start * (self.end / self.start) ** (math.floor(self.steps * x) / self.steps)


@dataclass(frozen=True)
class Constant(Schedule):
    """σ = start throughout; ``end`` and ``until`` play no part."""

    def shape(self, x: float) -> float:
        return self.start

    def __call__(self, progress: float) -> float:
        super().__call__(progress)
        return float(self.start)
