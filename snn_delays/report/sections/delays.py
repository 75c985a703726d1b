"""What became of the delays: where they were and are, which moved most, and with which weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from snn_delays.callbacks.delay_history import Count, read_history
from snn_delays.layers.delayed import Delayed
from snn_delays.report.page.axis import Axis, spanning
from snn_delays.report.page.chart import Chart
from snn_delays.report.page.document import Figure, Figures, Heading, Part, Section, Table, Text
from snn_delays.report.run import kind_of_delays
from snn_delays.report.trained import Trained
from snn_delays.report.words import percent

_LISTED = 12
_DOTS = 1500
_MOST_BARS = 100


@dataclass(frozen=True, eq=False)
class LayerDelays:
    """A layer's synapses that are there, before and after training; a delay and a weight each.

    Args:
        index: post, pre, … of each, ``[synapses, axes]``.
        delay: the number of the delay that each has, of those that the layer learns.
    """

    name: str
    layer: Delayed
    index: NDArray[np.int64]
    delay: NDArray[np.int64]
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    weight_before: NDArray[np.float64]
    weight: NDArray[np.float64]

    @property
    def moved(self) -> NDArray[np.float64]:
        """Steps, later above 0."""
        return self.after - self.before


def layer_delays(net: nn.Module, initial: nn.Module) -> list[LayerDelays]:
    """Every layer with delays, in the network's order."""
    starts = dict(initial.named_modules())
    return [
        _layer_delays(f"{name or type(net).__name__}: {one.ends}", one, starts[name])
        for name, one in net.named_modules()
        if isinstance(one, Delayed)
    ]


@torch.no_grad()
def _layer_delays(name: str, layer: Delayed, start: Any) -> LayerDelays:
    weight = layer.acting_weight()
    there = torch.ones_like(weight, dtype=torch.bool)
    if layer.mask is not None:
        there = (layer.mask != 0).expand_as(weight)
    delay = torch.arange(layer.delay.numel()).view(layer.delay.shape).expand_as(weight)[there]
    columns = [
        one.expand_as(weight)[there].double().numpy()
        for one in (start.delay, layer.delay, start.acting_weight(), weight)
    ]
    return LayerDelays(name, layer, there.nonzero().numpy(), delay.numpy(), *columns)


def delays(run: Trained) -> Section | None:
    """Histograms, maps and tables; nothing of a network without delays."""
    if kind_of_delays(run.net) == "none":
        return None
    found = layer_delays(run.net, run.initial)
    history = list(read_history(run.histograms)) if run.histograms.exists() else []
    parts: list[Part] = [_summary(found)]
    for one in found:
        parts.append(Heading(one.name))
        names = [name for name, of in run.net.named_modules() if of is one.layer]
        over_epochs = [count for count in history if count.layer in names]
        parts.append(Figures(_figures(one, over_epochs, run.data.dt_ms)))
    parts += [Heading("Which moved most"), *_tables(found, run.data.dt_ms)]
    if not history:
        parts.append(Text("How delays moved over epochs was not kept in this run's folder."))
    return Section("delays", "What the delays did", _lead(found, run), parts)


def _lead(found: Sequence[LayerDelays], run: Trained) -> str:
    if kind_of_delays(run.net) == "fixed":
        return "Delays were drawn at random and did not learn: before and after are the same."
    name, index, by = max(
        ((one, at, abs(one.moved[at])) for one in found if len(one.moved) for at in [_most(one)]),
        key=lambda of: of[2],
    )
    mean = np.concatenate([np.abs(one.moved) for one in found]).mean()
    return (
        f"A delay moved by {mean:.2f} steps ({run.ms(mean)}) in the mean. The one that moved most "
        f"is {synapse(name, index)} of {name.name}: from {name.before[index]:.1f} to "
        f"{name.after[index]:.1f} steps, by {by:.1f} ({run.ms(by)})."
    )


def _most(one: LayerDelays) -> int:
    return int(np.abs(one.moved).argmax())


def synapse(one: LayerDelays, at: int) -> str:
    """``pre → post``, and which of several of a pair, or of positions, it is; all that share the
    delay."""
    sizes, own = one.layer.weight.shape, one.layer.delay.shape
    places = [
        "all" if size > own_size else str(place)
        for place, size, own_size in zip(one.index[at].tolist(), sizes, own, strict=True)
    ]
    within = [place for place, size in zip(places[2:], sizes[2:], strict=True) if size > 1]
    return f"{places[1]} → {places[0]}" + (f" ({', '.join(within)})" if within else "")


def _summary(found: Sequence[LayerDelays]) -> Table:
    rows = []
    for one in found:
        by = np.abs(one.moved)
        share = np.abs(one.weight)
        mean = float(np.average(one.after, weights=share)) if share.sum() else float("nan")
        ends = (one.after <= one.layer.min_delay) | (one.after >= one.layer.max_delay)
        rows.append(
            [
                one.name,
                one.layer.granularity,
                f"{len(by):,}",
                *(f"{value:.2f}" for value in (by.mean(), np.median(by), by.max())),
                percent(float((by > 1).mean())),
                f"{mean:.1f}",
                percent(float(ends.mean())),
            ]
        )
    heads = ["projection", "a delay each", "synapses", "mean moved", "median", "most"]
    heads += ["moved > 1 step", "mean delay by |w|", "at an end"]
    return Table("Delays by projection, in steps", heads, rows, words=[1])


def _figures(one: LayerDelays, history: list[Count], dt_ms: float) -> list[Figure]:
    longest, shortest = one.layer.max_delay, one.layer.min_delay
    edges = np.arange(shortest, longest + 2) - 0.5
    if len(edges) > _MOST_BARS:
        edges = np.linspace(edges[0], edges[-1], _MOST_BARS + 1)
    steps = Axis(f"delay (steps of {dt_ms:g} ms)", edges[0], edges[-1], whole=True)
    found = [_before_after(one, edges, steps)]
    if history:
        found.append(_over_epochs(history, steps))
    return [*found, _from_to(one, edges), _against_weight(one, steps)]


def _before_after(one: LayerDelays, edges: NDArray[Any], steps: Axis) -> Figure:
    heights = []
    for delay, weight in ((one.before, one.weight_before), (one.after, one.weight)):
        strength = np.abs(weight)
        counts = np.histogram(delay, edges, weights=strength)[0]
        heights.append(100 * counts / max(strength.sum(), 1e-30))
    chart = Chart(
        "Where the weight lies",
        steps,
        spanning("share of Σ|w| (%)", heights, zero=True),
        height=240,
    )
    chart.stairs(edges, heights[1], "after", filled=True)
    chart.stairs(edges, heights[0], "before")
    legend = [("before training", "before"), ("after", "after")]
    return Figure(chart.svg(), "Delays, each counted by the size of its weight.", legend)


def _over_epochs(history: list[Count], steps: Axis) -> Figure:
    """Share of Σ|w| at each delay, less that before training."""
    epochs = sorted({one.epoch for one in history})
    first = {one.first: one.weight for one in history if one.epoch == epochs[0]}
    grown = [(one, one.weight - first.get(one.first, 0.0)) for one in history]
    most = max(abs(by) for _, by in grown) or 1.0
    axis = Axis("epoch", epochs[0] - 0.5, epochs[-1] + 0.5, whole=True)
    chart = Chart("How they moved over epochs", axis, steps, height=240)
    for one, by in grown:
        if abs(by) >= 0.02 * most:
            at = (one.epoch - 0.5, one.epoch + 0.5, one.first - 0.5, one.last + 0.5)
            chart.cell(*at, "right" if by > 0 else "wrong", abs(by) / most)
    caption = f"Share of Σ|w| at each delay; at full strength by {100 * most:.1f} points."
    legend = [("more than before training", "right"), ("less", "wrong")]
    return Figure(chart.svg(), caption, legend)


def _from_to(one: LayerDelays, edges: NDArray[Any]) -> Figure:
    few = edges if len(edges) <= 33 else np.linspace(edges[0], edges[-1], 33)
    counts = np.histogram2d(one.before, one.after, [few, few])[0]
    ends = few.tolist()
    before = Axis("delay before (steps)", ends[0], ends[-1], whole=True)
    after = Axis("delay after (steps)", ends[0], ends[-1], whole=True)
    chart = Chart("From where to where", before, after, height=240)
    shares = np.sqrt(counts / max(counts.max(), 1)).tolist()
    for row, column in np.argwhere(counts).tolist():
        place = (ends[row], ends[row + 1], ends[column], ends[column + 1])
        chart.cell(*place, "after", 0.08 + 0.92 * shares[row][column])
    chart.diagonal(ends[0], ends[-1])
    return Figure(chart.svg(), "How many synapses moved so; on the dashed line nothing has moved.")


def _against_weight(one: LayerDelays, steps: Axis) -> Figure:
    chosen = np.linspace(0, len(one.weight) - 1, min(_DOTS, len(one.weight))).astype(int)
    chart = Chart("Weight against delay", steps, spanning("weight", one.weight[chosen]), height=240)
    chart.rule(y=0)
    chart.dots(
        one.after[chosen],
        one.weight[chosen],
        "after",
        size=3.5,
        opacity=0.45 if len(chosen) > 300 else 0.9,
    )
    some = f"{len(chosen):,} of {len(one.weight):,} synapses, after training."
    return Figure(chart.svg(), some)


def _tables(found: Sequence[LayerDelays], dt_ms: float) -> list[Part]:
    strong = {id(one): np.abs(one.weight) >= np.quantile(np.abs(one.weight), 0.9) for one in found}
    heads = ["synapse (pre → post)", "moved (steps)", "before (steps)", "after (steps)"]
    heads += ["moved (ms)", "weight", "of Σ|w| into post", "projection"]
    tables: list[Part] = []
    for caption, among in (
        (f"The {_LISTED} delays that moved most", None),
        (f"The {_LISTED} that moved most among the strongest tenth of the weights", strong),
    ):
        ranked = sorted(
            (
                (abs(one.moved[at]), number, int(at))
                for number, one in enumerate(found)
                for at in _candidates(one, None if among is None else among[id(one)])
            ),
            reverse=True,
        )
        rows = [_row(found[number], at, dt_ms) for _, number, at in ranked[:_LISTED]]
        tables.append(Table(caption, heads, rows, words=[7]))
    if any(one.layer.delay.shape != one.layer.weight.shape for one in found):
        tables.append(
            Text("Where synapses share a delay it is listed once, with one synapse's weight.")
        )
    return tables


def _candidates(one: LayerDelays, among: NDArray[np.bool_] | None) -> list[int]:
    """Synapses of the delays that moved most, one for each delay."""
    by = np.abs(one.moved)
    found: dict[int, int] = {}
    for at in np.argsort(-by, kind="stable"):
        if among is None or among[at]:
            found.setdefault(int(one.delay[at]), int(at))
        if len(found) == _LISTED:
            break
    return list(found.values())


def _row(one: LayerDelays, at: int, dt_ms: float) -> list[str]:
    moved, into = one.moved[at], one.index[:, 0] == one.index[at, 0]
    share = abs(one.weight[at]) / (np.abs(one.weight[into]).sum() or 1.0)
    return [
        synapse(one, at),
        _signed(moved, 1),
        f"{one.before[at]:.1f}",
        f"{one.after[at]:.1f}",
        _signed(moved * dt_ms, 0),
        _signed(one.weight[at], 3),
        percent(share),
        one.name,
    ]


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")
