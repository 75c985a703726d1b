"""How early the answer is right, and how many input events may get lost."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from snn_delays.data import Batch, Split
from snn_delays.data.augmentation import event_drop, list_events
from snn_delays.evaluation import class_scores
from snn_delays.report.course import batches, has_course, right_over_time, spread
from snn_delays.report.page.axis import Axis
from snn_delays.report.page.chart import Chart
from snn_delays.report.page.document import Figure, Figures, Section
from snn_delays.report.trained import Trained
from snn_delays.report.words import percent, sentence

LOST = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
_NEAR = 0.02  # of the final score, that counts as reaching it


def robustness(run: Trained) -> Section | None:
    """Score against time and against lost events, of data with spikes over time."""
    split = spread(run.data.test, run.samples)
    found = [one for one in (_early(run, split), _lossy(run, split)) if one]
    if not found:
        return None
    lead = " ".join(said for said, _ in found) + f" Measured on {len(split):,} test samples."
    title = "How early, and how robust"
    return Section("robustness", title, lead, [Figures([figure for _, figure in found])])


def _early(run: Trained, split: Split) -> tuple[str, Figure] | None:
    if not has_course(run.data):
        return None
    right, _ = right_over_time(run.deployed, split)
    steps = np.arange(1, len(right) + 1)
    enough = settled(right)
    median = float(np.median(split.lengths))
    chance = run.chance
    chart = Chart(
        "Right if it had to answer now",
        Axis(f"time (steps of {run.data.dt_ms:g} ms)", 0, len(right), whole=True),
        Axis(f"{run.metric} (%)", 0, 100),
        described=f"{run.metric} over time, from chance to {percent(right[-1])}",
    )
    chart.rule(x=median)
    chart.line(steps, 100 * right, "after")
    chart.line([0, len(right)], [100 * chance] * 2, "other")
    said = (
        f"Within 2 points of its final {percent(right[-1])} from step {enough} on "
        f"({run.ms(enough)})."
    )
    caption = f"Dashed: half of the samples have ended (step {median:.0f}); then a tail follows."
    return said, Figure(chart.svg(), caption, [("right", "after"), ("chance", "other")])


def settled(right: np.ndarray) -> int:
    """The first step, from 1, after which scores never fall further below the last than
    ``_NEAR``."""
    return 1 + int((1 + np.flatnonzero(right < right[-1] - _NEAR)).max(initial=0))


def _lossy(run: Trained, split: Split) -> tuple[str, Figure] | None:
    if not _counts(split):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = [_score(run.deployed, split, lost) for lost in LOST]
    chart = Chart(
        "With input events lost at random",
        Axis("events lost (%)", 0, 100 * LOST[-1], whole=True),
        Axis(f"{run.metric} (%)", 0, 100),
        described=f"{run.metric} falls from {percent(found[0])} to {percent(found[-1])} "
        f"with {percent(LOST[-1], 0)} of the events lost",
    )
    places, heights = np.multiply(100, LOST), np.multiply(100, found)
    chart.line(places, heights, "after")
    chart.dots(places, heights, "after", size=6)
    said = (
        f"{sentence(run.metric)} is {percent(found[1])} with a tenth of the input events lost, and "
        f"{percent(found[-1])} with half of them."
    )
    return said, Figure(chart.svg(), "Every event is lost with this probability, drawn once.")


def _counts(split: Split) -> bool:
    """Whether the input is numbers of spikes over time."""
    few = split.collate(range(min(len(split), 64))).spikes
    return int(split.lengths.max()) > 1 and bool(((few >= 0) & (few == few.round())).all())


def _score(net: nn.Module, split: Split, lost: float) -> float:
    found, labels = [], []
    with torch.no_grad():
        for batch in batches(split):
            found.append(class_scores(net, _thinned(batch, lost)))
            labels.append(batch.labels)
    return split.task.score(torch.cat(found), torch.cat(labels))


def _thinned(batch: Batch, lost: float) -> Batch:
    if not lost:
        return batch
    whole: Tensor = batch.spikes
    flat = whole.flatten(2)
    left = event_drop(list_events(flat), lost).dense(*flat.shape)
    return batch._replace(spikes=left.view(whole.shape))
