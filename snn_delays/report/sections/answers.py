"""What is answered on the test set: which classes are taken for which, who is understood."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from snn_delays.data import SpikeData
from snn_delays.report.course import one_class_each
from snn_delays.report.page.axis import Axis
from snn_delays.report.page.chart import Chart
from snn_delays.report.page.document import Figure, Figures, Part, Section, Table, Text
from snn_delays.report.trained import Trained
from snn_delays.report.words import percent, sentence

_MOST_NUMBERS = 12  # classes up to which cells have room for numbers
_MOST_SPEAKERS = 40
_LISTED = 10


def confusion(run: Trained) -> NDArray[np.int64]:
    """Test samples by class and answer ``[classes, answers]``."""
    found = run.answers
    size = max(run.data.n_classes, found.scores.shape[1])
    pairs = found.labels * size + found.predictions
    counts = torch.bincount(pairs, minlength=size * size).view(size, size)
    return counts[: run.data.n_classes].numpy()


def answer_names(run: Trained) -> list[str]:
    """What answers are called, those too that are no class."""
    data = run.data
    more = range(data.n_classes, run.answers.scores.shape[1])
    return [*data.class_names, *map(str, more)]


def confusions(run: Trained) -> list[tuple[int, int, int]]:
    """Class, wrong answer, how often; the most frequent first."""
    counts = confusion(run)
    found = [
        (int(label), int(answer), int(counts[label, answer]))
        for label, answer in np.argwhere(counts)
        if label != answer
    ]
    return sorted(found, key=lambda one: -one[2])


def answers(run: Trained) -> Section:
    """Confusion matrix, scores per class and per speaker."""
    score = run.answers.score
    lead = f"{sentence(run.metric)} {percent(score)}, delays rounded, on {len(run.data.test):,} "
    lead += "test samples."
    if not one_class_each(run.data):
        lead += " Samples have several classes or none, so there is no table of confusions."
        return Section("answers", "What it answers", lead, [])
    wrong, names = confusions(run), answer_names(run)
    if wrong:
        label, answer, count = wrong[0]
        lead += f" Most often “{names[label]}” is taken for “{names[answer]}”: {count} times."
    figures = [_matrix(run), _classes(run)]
    parts: list[Part] = [Figures([*figures, *_speakers(run)])]
    if wrong:
        parts.append(_frequent(run, wrong[:_LISTED]))
    parts.append(_whole_matrix(run))
    if not bool((run.data.test.speakers >= 0).any()):
        parts.append(Text("The data do not say who speaks."))
    return Section("answers", "What it answers", lead, parts)


def _matrix(run: Trained) -> Figure:
    counts, names = confusion(run), answer_names(run)
    each = counts.sum(1, keepdims=True)
    shares = counts / np.maximum(each, 1)
    chart = Chart(
        "Which class is taken for which",
        Axis("answer", -0.5, len(names) - 0.5, names=names),
        Axis("class", len(counts) - 0.5, -0.5, names=run.data.class_names),
        height=300,
        described=f"Confusion matrix of {len(counts)} classes; the same numbers are in a table",
    )
    for label, answer in np.argwhere(counts):
        count, share = int(counts[label, answer]), float(shares[label, answer])
        tone = "right" if label == answer else "wrong"
        said = f"{names[label]} answered as {names[answer]}: {count} ({percent(share)})"
        place = (answer - 0.5, answer + 0.5, label - 0.5, label + 0.5)
        chart.cell(*place, tone, 0.1 + 0.8 * share, said=said)
        if len(names) <= _MOST_NUMBERS:
            chart.words(float(answer), float(label), str(count), anchor="middle")
    legend = [("right", "right"), ("wrong", "wrong")]
    return Figure(chart.svg(), "Test samples; the stronger, the larger the class's share.", legend)


def _classes(run: Trained) -> Figure:
    counts = confusion(run)
    right = np.diagonal(counts) / np.maximum(counts.sum(1), 1)
    return _bars("Right by class", run.data.class_names, right, counts.sum(1), run.answers.score)


def _bars(
    title: str,
    names: Sequence[str],
    shares: NDArray[np.float64],
    counts: NDArray[np.int64],
    mean: float,
) -> Figure:
    chart = Chart(
        title,
        Axis("right (%)", 0, 100),
        Axis("", len(names) - 0.5, -0.5, names=names),
        height=max(60, min(20 * len(names), 420)),
        described=f"{title}: "
        + ", ".join(f"{one} {percent(share)}" for one, share in zip(names, shares, strict=True)),
    )
    for at, (share, count) in enumerate(zip(shares, counts, strict=True)):
        said = f"{names[at]}: {percent(float(share))} of {count}"
        chart.bar(0, 100 * float(share), at - 0.35, at + 0.35, "right", said=said)
    chart.rule(x=100 * mean)
    return Figure(chart.svg(), f"Dashed: {percent(mean)} of all.")


def _speakers(run: Trained) -> list[Figure]:
    found, data = run.answers, run.data
    who = torch.unique(found.speakers[found.speakers >= 0])
    if not 1 < len(who) <= _MOST_SPEAKERS:
        return []
    seen = known_speakers(data)
    shares = np.array([found.score_where(found.speakers == one) for one in who])
    counts = np.array([int((found.speakers == one).sum()) for one in who])
    names = [f"{int(one)}{'' if int(one) in seen else ' (new)'}" for one in who]
    figure = _bars("Right by speaker", names, shares, counts, found.score)
    caption = f"{figure.caption} New: nobody of the training recordings."
    return [Figure(figure.svg, caption)]


def known_speakers(data: SpikeData) -> set[int]:
    """Speakers that the network was trained or chosen on."""
    before = [data.train, data.valid] if data.clean_split else [data.train]
    return {int(one) for split in before for one in torch.unique(split.speakers)}


def _frequent(run: Trained, wrong: Sequence[tuple[int, int, int]]) -> Table:
    names, each = answer_names(run), confusion(run).sum(1)
    rows = [
        [names[label], names[answer], f"{count}", percent(count / each[label])]
        for label, answer, count in wrong
    ]
    heads = ["class", "taken for", "times", "of the class"]
    return Table("The most frequent mistakes", heads, rows, words=[1])


def _whole_matrix(run: Trained) -> Table:
    names = answer_names(run)
    rows = [
        [name, *(str(one) for one in row)]
        for name, row in zip(run.data.class_names, confusion(run).tolist(), strict=True)
    ]
    return Table(
        "All answers as numbers: classes down, answers across", ["class", *names], rows, folded=True
    )
