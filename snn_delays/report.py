"""A run's numbers and pictures."""

from __future__ import annotations

import copy
import importlib.metadata
import math
import platform
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snn_delays.data import SpikeData
from snn_delays.evaluation import Evaluation, evaluate
from snn_delays.layers import DelayLayer, delay_layers
from snn_delays.network import DelaySNN

STYLE: dict[Any, Any] = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
PACKAGES = ("snn-delays", "torch", "spikingjelly", "lightning-fabric", "numpy", "h5py")


def accuracies(net: DelaySNN, data: SpikeData, batch_size: int) -> dict[str, Any]:
    """Accuracy on validation and test, with σ-kernels (``float``) and with delays ``rounded``.

    On test also for speakers that training has heard and for the others, where speakers are known.
    """
    deployed = net.rounded()
    result: dict[str, Any] = {}
    for name, split in (("validation", data.valid), ("test", data.test)):
        result[name] = {
            "float": by_speaker(evaluate(net, split, batch_size), data),
            "rounded": by_speaker(evaluate(deployed, split, batch_size), data),
        }
    return result


def by_speaker(evaluation: Evaluation, data: SpikeData) -> dict[str, float | None]:
    """Accuracy on all samples, on those of speakers heard before the test, and on the others."""
    # Who chose the epoch has been heard too, unless the test set itself did.
    heard_in = [data.train, data.valid] if data.clean_split else [data.train]
    heard = torch.isin(evaluation.speakers, torch.cat([split.speakers for split in heard_in]))
    known = evaluation.speakers >= 0
    return {
        "accuracy": evaluation.accuracy,
        "known_speakers": _number(evaluation.accuracy_where(heard & known)),
        "unseen_speakers": _number(evaluation.accuracy_where(~heard & known)),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a run's numbers."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def draw_delays(net: DelaySNN, initial: DelaySNN, dt_ms: float, path: Path) -> None:
    """Picture of each layer's delays before and after training.

    Left: where the weight lies along the delay axis. Right: every synapse, moved from where to
    where; on the diagonal nothing has moved.
    """
    pairs = list(zip(delay_layers(net), delay_layers(initial), strict=True))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 2.8 * len(pairs)), layout="constrained")
        axes = figure.subplots(len(pairs), 2, squeeze=False, width_ratios=[1.5, 1])
        for index, ((learned, start), (left, right)) in enumerate(zip(pairs, axes, strict=True)):
            edges = np.arange(learned.max_delay + 2) - 0.5
            old, old_weight = _synapses(start)
            new, new_weight = _synapses(learned)
            left.hist(new, edges, weights=new_weight, color="tab:blue", alpha=0.7, label="learned")
            left.hist(
                old, edges, weights=old_weight, histtype="step", color="0.4", label="at first"
            )
            left.set(
                title=f"layer {index}: {learned.in_features} → {learned.out_features}",
                xlabel=f"delay (steps of {dt_ms:g} ms)",
                ylabel="share of Σ|w|",
            )
            left.legend(frameon=False, ncols=2, loc="lower center")
            right.hist2d(old, new, bins=[edges, edges], weights=new_weight, cmap="Blues")
            right.plot([0, learned.max_delay], [0, learned.max_delay], color="0.4", linewidth=0.8)
            right.set(xlabel="delay at first", ylabel="learned delay", aspect="equal")
        figure.savefig(path, dpi=150)


def draw_readout(net: DelaySNN, data: SpikeData, path: Path) -> None:
    """Picture of what the delays do: one sample's spikes, and the evidence gathered from them.

    Evidence is Σ softmax(v) up to a step, over chance. Below, the same network with the same
    delays dealt out anew among each layer's synapses.
    """
    deployed = net.rounded().eval()
    shuffled = copy.deepcopy(deployed)
    dealer = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for delay in shuffled.delay_parameters():
            order = torch.randperm(delay.numel(), generator=dealer)
            delay.copy_(delay.flatten()[order].view_as(delay))
        batch = data.test.collate([0])
        readouts = [
            (title, network(batch.spikes)[:, 0])
            for title, network in (
                ("learned delays", deployed),
                ("the same delays, shuffled", shuffled),
            )
        ]
    label = int(batch.labels[0])

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 5.6), layout="constrained")
        raster, *panels = figure.subplots(3, 1, sharex=True)
        _draw_input(raster, batch.spikes[:, 0].numpy())
        raster.set(
            title=f"input: a test sample of class {data.class_names[label]}", ylabel="channel"
        )
        for axis, (title, potentials) in zip(panels, readouts, strict=True):
            softmax = torch.softmax(potentials, dim=-1)
            for index, name in enumerate(data.class_names):
                mine = index == label
                axis.plot(
                    (softmax[:, index] - 1 / data.n_classes).cumsum(0).numpy(),
                    color="tab:blue" if mine else "0.75",
                    linewidth=1.6 if mine else 0.8,
                    zorder=3 if mine else 2,
                    label=f"class {name}"
                    if mine
                    else ("other classes" if index == (label == 0) else None),
                )
            axis.set(title=f"evidence with {title}", ylabel="score over chance")
            axis.sharey(panels[0])
        panels[0].legend(frameon=False, loc="upper left")
        panels[-1].set_xlabel(f"time (steps of {data.dt_ms:g} ms)")
        figure.savefig(path, dpi=150)


def _draw_input(axis: Axes, sample: np.ndarray) -> None:
    """A sample ``[T, C]``: numbers of spikes as a raster, currents as an image."""
    if (sample == np.rint(sample)).all():
        axis.scatter(*sample.nonzero(), s=4, color="0.2", linewidths=0)
    else:
        axis.imshow(sample.T, origin="lower", aspect="auto", cmap="Greys", interpolation="nearest")


def _synapses(layer: DelayLayer) -> tuple[np.ndarray, np.ndarray]:
    """Delay of every contact, and its share of the layer's total |w|."""
    strength = layer.weight.detach().abs()
    delay = layer.delay.detach().expand_as(strength)
    return delay.flatten().numpy(), (strength / strength.sum()).flatten().numpy()


def _number(value: float) -> float | None:
    """NaN has no place in JSON."""
    return None if math.isnan(value) else value
