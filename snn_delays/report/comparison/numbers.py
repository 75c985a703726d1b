"""Settings beside each other, over seeds: mean and standard deviation, as CSV and Markdown.

All numbers are of the last epoch: none is chosen on the test set. Standard deviations are those of
a sample (n − 1); of a single seed there is none. Nothing here needs torch.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from snn_delays.errors import UsageError
from snn_delays.report.words import DASH

Numbers = dict[str, float | None]
# The key under which a summary has the score that its task is judged by.
_SCORE = "{metric}"


def headline(metrics: Sequence[str]) -> str:
    """What the scores in a table are."""
    return (
        f"test {' or '.join(dict.fromkeys(metrics))} after the last epoch with σ-kernels (float) "
        "and with delays rounded; loss: points that rounding costs; mean ± sample standard "
        "deviation over seeds"
    )


@dataclass(frozen=True)
class Measure:
    """What is told of every run, and how it is written.

    Args:
        name: in the CSV file, where scores are shares.
        title: in tables, with its unit.
        place: keys of ``summary.json``, one inside the other; ``{metric}`` is what the summary
            calls its score.
        share: it lies in [0, 1] and is shown in percent; else it is a number >= 0.
        optional: not every run has it: a speaker is known or not, a network exported or not.
        digits: behind the point, as shown.
    """

    name: str
    title: str
    place: tuple[str, ...]
    share: bool = False
    optional: bool = False
    digits: int = 1

    def of(self, summary: Mapping[str, Any]) -> float | None:
        """The number in a run's summary.

        Raises:
            UsageError: it is missing, or no such number.
        """
        found: Any = summary
        place = [metric_of(summary) if key == _SCORE else key for key in self.place]
        for key in place:
            if not isinstance(found, Mapping) or key not in found:
                raise UsageError(f"{'.'.join(place)} is missing")
            found = found[key]
        if found is None and self.optional:
            return None
        most = 1.0 if self.share else sys.float_info.max
        number = found if isinstance(found, int | float) and not isinstance(found, bool) else None
        if number is None or not 0 <= number <= most:
            expected = "a share in [0, 1]" if self.share else "a number >= 0"
            raise UsageError(f"{'.'.join(place)} must be {expected}, got {found!r}")
        return number

    def shown(self, value: float | None) -> str:
        """As tables have it: a dash for None; a difference, which has no place, with its sign."""
        return DASH if value is None else self._text(value, "" if self.place else "+")

    def with_spread(self, mean: float | None, std: float | None) -> str:
        if std is None or (std == 0 and self.digits == 0):
            return self.shown(mean)
        return f"{self.shown(mean)} ± {self._text(std, '')}"

    def _text(self, value: float, sign: str) -> str:
        text = f"{100 * value if self.share else value:{sign},.{self.digits}f}"
        # The sign of what rounds to 0 says nothing.
        return text.lstrip("+-") if not text.strip("+-0.") else text


_TEST = ("last", "test")
MEASURES = (
    Measure("test_float", "float %", (*_TEST, "float", _SCORE), share=True),
    Measure("test_rounded", "rounded %", (*_TEST, "rounded", _SCORE), share=True),
    Measure("rounding_loss", "loss", (), share=True),
    *(
        Measure(name, f"{name.partition('_')[0]} %", (*_TEST, "rounded", name), True, True)
        for name in ("known_speakers", "unseen_speakers")
    ),
    Measure("parameters", "parameters", ("parameters",), digits=0),
    Measure("synapses", "synapses", ("exported_synapses", "last"), False, True, 0),
    Measure("seconds_per_epoch", "s/epoch", ("seconds_per_epoch",), digits=2),
)


CHANCE = Measure("chance", "chance %", ("chance",), share=True)


def metric_of(summary: Mapping[str, Any]) -> str:
    """What a run's score is called.

    Raises:
        UsageError: its summary does not say.
    """
    found = summary.get("metric")
    if not isinstance(found, str):
        raise UsageError("metric is missing")
    return found


def numbers_of(summary: Mapping[str, Any]) -> Numbers:
    """A run's measures, from the contents of its ``summary.json``.

    Raises:
        UsageError: something is missing, or no such number.
    """
    found = {one.name: one.of(summary) for one in MEASURES if one.place}
    loss = (found["test_float"] or 0.0) - (found["test_rounded"] or 0.0)  # a missing one is refused
    return {one.name: found.get(one.name, loss) for one in MEASURES}


@dataclass(frozen=True)
class Result:
    """The numbers of one finished run; ``chance`` is its score by chance."""

    run: str
    seed: int
    epochs: int
    threads: int
    numbers: Numbers
    metric: str = "accuracy"
    chance: float | None = None


@dataclass
class Group:
    """Runs that differ in their seed alone.

    Args:
        asked: how many runs there should be; those without a result count.
    """

    name: str
    asked: int = 0
    results: list[Result] = field(default_factory=list)

    def values(self, measure: str) -> list[float]:
        """Of every seed, or none at all."""
        found = [one.numbers[measure] for one in self.results]
        return [] if None in found else [one for one in found if one is not None]

    def mean(self, measure: str) -> float | None:
        values = self.values(measure)
        return statistics.fmean(values) if values else None

    def std(self, measure: str) -> float | None:
        """Sample standard deviation (n − 1); ``None`` of less than two seeds."""
        values = self.values(measure)
        return statistics.stdev(values) if values[1:] else None

    def cell(self, measure: Measure) -> str:
        """``mean ± std``; the mean alone of one seed, and of counts that are the same for all."""
        return measure.with_spread(self.mean(measure.name), self.std(measure.name))


@dataclass
class TestSet:
    """Groups that answered the same questions: what may be compared."""

    __test__ = False  # not for pytest

    title: str
    groups: list[Group] = field(default_factory=list)
    prepared: list[str] = field(default_factory=list)  # how the same recordings differ, a line each

    @property
    def metric(self) -> str:
        """What the score is called, which the test set decides."""
        return next((one.metric for of in self.groups for one in of.results), "accuracy")

    def headline(self) -> str:
        """What the scores in this table are, and what they would be by chance."""
        found = [one.chance for of in self.groups for one in of.results if one.chance is not None]
        chance = f"; chance: {CHANCE.shown(found[0])} %" if found else ""
        return headline([self.metric]) + chance

    def columns(self, measures: Sequence[Measure]) -> list[str]:
        return ["setting", "seeds", *(one.title for one in measures)]

    def rows(self, measures: Sequence[Measure]) -> list[list[str]]:
        """One line of text per group."""
        return [
            [one.name, _seeds(one), *(one.cell(measure) for measure in measures)]
            for one in self.groups
        ]

    def shown(self, *, share: bool | None = None) -> list[Measure]:
        """Measures that any of the groups has: scores (``share``), others, or all.

        Known speakers are told apart only where there are others.
        """
        has = {one.name for one in MEASURES if any(of.values(one.name) for of in self.groups)}
        if "unseen_speakers" not in has:
            has -= {"known_speakers"}
        wanted = [one for one in MEASURES if share is None or one.share == share]
        return [one for one in wanted if one.name in has or not one.optional]

    def notes(self) -> list[str]:
        """What makes the groups less comparable than they look, a line each."""
        told = [f"{self.title}: not all have the same {one}." for one in self.prepared]
        about: tuple[tuple[str, Callable[[Result], int]], ...] = (
            ("seeds", lambda one: one.seed),
            ("epochs", lambda one: one.epochs),
            ("threads (and with them the time per epoch)", lambda one: one.threads),
        )
        for what, of in about:
            seen = {
                group.name: " ".join(map(str, sorted({of(one) for one in group.results})))
                for group in self.groups
                if group.results
            }
            several = what != "seeds" and any(" " in one for one in seen.values())
            if several or len(set(seen.values())) > 1:
                listed = "; ".join(f"{name}: {values}" for name, values in seen.items())
                told.append(f"{self.title}: not all have the same {what}: {listed}.")
        return told


def _seeds(group: Group) -> str:
    n = len(group.results)
    return str(n) if n == group.asked else f"{n} of {group.asked}"
