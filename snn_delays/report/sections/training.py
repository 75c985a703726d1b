"""What was trained, how to do it again, and how the training went."""

from __future__ import annotations

import numpy as np

from snn_delays.data import Split
from snn_delays.report.page.axis import Axis, spanning
from snn_delays.report.page.chart import Chart
from snn_delays.report.page.document import (
    Commands,
    Facts,
    Figure,
    Figures,
    Section,
    Table,
)
from snn_delays.report.trained import Metrics, Trained
from snn_delays.report.words import percent, sentence

# Of the columns of metrics.csv: which share a chart, what it is called, its unit.
Curve = tuple[str, str, str]  # column, label, tone


def about(run: Trained) -> Section:
    """Which network, which data, and the commands that go on from here."""
    data, summary = run.data, run.summary
    sizes = [f"{len(split):,} {name}" for name, split in _splits(run)]
    facts = [
        ("network", run.described),
        ("data", f"{', '.join(sizes)} samples; {data.n_classes} classes"),
        ("time step", f"{data.dt_ms:g} ms"),
        ("epochs", f"{len(run.rows)}; this page: {run.checkpoint} (epoch {run.epoch})"),
        ("seed", str(summary["seed"])),
        ("took", f"{summary['wall_time_s']:,.0f} s, {summary['seconds_per_epoch']:.1f} s an epoch"),
        ("versions", ", ".join(f"{name} {of}" for name, of in summary["versions"].items())),
    ]
    lead = f"{run.described}, trained for {len(run.rows)} epochs."
    if not data.clean_split:
        lead += " Its split chooses on the test set: the test score is no honest estimate."
    settings = Table("All settings", ["setting", "value"], run.settings, words=[1], folded=True)
    return Section(
        "about", "What was trained", lead, [Facts(facts), Commands(run.commands), settings]
    )


def _splits(run: Trained) -> list[tuple[str, Split]]:
    data = run.data
    return [("training", data.train), ("validation", data.valid), ("test", data.test)]


def learning(run: Trained) -> Section:
    """Loss, score, σ, how far delays moved and how often neurons fired, epoch by epoch."""
    rows, metric = run.rows, run.metric
    best = rows[run.epoch - 1]
    last = rows[-1]
    first, end = rows[0]["sigma"], last["sigma"]
    width = f"was {end:.2f}" if first == end else f"went from {first:.2f} to {end:.2f}"
    lead = (
        f"{sentence(metric)} on validation, delays rounded: {percent(best[f'valid_{metric}'])} in "
        f"epoch {run.epoch}, {percent(last[f'valid_{metric}'])} in the last. σ {width} steps."
    )
    return Section("learning", "How it learned", lead, [Figures(curves(rows, metric, run.epoch))])


def curves(rows: Metrics, metric: str, best: int) -> list[Figure]:
    """The learning curves of one run."""
    marked = f"Dashed: epoch {best}, that of this page."
    found = [
        _figure(
            rows,
            "Loss",
            "loss",
            [("loss", "training", "b"), ("valid_loss", "validation, rounded", "a")],
            best,
            caption=marked,
        ),
        _figure(
            rows,
            sentence(metric),
            f"{metric} (%)",
            [(metric, "training", "b"), (f"valid_{metric}", "validation, rounded", "a")],
            best,
            100,
            "Training is scored in passing, with dropout and σ-kernels.",
        ),
        _figure(rows, "Width of the kernels", "σ (steps)", [("sigma", "", "a")], best),
        _figure(
            rows,
            "How far delays moved",
            "mean |Δdelay| (steps)",
            [("delay_change", "", "a")],
            best,
            caption="Within each epoch.",
        ),
    ]
    if "rate_hz" in rows[0]:
        found.append(
            _figure(rows, "Firing rate", "spikes per neuron (Hz)", [("rate_hz", "", "a")], best)
        )
    return found


def _figure(
    rows: Metrics,
    title: str,
    unit: str,
    lines: list[Curve],
    best: int,
    factor: float = 1,
    caption: str = "",
) -> Figure:
    epochs = [row["epoch"] for row in rows]
    values = {name: factor * np.array([row[name] for row in rows]) for name, *_ in lines}
    said = "; ".join(
        f"{label or title} from {of[0]:.3g} to {of[-1]:.3g}"
        for (_, label, _), of in zip(lines, values.values(), strict=True)
    )
    chart = Chart(
        f"{title} over epochs",
        epoch_axis(epochs),
        spanning(unit, list(values.values()), zero=True),
        described=f"{title} over epochs: {said}",
    )
    chart.rule(x=best)
    for name, _, tone in lines:
        chart.line(epochs, values[name], tone)
    legend = [(label, tone) for _, label, tone in lines if label]
    return Figure(chart.svg(), caption, legend)


def epoch_axis(epochs: list[float]) -> Axis:
    """An axis of epochs, which are counted."""
    few = len(epochs) < 2
    return Axis("epoch", epochs[0] - few, epochs[-1] + few, whole=True)
