"""A run's numbers and pictures."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure

from snn_delays.data import SpikeData
from snn_delays.layers import delay_layers
from snn_delays.network import DelaySNN
from snn_delays.training import Evaluation, evaluate

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
    """Accuracy on all samples, on those of speakers heard in training, and on the others."""
    heard = torch.isin(evaluation.speakers, torch.as_tensor(np.unique(data.train.speakers)))
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
    """Picture of each layer's delays: their distribution before and after training, and the map.

    In the map a row is a postsynaptic neuron and colour is the delay; synapses fade with |w|.
    """
    pairs = list(zip(delay_layers(net), delay_layers(initial), strict=True))
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9, 2.7 * len(pairs)), layout="constrained")
        axes = figure.subplots(len(pairs), 2, squeeze=False, width_ratios=[1, 1.4])
        for index, ((learned, start), (left, right)) in enumerate(zip(pairs, axes, strict=True)):
            ticks = np.arange(learned.max_delay + 2) - 0.5
            strength = learned.weight.detach().abs()
            delay = learned.delay.detach().expand_as(strength)
            left.hist(
                start.delay.detach().expand_as(strength).flatten().numpy(),
                ticks,
                weights=start.weight.detach().abs().flatten().numpy()
                / start.weight.detach().abs().sum().item(),
                histtype="step",
                color="0.5",
                label="before training",
            )
            left.hist(
                delay.flatten().numpy(),
                ticks,
                weights=(strength / strength.sum()).flatten().numpy(),
                color="tab:blue",
                alpha=0.7,
                label="learned",
            )
            left.set(
                title=f"layer {index}: {learned.in_features} → {learned.out_features}",
                xlabel=f"delay (steps of {dt_ms:g} ms)",
                ylabel="share of Σ|w|",
            )
            left.legend(frameon=False)
            strongest = strength.argmax(2, keepdim=True)
            shown = delay.gather(2, strongest)[:, :, 0].numpy()
            weight = strength.gather(2, strongest)[:, :, 0]
            image = right.imshow(
                shown,
                aspect="auto",
                cmap="viridis",
                vmin=0,
                vmax=learned.max_delay,
                alpha=(weight / weight.quantile(0.95).clamp_min(1e-12)).clamp(0, 1).numpy(),
                interpolation="nearest",
            )
            right.set(title="learned delays, faded by |w|", xlabel="pre", ylabel="post")
            figure.colorbar(image, ax=right, label="steps")
        figure.savefig(path, dpi=150)


def _number(value: float) -> float | None:
    """NaN has no place in JSON."""
    return None if math.isnan(value) else value
