"""A trained run as its report looks at it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from snn_delays.data import SpikeData
from snn_delays.errors import UsageError
from snn_delays.evaluation import Evaluation, evaluate
from snn_delays.layers.networks import rounded

# What a page takes from summary.json, beside the scores of its checkpoint.
SUMMED = (
    "seed",
    "wall_time_s",
    "seconds_per_epoch",
    "versions",
    "best_epoch",
    "parameters",
    "exported_synapses",
)
Metrics = list[dict[str, float]]


@dataclass(frozen=True, eq=False)
class Trained:
    """A run that has ended, its network before and after, and its data.

    Args:
        name: what it is called.
        net, initial: after training and before; in evaluation mode.
        checkpoint: which epoch's network it is: ``best`` or ``last``.
        epoch: the number of that epoch, from 1.
        rows: metrics of every epoch.
        summary: contents of ``summary.json``.
        settings: names and values of all settings.
        commands: lines for a shell that repeat, judge and export it, and what each does.
        described: the network in a line.
        histograms: the file of delays after every epoch, see ``delay_history.py``.
        graded, largest_count: whether the input is currents; else the most spikes per step and
            channel.
        samples: most samples that what takes many passes is measured on.
    """

    name: str
    net: nn.Module
    initial: nn.Module
    data: SpikeData
    checkpoint: str
    epoch: int
    rows: Metrics
    summary: dict[str, Any]
    settings: Sequence[tuple[str, str]]
    commands: Sequence[tuple[str, str]]
    described: str
    histograms: Path
    graded: bool
    largest_count: int
    batch_size: int = 256
    samples: int = 1000

    @cached_property
    def deployed(self) -> nn.Module:
        """The network with delays rounded, as exported."""
        return rounded(self.net).eval()

    @cached_property
    def answers(self) -> Evaluation:
        """What it answers on every test sample, delays rounded."""
        return evaluate(self.deployed, self.data.test, self.batch_size)

    @property
    def chance(self) -> float:
        """The score on test by chance."""
        return self.data.task.chance(self.data.test.labels, self.data.n_classes)

    @property
    def metric(self) -> str:
        return self.data.task.metric

    def ms(self, steps: float) -> str:
        """Steps as milliseconds."""
        return f"{steps * self.data.dt_ms:,.0f} ms"


def read_metrics(path: Path) -> Metrics:
    """Rows of ``metrics.csv``.

    Raises:
        UsageError: it is missing, or holds something else than numbers.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{key: float(of) for key, of in row.items()} for row in csv.DictReader(file)]
    except OSError as error:
        raise UsageError(f"{path} not found: no epoch of the run has ended.") from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path} is damaged ({error}). Restore it, or train again.") from error
    if not rows:
        raise UsageError(f"{path} holds no epoch. Train on: resume=true.")
    return rows
