"""How the interpolation width σ shrinks during training: pure functions of progress in [0, 1].

Wide kernels let a delay feel gradients from far away; a narrow one at the end makes the trained
network close to the deployed one, whose delays are integers. All values are true σ, in steps.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from snn_delays.arguments import real, real_number, settle, whole, whole_number
from snn_delays.errors import UsageError
from snn_delays.interpolation import DCLS_OFFSET, Rounding

# Of a schedule, from when on delays act as rounded.
ROUNDING_FROM = ("integer_from", "straight_through_from")


@dataclass(frozen=True)
class Schedule(ABC):
    """σ from ``start`` to ``end`` while progress goes from 0 to ``until``; constant afterwards.

    Args:
        start, end: σ in steps, >= 0.
        until: share of training after which σ stays at ``end``, in (0, 1].
        integer_from: share of training after which σ is 0, in (0, 1]. Delays then act as rounded
            and rest, while weights learn to live with integer delays; 1 leaves this out, as
            published.
        straight_through_from: share of training after which delays act as rounded, but still move
            by the slope of their interpolation at σ, in [0, 1]; 1 leaves this out.

    Raises:
        UsageError: values out of range.
    """

    start: float
    end: float = 0.5
    until: float = 0.25
    integer_from: float = 1.0
    straight_through_from: float = 1.0

    def __post_init__(self) -> None:
        share = real(above=0, most=1, must="be a share of training in (0, 1]")
        rules = dict.fromkeys(("start", "end"), real(0, unit="steps"))
        rules |= dict.fromkeys(("until", "integer_from"), share)
        through = real(0, 1, must="be a share of training in [0, 1]")
        settle(self, f"{type(self).__name__}: ", **rules, straight_through_from=through)

    @abstractmethod
    def shape(self, x: float) -> float:
        """σ at the share ``x`` in [0, 1) of the way from ``start`` to ``end``."""

    def __call__(self, progress: float) -> float:
        """σ (steps) at ``progress`` in [0, 1] of training; ``epochs`` is what training follows."""
        name = f"{type(self).__name__}: progress"
        progress = real_number(name, progress, 0, 1, must="lie in [0, 1]")
        if self.integer_from < 1 and progress >= self.integer_from:
            return 0.0
        return self.annealed(progress / self.until)

    def epochs(self, count: int) -> list[float]:
        """σ of each of ``count`` epochs; the shares of training are cut to whole epochs.

        Of 150 epochs the published schedule anneals over 150 // 4 = 37.
        """
        count = whole_number(f"{type(self).__name__}: epochs", count, 0)
        # A share like 0.29 of 100 epochs is 29, although its floating-point product is less.
        until, integer_from = (
            math.floor(share * count + 1e-9) for share in (self.until, self.integer_from)
        )
        return [
            0.0 if epoch >= integer_from else self.annealed(epoch / until if until else 1.0)
            for epoch in range(count)
        ]

    def roundings(self, count: int) -> list[Rounding]:
        """How delays act in each of ``count`` epochs, see ``DelayLayer.rounding``."""
        count = whole_number(f"{type(self).__name__}: roundings", count, 0)
        integer, through = (math.floor(getattr(self, one) * count + 1e-9) for one in ROUNDING_FROM)
        return [
            "integer" if epoch >= integer else "straight_through" if epoch >= through else "none"
            for epoch in range(count)
        ]

    def annealed(self, x: float) -> float:
        """σ at the share ``x`` >= 0 of the way, which is at ``end`` from 1 on."""
        return float(self.end if x >= 1 else self.shape(x))


@dataclass(frozen=True)
class Exponential(Schedule):
    """σ − offset shrinks by a constant factor per epoch (the published schedule).

        σ(x) = offset + (start − offset) · ((end − offset) / (start − offset))^x

    DCLS multiplies SIG = σ − 0.27, hence the default offset.

    Reference:
        Hammouamri et al. (2024, arXiv:2306.17670): 12.27 → 0.50 over a quarter of training.
    """

    offset: float = DCLS_OFFSET

    def __post_init__(self) -> None:
        super().__post_init__()
        settle(self, "Exponential: ", offset=real(unit="steps"))
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
        settle(self, "Step: ", steps=whole(1))
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

    def annealed(self, x: float) -> float:
        return float(self.start)
