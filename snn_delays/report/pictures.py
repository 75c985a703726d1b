"""A run in pictures: its delays before and after training, and what the network makes of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, register_parametrization

from snn_delays.data import SpikeData
from snn_delays.data.splits.interface import framed
from snn_delays.errors import UsageError
from snn_delays.layers.delayed import Delayed
from snn_delays.layers.memory import fresh_copy
from snn_delays.layers.networks import delay_layers, rounded
from snn_delays.report import course
from snn_delays.report.figure import saved_figure, whole_numbers
from snn_delays.report.run import kind_of_delays

_RIGHT, _WRONG, _OTHER = "tab:blue", "tab:red", "0.75"
_NETWORKS = ("tab:gray", "tab:orange", "tab:green", "tab:purple", "tab:brown", "tab:olive")


def draw_delays(net: nn.Module, initial: nn.Module, dt_ms: float, path: Path) -> None:
    """Picture of each layer's delays before and after training.

    Left: where the weight lies along the delay axis. Right: every synapse, moved from where to
    where; on the diagonal nothing has moved.
    """
    names = [name for name, part in net.named_modules() if isinstance(part, Delayed)]
    pairs = list(zip(delay_layers(net), delay_layers(initial), strict=True))
    with saved_figure(path, 7.5, 2.8 * len(pairs)) as figure:
        axes = figure.subplots(len(pairs), 2, squeeze=False, width_ratios=[1.5, 1])
        for name, (trained, start), (left, right) in zip(names, pairs, axes, strict=True):
            edges = np.arange(trained.max_delay + 2) - 0.5
            old, old_weight = _synapses(start)
            new, new_weight = _synapses(trained)
            left.hist(new, edges, weights=new_weight, color=_RIGHT, alpha=0.7, label="after")
            left.hist(old, edges, weights=old_weight, histtype="step", color="0.4", label="before")
            left.set(
                title=f"{name or type(net).__name__}: {trained.ends}, {kind(net)}",
                xlabel=f"delay (steps of {dt_ms:g} ms)",
                ylabel="share of Σ|w|",
            )
            left.margins(y=0.25)
            left.legend(title="training", ncols=2, loc="upper right")
            right.hist2d(old, new, bins=[edges, edges], weights=new_weight, cmap="Blues")
            right.plot([0, trained.max_delay], [0, trained.max_delay], color="0.4", linewidth=0.8)
            right.set(xlabel="delay before (steps)", ylabel="delay after (steps)", aspect="equal")
            whole_numbers(left.xaxis, right.xaxis, right.yaxis)


def draw_readout(net: nn.Module, data: SpikeData, path: Path) -> None:
    """Picture of one test sample: its spikes, and the class scores as they are gathered.

    Below, the same network with the same delays shuffled among each layer's synapses: whether
    they were learned or not, the answer depends on which synapse has which delay.
    """
    deployed = rounded(net).eval()
    shuffled = fresh_copy(deployed)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in delay_layers(shuffled):
            for name in layer.delay_ranges:
                delay = getattr(layer, name)
                order = torch.randperm(delay.numel(), generator=generator)
                if is_parametrized(layer, name):
                    register_parametrization(layer, name, _Shuffled(order), unsafe=True)
                else:
                    delay.copy_(_Shuffled(order)(delay))
    with saved_figure(path, 7.5, 5.6) as figure:
        raster, *panels = figure.subplots(3, 1, sharex=True)
        _draw_input(raster, data)
        _draw_scores(panels[0], kind(net), deployed, data)
        _draw_scores(panels[1], "the same delays, shuffled", shuffled, data)
        panels[1].sharey(panels[0])
        panels[0].autoscale()  # over the scores of both
        _name_lines(panels[0])
        panels[-1].set_xlabel(f"time (steps of {data.dt_ms:g} ms)")


class _Shuffled(nn.Module):
    """Delays in another order, of the parameter or of what a parametrisation makes."""

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.order = order

    def forward(self, delay: Tensor) -> Tensor:
        return delay.flatten()[self.order].view_as(delay)


def draw_networks(networks: Sequence[tuple[str, nn.Module]], data: SpikeData, path: Path) -> None:
    """Picture of several networks on one test set, delays rounded.

    Above, the spikes of one sample and how each network gathers its class scores. Below, all test
    samples: how many are right if the network has to answer after so many steps, and by how much
    the right class leads in the end (left of 0 the answer is wrong).

    Args:
        networks: what each is called, and the network.
        data: what they were trained for and are tested on.

    Raises:
        UsageError: data without answers that grow over time.
    """
    if not course.has_course(data):
        raise UsageError(
            f"plot shows how one answer grows over time, got input of {framed(data.frame)}, "
            f"{int(data.test.lengths.max())} step(s), judged by {data.task.metric}. Leave plot out."
        )
    with saved_figure(path, max(7.5, 2.5 * len(networks)), 6.6) as figure:
        rows = figure.subfigures(3, 1, squeeze=False, height_ratios=[1, 1.3, 1.3])
        top, middle, bottom = rows.flat
        raster = top.subplots()
        _draw_input(raster, data)
        raster.set_xlabel(f"time (steps of {data.dt_ms:g} ms)")
        panels = middle.subplots(1, len(networks), sharey=True, squeeze=False)[0]
        accuracies, leads = bottom.subplots(1, 2)
        colours = itertools.cycle(_NETWORKS)
        for axis, (name, net), colour in zip(panels, networks, colours, strict=False):
            deployed = rounded(net).eval()
            _draw_scores(axis, name, deployed, data, between="\n")
            axis.set_xlabel("time (steps)")
            right, lead = course.right_over_time(deployed, data.test)
            label = f"{name}: {100 * right[-1]:.1f} %"
            accuracies.plot(np.arange(1, len(right) + 1), 100 * right, color=colour, label=label)
            leads.ecdf(lead, color=colour)
        for axis in panels[1:]:
            axis.set_ylabel("")
        _name_lines(panels[0])
        accuracies.set(
            title=f"right after so many steps, of {len(data.test):,} test samples",
            xlabel="time (steps)",
            ylabel="right (%)",
            ylim=(0, 105),
        )
        accuracies.legend(loc="upper left")
        leads.axvline(0, color="0.75", linewidth=0.8)
        leads.set(
            title="lead of the right class; below 0: wrong",
            xlabel="its score less the best other class's",
            ylabel="share of samples below",
        )
        whole_numbers(accuracies.xaxis)


def comparable(one: SpikeData, other: SpikeData) -> bool:
    """Whether two data sets ask the same questions, so that networks for them can be compared."""
    first, second = one.test.collate([0]), other.test.collate([0])
    return (
        one.class_names == other.class_names
        and one.dt_ms == other.dt_ms
        and torch.equal(one.test.labels, other.test.labels)
        and torch.equal(one.test.lengths, other.test.lengths)
        and torch.equal(first.spikes, second.spikes)
    )


def kind(net: nn.Module) -> str:
    """``learned delays``, ``fixed random delays`` or ``no delays``."""
    words = {"learned": "learned", "fixed": "fixed random", "none": "no"}
    return f"{words[kind_of_delays(net)]} delays"


def _draw_input(axis: Axes, data: SpikeData) -> None:
    """The first test sample: numbers of spikes as a raster, currents as an image."""
    batch = data.test.collate([0])
    sample = batch.spikes[:, 0].flatten(1).numpy()  # images: pixel after pixel
    if (sample == np.rint(sample)).all():
        axis.scatter(*sample.nonzero(), s=4, color="0.2", linewidths=0)
    else:
        axis.imshow(sample.T, origin="lower", aspect="auto", cmap="Greys", interpolation="nearest")
    axis.set(
        title=f"input: test sample 0 of {len(data.test):,}, of class "
        f"{data.class_names[int(batch.labels[0])]}",
        ylabel="channel",
        xlim=(-0.5, len(sample) - 0.5),
        ylim=(-0.5, sample.shape[1] - 0.5),
    )
    whole_numbers(axis.xaxis, axis.yaxis)


def _draw_scores(
    axis: Axes, name: str, net: nn.Module, data: SpikeData, between: str = ": "
) -> None:
    """Scores of all classes on the first test sample, step by step, and what was answered."""
    batch = data.test.collate([0])
    scores = course.scores(net, batch)[:, 0]
    label, answer = int(batch.labels[0]), int(scores[-1].argmax())
    names = [*data.class_names, *map(str, range(data.n_classes, scores.shape[1]))]
    # What matters is drawn last.
    for index in sorted(range(len(names)), key=lambda one: (one == label, one == answer)):
        colour = _RIGHT if index == label else _WRONG if index == answer else _OTHER
        width = 0.8 if colour == _OTHER else 1.6
        axis.plot(scores[:, index].numpy(), color=colour, linewidth=width)
    verdict = "right" if answer == label else "wrong"
    axis.set(
        title=f"{name}{between}answers {names[answer]}, {verdict}",
        ylabel="score over the mean",
        xlim=(-0.5, len(scores) - 0.5),
    )
    whole_numbers(axis.xaxis)


def _name_lines(axis: Axes) -> None:
    named = {"right class": _RIGHT, "answered instead": _WRONG, "other classes": _OTHER}
    lines = [Line2D([], [], color=colour) for colour in named.values()]
    axis.legend(lines, list(named), loc="upper left")


def _synapses(layer: Delayed) -> tuple[np.ndarray, np.ndarray]:
    """Delay of every synapse, and its share of the layer's total |w|."""
    strength = layer.acting_weight().detach().abs()
    delay = layer.delay.detach().expand_as(strength)
    return delay.flatten().numpy(), (strength / strength.sum()).flatten().numpy()
