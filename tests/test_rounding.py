"""A network that is right in training and wrong as deployed: the run and the export say so."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from drawn_networks import delay_snn
from typed_commands import Shell

from snn_delays import DelaySNN, evaluation
from snn_delays.data import SpikeData, SpikeSplit
from snn_delays.evaluation import evaluate, warn_of_rounding
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.layers.networks import set_sigma
from snn_delays.schedules import Constant, Schedule
from snn_delays.training import fit

# Class c: three single spikes in channel c, one pair of spikes in the other.
SINGLE, PAIR = (0, 5, 10), (2, 3)
# Nothing is learned, so that the network stays what it was made as.
SETTINGS: dict[str, Any] = {"epochs": 2, "weight_lr": 0.0, "delay_lr": 0.0, "accelerator": "cpu"}


@pytest.fixture
def data() -> SpikeData:
    steps = torch.tensor([*SINGLE, *PAIR])
    channels = torch.tensor([0, 0, 0, 1, 1])
    split = SpikeSplit(
        steps=steps.repeat(2),
        channels=torch.cat([channels, 1 - channels]),
        offsets=torch.tensor([0, 5, 10]),
        labels=torch.tensor([0, 1]),
        speakers=torch.tensor([-1, -1]),
        n_channels=2,
        name="pairs",
    )
    return SpikeData(split, split, split, ("zero", "one"), 10.0, "official", 0)


@pytest.fixture
def net() -> DelaySNN:
    """Hidden neuron i hears channel i by one synapse of weight 1.25, and speaks for the other
    class. At σ = 0.5 the kernel's peak is 0.79: one spike brings v to 0.98, a pair to 1.11."""
    net = delay_snn([2, 2, 2], 4, batch_norm=False, dropout=0.0, sigma=0.5)
    with torch.no_grad():
        for block, weight in zip(
            net.blocks, (1.25 * torch.eye(2), torch.eye(2).flip(0)), strict=True
        ):
            layer = block.synapses
            assert isinstance(layer, DelayLayer)
            layer.weight.copy_(weight[:, :, None])
            layer.delay.fill_(2.0)
    return net


def said_by(
    net: DelaySNN,
    data: SpikeData,
    schedule: Schedule,
    caplog: pytest.LogCaptureFixture,
) -> list[str]:
    with caplog.at_level(logging.WARNING, logger="snn_delays"):
        fit(net, data, schedule=schedule, **SETTINGS)
    return [record.getMessage() for record in caplog.records]


def test_a_network_that_rounding_ruins_is_told(
    net: DelaySNN, data: SpikeData, caplog: pytest.LogCaptureFixture
):
    assert evaluate(net, data.valid).score == 1.0
    assert evaluate(net.rounded(), data.valid).score == 0.0
    (line,) = said_by(net, data, Constant(0.5), caplog)
    assert "accuracy 100.0 % with σ-kernels, but 0.0 % with delays rounded" in line
    assert "schedule.end=0.3" in line
    assert "schedule.integer_from=0.8" in line


def test_a_narrower_kernel_shows_in_training_what_rounding_does(net: DelaySNN, data: SpikeData):
    set_sigma(net, 0.3)
    assert evaluate(net, data.valid).score == evaluate(net.rounded(), data.valid).score


def test_nothing_is_said_where_nothing_is_lost(
    net: DelaySNN, data: SpikeData, caplog: pytest.LogCaptureFixture
):
    assert said_by(net, data, Constant(0.0), caplog) == []
    plain = delay_snn([2, 2, 2], 0, batch_norm=False)
    assert said_by(plain, data, Constant(0.5), caplog) == []


@pytest.mark.parametrize(("rounded", "said"), [(0.94, 1), (0.96, 0), (1.0, 0)])
def test_five_points_are_told(rounded: float, said: int, caplog: pytest.LogCaptureFixture):
    warn_of_rounding("test", 1.0, rounded)
    assert len(caplog.records) == said


def test_every_command_that_measures_both_looks(
    there: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(evaluation, "_MOST_LOST", -2.0)  # whatever is lost is told
    part = "with σ-kernels, but"
    run = json.loads((there / "runs/learned/summary.json").read_text())["best"]["validation"]
    before = f"accuracy {100 * run['float']['accuracy']:.1f} % {part}"
    assert f"validation, runs/learned: {before}" in shell("evaluate", "run=runs/learned")
    said = shell("export", "run=runs/learned")
    stages = json.loads((there / "runs/learned/export/report.json").read_text())["stages"]
    before, after = (f"{100 * one['accuracy']:.1f} %" for one in stages[:2])
    assert f"test: accuracy {before} {part} {after}" in said
    trained = shell("train", "run=runs/learned", "resume=true")
    assert "validation, last epoch: " in trained
    metrics = list(csv.DictReader((there / "runs/learned/metrics.csv").open()))
    first_is_best = metrics[0]["valid_accuracy"] > metrics[1]["valid_accuracy"]
    assert ("validation, best epoch: " in trained) == first_is_best
