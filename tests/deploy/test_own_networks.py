"""Networks as SpikingJelly's documentation builds them, trained by ``fit`` and exported."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron, surrogate
from torch import Tensor, nn

from snn_delays.data import SpikeData, recordings
from snn_delays.deploy import compare, integer_table
from snn_delays.deploy.loading import LoadedNetwork
from snn_delays.evaluation import evaluate
from snn_delays.layers import DelayLayer, rounded
from snn_delays.training import fit

CHANNELS, CLASSES = 8, 3


def data() -> SpikeData:
    """Every class has channels of its own that fire more, the later half of them with a lag."""
    rng = np.random.default_rng(0)
    labels = np.arange(150) % CLASSES
    counts = rng.random((150, 20, CHANNELS)) < 0.05
    for n, label in enumerate(labels):
        counts[n, 4:10, 2 * label] |= rng.random(6) < 0.8
        counts[n, 6 + 2 * label : 12 + 2 * label, 6:] |= rng.random((6, 2)) < 0.7
    return recordings(counts.astype(np.float32), labels, n_units=CHANNELS, dt_ms=5.0)


def classifier() -> nn.Module:
    """Of the tutorial "Single fully connected layer SNN to classify MNIST", on delays."""
    return nn.Sequential(
        layer.Flatten(start_dim=1, step_mode="m"),
        DelayLayer(CHANNELS, CLASSES, 10),
        neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan(), step_mode="m"),
    )


def plif() -> nn.Module:
    """The end of ``parametric_lif_net.py``: learned time constants, and neurons that vote."""
    return nn.Sequential(
        DelayLayer(CHANNELS, 20, 6),
        layer.BatchNorm1d(20, step_mode="m"),
        neuron.ParametricLIFNode(init_tau=2.0, detach_reset=True, step_mode="m"),
        layer.Dropout(0.1, step_mode="m"),
        layer.Linear(20, 4 * CLASSES, bias=False, step_mode="m"),
        neuron.ParametricLIFNode(init_tau=2.0, detach_reset=True, step_mode="m"),
        layer.VotingLayer(4, step_mode="m"),
    )


class Residual(nn.Module):
    """A spike-element-wise block as of ``sew_resnet.py``, which adds what skips it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(DelayLayer(CHANNELS, 16, 6), neuron.IFNode(step_mode="m"))
        self.block = nn.Sequential(
            DelayLayer(16, 16, 4),
            layer.BatchNorm1d(16, step_mode="m"),
            neuron.IFNode(step_mode="m"),
        )
        self.head = nn.Sequential(
            layer.Linear(16, CLASSES, step_mode="m"), neuron.IFNode(step_mode="m")
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(self.block(x) + x)


@pytest.mark.parametrize("make", [classifier, plif, Residual])
def test_trained_exported_and_the_same_spikes(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net, own = make(), data()
    rows = fit(net, own, epochs=16, batch_size=16, weight_lr=0.02)
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    table = integer_table(net, dt_ms=own.dt_ms, class_names=own.class_names)
    for network in (rounded(net), LoadedNetwork(table)):
        found = compare(table, network, own.test)
        assert found.spikes_total > 20
        assert found.spikes_differing == found.predictions_differing == 0
    assert found.accuracy_table == pytest.approx(evaluate(rounded(net), own.test).score)
    assert found.accuracy_table > 0.5
