"""Single test samples, right and wrong ones: what comes in, what fires, how scores grow."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snn_delays.report.activity import spikes_of
from snn_delays.report.course import has_course, lead
from snn_delays.report.misread import Reading, read
from snn_delays.report.page.axis import Axis, spanning
from snn_delays.report.page.chart import Chart, stacked
from snn_delays.report.page.document import Figure, Figures, Heading, Section
from snn_delays.report.sections.answers import (
    answer_names,
    confusion,
    confusions,
    known_speakers,
)
from snn_delays.report.trained import Trained
from snn_delays.report.words import percent

_WRONG, _RIGHT = 3, 2
_ROWS = 160  # that a raster has room for
_LEFT = 54  # so that panels stand above each other
_LEGEND = (("right class", "right"), ("answered instead", "wrong"), ("other classes", "other"))


def samples(run: Trained) -> Section | None:
    """Three samples that are misread and two that are not; nothing of data without a course."""
    if not has_course(run.data):
        return None
    wrong, right = _chosen(run)
    looked = {at: read(run.deployed, run.net, run.data.test, at) for at in (*wrong, *right)}
    parts = []
    for title, chosen in (("Misread", wrong), ("Read rightly", right)):
        if chosen:
            figures = [_figure(looked[at], run) for at in chosen]
            parts += [Heading(title), Figures(figures)]
    count = int((run.answers.predictions != run.answers.labels).sum())
    lead = (
        f"{count:,} of {len(run.data.test):,} test samples are misread. Of the most frequent "
        "mistakes, the surest one each; of the right answers, the closest and a middling one. "
        "Scores are those gathered so far, less their mean over classes."
    )
    if not count:
        lead = (
            "No test sample is misread. Two that are right: the closest call, and a middling one."
        )
    return Section("samples", "Single samples", lead, parts)


def _chosen(run: Trained) -> tuple[list[int], list[int]]:
    """Samples to show, wrong and right."""
    found = run.answers
    leads = lead(found.scores, found.labels)
    wrong = []
    for label, answer, _ in confusions(run)[:_WRONG]:
        these = (found.labels == label) & (found.predictions == answer)
        wrong.append(int(torch.where(these, leads, torch.inf).argmin()))
    if len(wrong) < _WRONG:  # of few mistakes, several of one kind
        order = leads.argsort().tolist()
        more = [at for at in order if at not in wrong and found.predictions[at] != found.labels[at]]
        wrong += more[: _WRONG - len(wrong)]
    right = (found.predictions == found.labels).nonzero()[:, 0]
    order = right[leads[right].argsort()].tolist()
    return wrong, list(dict.fromkeys([order[0], order[len(order) // 2]])) if order else []


def _figure(one: Reading, run: Trained) -> Figure:
    names = answer_names(run)
    steps = len(one.course)
    panels = [("input", one.batch.spikes[:, 0].flatten(1))]
    fired = spikes_of(run.deployed, one.batch)
    panels += [(name, spikes[:, 0]) for name, spikes in fired.items()]
    verdict = "" if one.right else f", answered “{names[one.answer]}”"
    charts = []
    for at, (name, spikes) in enumerate(panels):
        title = f"Test sample {one.index}: “{names[one.label]}”{verdict}" if at == 0 else name
        charts.append(_raster(title, name, spikes, steps, one if at == 0 else None))
    charts.append(_scores(one, run, steps))
    said = (
        f"Test sample {one.index}, “{names[one.label]}”{verdict}: input, what fires, class scores"
    )
    return Figure(stacked(charts, said), why(one, run), _LEGEND)


def _raster(title: str, name: str, spikes: Tensor, steps: int, shaded: Reading | None) -> Chart:
    each = -(-spikes.shape[1] // _ROWS)
    rows = -(-spikes.shape[1] // each)
    label = "channel" if shaded else "neuron"
    label += f" (÷ {each})" if each > 1 else ""
    chart = Chart(
        title,
        Axis("", -0.5, steps - 0.5, whole=True),
        Axis(label, -0.5, rows - 0.5, whole=True),
        height=int(np.clip(rows, 60, 120)),
        described=name,
        left=_LEFT,
    )
    if shaded and not shaded.right:
        first, last = shaded.window
        chart.cell(first - 0.5, last + 0.5, -0.5, rows - 0.5, "wrong", 0.22)
    values = _grouped(spikes.numpy(), each, rows)
    at = values.nonzero()
    if (values == np.rint(values)).all():
        chart.raster(at[0], at[1], "ink")
    else:
        chart.image(values)
    return chart


def _grouped(values: NDArray[np.float32], each: int, rows: int) -> NDArray[np.float32]:
    """Neighbouring channels together, the strongest of each step."""
    if each == 1:
        return values
    room = np.zeros((len(values), rows * each), values.dtype)
    room[:, : values.shape[1]] = values
    return room.reshape(len(values), rows, each).max(2)


def _scores(one: Reading, run: Trained, steps: int) -> Chart:
    names = answer_names(run)
    chart = Chart(
        "class scores",
        Axis(f"time (steps of {run.data.dt_ms:g} ms)", -0.5, steps - 0.5, whole=True),
        spanning("score over the mean", one.course),
        height=150,
        left=_LEFT,
        described=f"class scores, at last {names[one.answer]} highest",
    )
    for index in sorted(range(len(names)), key=lambda at: (at == one.label, at == one.answer)):
        tone = "right" if index == one.label else "wrong" if index == one.answer else "other"
        chart.line(
            np.arange(steps), one.course[:, index], tone, width=0.8 if tone == "other" else 2.2
        )
    if one.own_steps < steps:
        chart.rule(x=one.own_steps - 0.5)
    return chart


def why(one: Reading, run: Trained) -> str:
    """What is to be said of an answer, in words."""
    names, dt = [f"“{name}”" for name in answer_names(run)], run.data.dt_ms
    right, answer = names[one.label], names[one.answer]
    speaker = _speaker(one, run)
    if one.right:
        return f"Right, {abs(one.lead):.2f} ahead of the next class. {speaker}".strip()
    if one.led_until < 0:
        led = f"{right} never led."
    else:
        when = f"step {one.led_until} ({one.led_until * dt:,.0f} ms)"
        led = f"{right} led for the last time after {when}."
    first, last = one.window
    span = f"steps {first} to {last} ({first * dt:,.0f} to {(last + 1) * dt:,.0f} ms)"
    if one.gained <= 0:
        misled = "Hiding no eighth of the input brings the right class closer."
    elif one.without == one.label:
        misled = f"Without the input of {span}, shaded, it is read rightly: that is what misleads."
    else:
        misled = (
            f"The input of {span}, shaded, misleads most: without it {right} gains "
            f"{one.gained:.2f}, and the answer is {names[one.without]}."
        )
    rounding = {one.label: "right: rounding the delays decides", one.answer: "the same"}
    unrounded = rounding.get(one.unrounded, names[one.unrounded])
    counts = confusion(run)[one.label]
    common = (
        f"{int(counts[one.answer])} of {int(counts.sum())} samples of {right} are taken for "
        f"{answer}."
    )
    parts = [f"{answer} ends {abs(one.lead):.2f} ahead.", led, misled]
    parts += [f"With σ-kernels the answer is {unrounded}.", common, speaker]
    return " ".join(filter(None, parts))


def _speaker(one: Reading, run: Trained) -> str:
    who, found = int(one.batch.speakers[0]), run.answers
    if who < 0 or len(torch.unique(found.speakers)) == 1:
        return ""
    share = found.score_where(found.speakers == who)
    new = "" if who in known_speakers(run.data) else ", whom training never heard"
    return f"Speaker {who}{new}: {percent(share)} right."
