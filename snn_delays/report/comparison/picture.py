"""The picture of a comparison: every seed a point, the mean a line, in percent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from snn_delays.report.comparison.numbers import Group, TestSet
from snn_delays.report.figure import saved_figure

# Okabe and Ito's blue and vermilion, which the colour-blind tell apart, too; and two shapes.
_KINDS = {
    "test_rounded": ("delays rounded", "#0072B2", "o", -0.14),
    "test_float": ("σ-kernels", "#D55E00", "D", 0.14),
}
_LABEL, _ROW = 34, 0.55  # letters of a line, inches of a group
_LEAST = 4.0  # points that the axis spans at least: noise must not look like a difference


def draw_comparison(test_sets: Sequence[TestSet], path: Path) -> None:
    """The score on the test set after the last epoch, a panel per test set.

    Raises:
        UsageError: the file system refuses.
    """
    heights = [_ROW * len(one.groups) + 0.9 for one in test_sets]
    with saved_figure(path, 8.5, sum(heights) + 0.35) as figure:
        panels = figure.subplots(len(test_sets), squeeze=False, height_ratios=heights)[:, 0]
        for axis, test_set in zip(panels, test_sets, strict=True):
            _draw(axis, test_set)
        keys = [
            Line2D([], [], color=colour, marker=marker, linestyle="", alpha=0.75, label=label)
            for label, colour, marker, _ in _KINDS.values()
        ]
        keys.append(
            Line2D([], [], color="0.2", marker="|", ms=11, mew=2, linestyle="", label="mean")
        )
        keys.append(Line2D([], [], color="0.2", linewidth=1, label="± standard deviation"))
        figure.legend(handles=keys, loc="outside lower center", ncols=len(keys))


def _draw(axis: Axes, test_set: TestSet) -> None:
    for row, group in enumerate(test_set.groups):
        for measure, (_, colour, marker, shift) in _KINDS.items():
            values, y = [100 * one for one in group.values(measure)], row + shift
            if not values:  # unclipped, nothing would still take room
                continue
            mean, std = group.mean(measure), group.std(measure)
            axis.plot(
                *(values, [y] * len(values)),
                **{"linestyle": "", "marker": marker, "ms": 5.5, "mec": "white", "mew": 0.6},
                **{"color": colour, "alpha": 0.75, "clip_on": False, "zorder": 3},
            )
            if mean is not None:
                axis.plot([100 * mean], [y], marker="|", ms=12, mew=1.5, color=colour)
            if mean is not None and std:
                ends = [100 * (mean - std), 100 * (mean + std)]
                axis.plot(ends, [y, y], color=colour, linewidth=1)
        axis.text(
            *(1.01, row, _words(group)),
            **{"transform": axis.get_yaxis_transform(), "va": "center", "fontsize": 8},
            color=_KINDS["test_rounded"][1],
        )
    first, last = _range(test_set.groups)
    start = "" if first == 0 else f"; the axis begins at {first:g} %"
    axis.set(
        title=f"{test_set.title}, last epoch",
        xlabel=f"test {test_set.metric} (%){start}",
        xlim=(first, last),
        ylim=(len(test_set.groups) - 0.5, -0.5),
    )
    names = ["\n".join(wrap(one.name, _LABEL)) or one.name for one in test_set.groups]
    axis.set_yticks(range(len(names)), names)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color="0.9")
    axis.set_axisbelow(True)


def _words(group: Group) -> str:
    """What the points say, in numbers."""
    mean, std, n = group.mean("test_rounded"), group.std("test_rounded"), len(group.results)
    if mean is None:
        return "no finished run"
    spread = "" if std is None else f" ± {100 * std:.1f}"
    asked = "" if n == group.asked else f" of {group.asked}"
    return f"{100 * mean:.1f}{spread} %\nn = {n}{asked}"


def _range(groups: Sequence[Group]) -> tuple[float, float]:
    """Whole percents around all that is drawn, within 0 and 100."""
    seen: list[float] = []
    for group in groups:
        for measure in _KINDS:
            mean, std = group.mean(measure), group.std(measure) or 0.0
            seen += [100 * one for one in group.values(measure)]
            seen += [] if mean is None else [100 * (mean - std), 100 * (mean + std)]
    low, high = min(seen, default=0.0), max(seen, default=100.0)
    margin = max(0.08 * (high - low), (_LEAST - (high - low)) / 2)
    first, last = max(0, math.floor(low - margin)), min(100, math.ceil(high + margin))
    # Where most of the axis would be seen anyway, all of it is.
    return (0, last) if first < 0.4 * last else (first, last)
