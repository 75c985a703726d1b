"""How often neurons fire, and which never do or always."""

from __future__ import annotations

import numpy as np
import torch

from snn_delays.report.activity import Rates, rates
from snn_delays.report.course import spread
from snn_delays.report.page.axis import Axis, spanning
from snn_delays.report.page.chart import Chart
from snn_delays.report.page.document import Figure, Figures, Section, Table
from snn_delays.report.trained import Trained

SATURATED = 0.9  # share of steps in which such a neuron fires


def firing(run: Trained) -> Section | None:
    """Rates of every population; nothing of a network without spiking neurons."""
    split = spread(run.data.test, run.samples)
    found = rates(run.deployed, split)
    if not found:
        return None
    silent, full = (sum(map(count, found)) for count in (_silent, _saturated))
    neurons = sum(len(one.share) for one in found)
    lead = (
        f"Of {neurons:,} neurons {silent:,} never fire and {full:,} fire in at least nine of ten "
        f"steps, on {len(split):,} test samples."
    )
    table = Table(
        "Firing by population",
        ["neurons", "how many", "mean (Hz)", "median (Hz)", "highest (Hz)", "silent", "saturated"],
        [_row(one, run.data.dt_ms) for one in found],
    )
    figures = Figures([_figure(one, run.data.dt_ms) for one in found])
    return Section("firing", "How often neurons fire", lead, [table, figures])


def _silent(one: Rates) -> int:
    return int((one.share == 0).sum())


def _saturated(one: Rates) -> int:
    return int((one.share >= SATURATED).sum())


def _row(one: Rates, dt_ms: float) -> list[str]:
    hz = one.share / (dt_ms / 1000)
    numbers = (hz.mean(), torch.median(hz), hz.max())
    rest = (f"{float(value):,.1f}" for value in numbers)
    return [one.name, f"{len(hz):,}", *rest, f"{_silent(one):,}", f"{_saturated(one):,}"]


def _figure(one: Rates, dt_ms: float) -> Figure:
    hz = (one.share / (dt_ms / 1000)).numpy()
    edges = np.linspace(0, float(hz.max()) or 1.0, 31)
    counts = np.histogram(hz, edges)[0]
    chart = Chart(
        f"{one.name}: rates",
        Axis("mean rate (Hz)", 0, edges[-1]),
        spanning("neurons", counts, zero=True, whole=True),
    )
    chart.stairs(edges, counts, "after", filled=True)
    return Figure(chart.svg())
