"""Runs on one page: scores over seeds, what was set differently, learning curves and delays."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import numpy as np

from snn_delays.callbacks.delay_history import Count
from snn_delays.report.comparison.numbers import Group, TestSet
from snn_delays.report.page.axis import Axis, spanning
from snn_delays.report.page.chart import Chart
from snn_delays.report.page.document import (
    Figure,
    Figures,
    Page,
    Part,
    Section,
    Table,
    Text,
)
from snn_delays.report.trained import Metrics
from snn_delays.report.words import DASH, percent, sentence

_TONES = "abcdef"
_LEAST = 4.0  # points that an axis of scores spans at least: noise must not look like a difference


@dataclass(frozen=True)
class Compared:
    """What a comparison shows of a run beside its scores.

    Args:
        rows: metrics of every epoch.
        settings: all that makes it what it is, but for its seed.
        counts: where its delays stood after every epoch, if that was kept.
    """

    rows: Metrics
    settings: Mapping[str, Any]
    counts: Sequence[Count] = ()


def comparison_page(
    test_sets: Sequence[TestSet],
    runs: Mapping[str, Compared],
    missing: Sequence[tuple[str, str]],
) -> Page:
    """The page of several runs.

    Args:
        test_sets: groups of runs that differ in their seed alone, by what they were tested on.
        runs: what else is known of each result, by its ``run``.
        missing: runs that are not among the numbers, and why.
    """
    sections: list[Section] = []
    for number, one in enumerate(test_sets):
        sections += _sections(one, runs, f"{number}" if test_sets[1:] else "")
    if missing:
        rows = [list(one) for one in missing]
        table = Table("Not compared", ["run", "why"], rows, words=[1])
        lead = f"{len(missing)} runs are not among the numbers."
        sections.append(Section("missing", "What is missing", lead, [table]))
    count = sum(len(group.results) for one in test_sets for group in one.groups)
    groups = sum(len(one.groups) for one in test_sets)
    return Page(
        f"{count} runs compared",
        f"{groups} settings; runs of one setting differ in their seed alone. Scores are those on "
        "test after the last epoch: nothing is chosen on the test set.",
        sections,
        foot="Made by snn-delays-report. Standard deviations are those of a sample (n − 1).",
    )


def _sections(one: TestSet, runs: Mapping[str, Compared], suffix: str) -> list[Section]:
    title = f": {one.title}" if suffix else ""
    members = [(_letter(at), group) for at, group in enumerate(one.groups) if group.results]
    found = [
        Section(f"scores{suffix}", f"Scores{title}", _lead(one), _scores(one, members)),
        Section(f"settings{suffix}", f"What differs{title}", *_settings(members, runs)),
        Section(f"curves{suffix}", f"How they learned{title}", *_curves(one, members, runs)),
    ]
    figures = _delays(members, runs)
    if figures:
        lead = "Where the weight lies along the delay axis after the last epoch, mean over seeds."
        found.append(Section(f"delays{suffix}", f"Delays{title}", lead, [Figures(figures)]))
    return found


def _letter(at: int) -> str:
    return chr(ord("A") + at) if at < 26 else str(at + 1)


def _tone(letter: str) -> str:
    at = ord(letter) - ord("A") if letter.isalpha() else int(letter) - 1
    return _TONES[at % len(_TONES)]


def _lead(one: TestSet) -> str:
    known = [group for group in one.groups if group.results]
    best = max(known, key=lambda group: group.mean("test_rounded") or 0.0)
    mean, std = best.mean("test_rounded"), best.std("test_rounded")
    spread = f" ± {100 * std:.1f}" if std is not None else ""
    said = f"{sentence(one.headline())}."
    if not known[1:]:
        return said
    value = percent(mean)[:-2] + f"{spread} %"
    letter, n = _letter(one.groups.index(best)), len(best.results)
    named = f"{letter} ({_brief(best.name)})"
    return f"Best in the mean, delays rounded: {named}, {value} (n = {n}). {said}"


def _brief(name: str) -> str:
    """What a setting is called where there is little room; all of it stands among settings."""
    return shorten(name, 60, placeholder=" …")


def _scores(one: TestSet, members: Sequence[tuple[str, Group]]) -> list[Part]:
    shown = one.shown()
    letters = [_letter(at) for at in range(len(one.groups))]
    rows = [
        [letter, _brief(name), *row]
        for letter, (name, *row) in zip(letters, one.rows(shown), strict=True)
    ]
    parts: list[Part] = [
        Figures([_points(one, members)]),
        Table("Mean ± standard deviation over seeds", ["", *one.columns(shown)], rows, words=[1]),
    ]
    single = [
        [
            *(result.run, letter, str(result.seed)),
            *(percent(result.numbers[name]) for name in ("test_float", "test_rounded")),
        ]
        for letter, group in members
        for result in group.results
    ]
    heads = ["run", "setting", "seed", "float", "rounded"]
    parts.append(Table("Single runs", heads, single, words=[1], folded=True))
    # How data were made ready stands among the settings that differ.
    lettered = [
        Group(letter, of.asked, of.results) for letter, of in zip(letters, one.groups, strict=True)
    ]
    notes = TestSet(one.title, lettered).notes()
    return [*parts, *(Text(note) for note in notes)]


def _points(one: TestSet, members: Sequence[tuple[str, Group]]) -> Figure:
    """Every seed a point, the mean a bar, ± the standard deviation a line."""
    measures = (("test_rounded", "ink", -0.15), ("test_float", "d", 0.15))
    values = [
        100 * value for _, group in members for name, *_ in measures for value in group.values(name)
    ]
    low, high = min(values), max(values)
    room = max(0.08 * (high - low), (_LEAST - (high - low)) / 2)
    x = Axis(f"test {one.metric} (%)", max(0.0, low - room), min(100.0, high + room))
    y = Axis("", len(members) - 0.5, -0.5, names=[letter for letter, _ in members])
    chart = Chart(
        f"{sentence(one.metric)} after the last epoch",
        x,
        y,
        height=max(70, 34 * len(members)),
        described="; ".join(
            f"{letter}: {percent(group.mean('test_rounded'))} rounded" for letter, group in members
        ),
    )
    for row, (_, group) in enumerate(members):
        for name, tone, shift in measures:
            seen, at = np.multiply(100, group.values(name)), row + shift
            mean, std = group.mean(name), group.std(name)
            chart.dots(seen, [at] * len(seen), tone, size=7, opacity=0.6)
            if mean is not None:
                chart.line([100 * mean] * 2, [at - 0.13, at + 0.13], tone, width=2.5)
            if mean is not None and std:
                chart.line([100 * (mean - std), 100 * (mean + std)], [at, at], tone, width=1)
    caption = "A point for each seed; upright the mean, across ± the standard deviation."
    if x.low > 0:
        caption += f" The axis begins at {x.low:.0f} %."
    return Figure(chart.svg(), caption, [("delays rounded", "ink"), ("σ-kernels", "d")])


def _settings(
    members: Sequence[tuple[str, Group]], runs: Mapping[str, Compared]
) -> tuple[str, list[Part]]:
    first = [runs[group.results[0].run].settings for _, group in members]
    keys = sorted({key for one in first for key in one})
    rows = []
    for key in keys:
        values = [str(one[key]) if key in one else DASH for one in first]
        if len(set(values)) > 1:
            rows.append([key, *values])
    if not rows:
        return "All settings are alike but for the seed.", []
    heads = ["setting", *(letter for letter, _ in members)]
    words = list(range(1, len(heads)))
    return f"{len(rows)} of {len(keys)} settings differ.", [
        Table("Settings that differ", heads, rows, words=words)
    ]


def _curves(
    one: TestSet, members: Sequence[tuple[str, Group]], runs: Mapping[str, Compared]
) -> tuple[str, list[Part]]:
    metric = one.metric
    wanted: list[tuple[str, str, str, float]] = [
        (f"valid_{metric}", f"{sentence(metric)} on validation, rounded", f"{metric} (%)", 100),
        ("valid_loss", "Loss on validation, rounded", "loss", 1),
        ("loss", "Loss on training", "loss", 1),
        ("sigma", "Width of the kernels", "σ (steps)", 1),
        ("delay_change", "How far delays moved", "mean |Δdelay| (steps)", 1),
        ("rate_hz", "Firing rate", "spikes per neuron (Hz)", 1),
    ]
    figures = [
        _over_epochs(title, unit, members, lambda row, key=key, by=by: by * row[key], runs)
        for key, title, unit, by in wanted
        if all(key in runs[of.run].rows[0] for _, group in members for of in group.results)
    ]
    lead = "Thick: the mean over seeds; thin: each seed. Training is scored with dropout."
    return lead, [Figures(figures)]


def _over_epochs(
    title: str,
    unit: str,
    members: Sequence[tuple[str, Group]],
    value: Callable[[Mapping[str, float]], float],
    runs: Mapping[str, Compared],
) -> Figure:
    found = {
        letter: [
            (
                [row["epoch"] for row in runs[one.run].rows],
                [value(row) for row in runs[one.run].rows],
            )
            for one in group.results
        ]
        for letter, group in members
    }
    every = [curve for curves in found.values() for curve in curves]
    last = max(epochs[-1] for epochs, _ in every)
    chart = Chart(
        title,
        Axis("epoch", 1 - (last < 2), last + (last < 2), whole=True),
        spanning(unit, [at for _, values in every for at in values], zero=True),
        described=title
        + ": "
        + ", ".join(f"{letter} ends at {curves[0][1][-1]:.3g}" for letter, curves in found.items()),
    )
    for letter, curves in found.items():
        tone = _tone(letter)
        if curves[1:]:
            for epochs, values in curves:
                chart.line(epochs, values, tone, width=0.7)
        shortest = min((epochs for epochs, _ in curves), key=len)
        mean = np.mean([values[: len(shortest)] for _, values in curves], axis=0)
        chart.line(shortest, mean, tone, width=2.2)
    legend = [(f"{letter}: {_brief(group.name)}", _tone(letter)) for letter, group in members]
    return Figure(chart.svg(), "", legend)


def _delays(members: Sequence[tuple[str, Group]], runs: Mapping[str, Compared]) -> list[Figure]:
    """Histograms of each layer's delays, those of all settings in one chart."""
    found: dict[str, dict[str, list[list[Count]]]] = {}
    for letter, group in members:
        for result in group.results:
            counts = runs[result.run].counts
            last = [one for one in counts if one.epoch == counts[-1].epoch]
            for layer, of in itertools.groupby(last, lambda one: one.layer):
                found.setdefault(layer, {}).setdefault(letter, []).append(list(of))
    return [_histogram(layer, by_letter) for layer, by_letter in found.items()]


def _histogram(layer: str, by_letter: Mapping[str, list[list[Count]]]) -> Figure:
    shares = {}
    for letter, seeds in by_letter.items():
        edges = [seeds[0][0].first - 0.5, *(one.last + 0.5 for one in seeds[0])]
        mean = np.mean([[one.weight for one in counts] for counts in seeds], axis=0)
        # Of ranges of several steps, for each step.
        shares[letter] = edges, 100 * mean / np.diff(edges)
    ends = [edge for edges, _ in shares.values() for edge in (edges[0], edges[-1])]
    chart = Chart(
        layer,
        Axis("delay (steps)", min(ends), max(ends), whole=True),
        spanning(
            "share of Σ|w| (% a step)", np.concatenate([of for _, of in shares.values()]), zero=True
        ),
        described=f"Delays of {layer}, a curve for each setting",
    )
    for letter, (edges, heights) in shares.items():
        chart.stairs(edges, heights, _tone(letter))
    return Figure(chart.svg(), "", [(letter, _tone(letter)) for letter in shares])
