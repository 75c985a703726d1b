"""Temporal kernels: which delays and weights single neurons hear their inputs with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snn_delays.report.page.axis import Axis, spanning
from snn_delays.report.page.chart import Chart, stacked
from snn_delays.report.page.document import Figure, Figures, Section
from snn_delays.report.run import kind_of_delays
from snn_delays.report.sections.delays import LayerDelays, layer_delays
from snn_delays.report.trained import Trained

_NEURONS = 3  # of each projection
_LEFT = 54  # so that both panels stand above each other
_LEGEND = (("excites", "right"), ("inhibits", "wrong"))


def kernels(run: Trained) -> Section | None:
    """Of some neurons of each projection; nothing of a network without delays."""
    if kind_of_delays(run.net) == "none":
        return None
    figures = [
        _figure(one, post, run.data.dt_ms)
        for one in layer_delays(run.net, run.initial)
        for post in _chosen(one)
    ]
    lead = (
        "Some neurons' synapses, rounded as exported: of each projection those whose delays moved "
        "most, weighed by |w|. Above, every synapse: a thin line leads from where its delay began. "
        "Below, their sum at each delay: what the neuron gets after every input fires once."
    )
    return Section("kernels", "Temporal kernels", lead, [Figures(figures)])


def _chosen(one: LayerDelays) -> NDArray[np.int64]:
    """Neurons whose synapses moved most."""
    by = np.bincount(one.index[:, 0], np.abs(one.moved * one.weight), one.layer.weight.shape[0])
    there = np.bincount(one.index[:, 0], minlength=len(by)) > 0
    return np.argsort(np.where(there, -by, np.inf), kind="stable")[: min(_NEURONS, there.sum())]


def _figure(one: LayerDelays, post: int, dt_ms: float) -> Figure:
    own = one.index[:, 0] == post
    before, after, weight = one.before[own], np.rint(one.after[own]), one.weight[own]
    sizes = list(one.layer.weight.shape[1:-1])
    rows = np.asarray(np.ravel_multi_index(tuple(one.index[own, 1:-1].T), sizes))
    low, high = one.layer.min_delay - 0.5, one.layer.max_delay + 0.5
    steps = Axis(f"delay (steps of {dt_ms:g} ms)", low, high, whole=True)
    count = int(np.prod(sizes))
    where = "input" if len(sizes) == 1 else "input and position"
    chart = Chart(
        f"Neuron {post} of {one.name}",
        Axis("", low, high, whole=True),
        Axis(where, -0.5, count - 0.5, whole=True),
        height=230,
        left=_LEFT,
        described=f"Delays and weights of neuron {post} of {one.name}",
    )
    for start, end, row in zip(before, after, rows, strict=True):
        chart.line([start, end], [row, row], "other", width=0.7)
    strength = np.abs(weight) / (np.abs(weight).max() or 1.0)
    for tone, chosen in (("right", weight > 0), ("wrong", weight < 0)):
        for least, most, size in ((0.0, 0.2, 2.5), (0.2, 0.5, 4.5), (0.5, 1.1, 7.0)):
            these = chosen & (strength > least) & (strength <= most)
            if these.any():
                chart.dots(after[these], rows[these], tone, size=size, opacity=0.85)
    return Figure(stacked([chart, _sums(one, after, weight, steps)]), "", _LEGEND)


def _sums(
    one: LayerDelays, after: NDArray[np.float64], weight: NDArray[np.float64], steps: Axis
) -> Chart:
    taps = np.arange(one.layer.min_delay, one.layer.max_delay + 1)
    sums = {
        tone: np.array([weight[(after == tap) & chosen].sum() for tap in taps])
        for tone, chosen in (("right", weight > 0), ("wrong", weight < 0))
    }
    chart = Chart(
        "", steps, spanning("Σ weight", list(sums.values()), zero=True), height=90, left=_LEFT
    )
    for tone, values in sums.items():
        for tap, value in zip(taps, values, strict=True):
            if value:
                chart.bar(tap - 0.42, tap + 0.42, 0, value, tone)
    chart.rule(y=0)
    return chart
