"""Runs of a few epochs, made in Python: settings, data and networks for the tests of training."""

from __future__ import annotations

import math
import operator
from pathlib import Path
from typing import Any

import pytest
import torch
from drawn_networks import delay_snn

from snn_delays.callbacks import Checkpoints, MetricsCsv, TensorBoard
from snn_delays.callbacks.callback import Callback, Training
from snn_delays.data import SpikeData, load_synthetic
from snn_delays.network import DelaySNN
from snn_delays.run.folder import Row, RunFolder
from snn_delays.schedules import Exponential, Schedule
from snn_delays.training import fit

SETTINGS: dict[str, Any] = {"epochs": 4, "batch_size": 32, "accelerator": "cpu", "seed": 3}
SCHEDULE = Exponential(start=4.27, until=0.5)


class Silent(Callback):
    """Watches; stops the run like Ctrl-C once epoch ``stop_at`` has ended."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.rows: list[Row] = []

    def on_batch(self, training: Training) -> None:
        assert training.epoch >= 1
        assert 1 <= training.batch <= training.batches
        assert math.isfinite(training.loss)
        assert training.score is not None
        assert 0 <= training.score <= 1

    def on_epoch(self, training: Training) -> None:
        self.rows.append(training.rows[-1])
        if training.epoch == self.stop_at:
            raise KeyboardInterrupt


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> SpikeData:
    root = tmp_path_factory.mktemp("synthetic")
    return load_synthetic(root, n_train=100, n_valid=40, n_test=40, n_classes=3, pattern_steps=11)


def network(data: SpikeData, **settings) -> DelaySNN:
    torch.manual_seed(SETTINGS["seed"])
    sizes = [data.n_channels, 16, data.n_classes]
    return delay_snn(sizes, **{"max_delay": 8, "dropout": 0.2, **settings})


def run(
    net: DelaySNN,
    data: SpikeData,
    path: Path,
    observer: Silent | None = None,
    settings: dict[str, Any] = SETTINGS,
    schedule: Schedule = SCHEDULE,
    resume: bool = False,
):
    """A training that leaves its files in a folder, as on the command line."""
    folder = RunFolder(path)
    callbacks = [
        Checkpoints(folder, resume=resume),
        TensorBoard(folder.tensorboard),
        MetricsCsv(folder.metrics),
        observer or Silent(),
    ]
    return fit(net, data, schedule=schedule, callbacks=callbacks, **settings)


def timeless(rows: list[Row]) -> list[Row]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def require_same_files(one: Path, other: Path) -> None:
    """Equal rows, and equal networks, in all that two runs have left."""
    tables = [
        [line.rpartition(",")[0] for line in (run / "metrics.csv").read_text().splitlines()]
        for run in (one, other)
    ]
    assert tables[0] == tables[1]
    for name in ("best", "last", "previous"):
        states = [RunFolder(run).load_checkpoint(name) for run in (one, other)]
        assert states[0].get("epoch") == states[1].get("epoch")
        assert timeless(states[0].get("rows", [])) == timeless(states[1].get("rows", []))
        require_equal(*(state["network"] for state in states))


def require_equal(one: dict, other: dict) -> None:
    assert list(one) == list(other)
    for name, value in one.items():
        same = torch.equal if isinstance(value, torch.Tensor) else operator.eq
        assert same(value, other[name]), name
