"""What a network loses on its way to each chip, without exporting it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from snn_delays.data import SpikeData, Split
from snn_delays.deploy.deployment import DeploySettings, calibration_samples, deploy
from snn_delays.errors import UsageError, one_line
from snn_delays.evaluation import evaluate
from snn_delays.report.course import one_class_each
from snn_delays.table.chips import CHIPS, ChipProfile, load_chip
from snn_delays.table.cost import table_cost

_CALIBRATION = 64  # training recordings, as snn-delays-export takes unless told otherwise


@dataclass(frozen=True)
class ChipCost:
    """A chip, and what the network is on it; or why it cannot go there.

    Args:
        score: after export, with delays beyond the chip's clipped.
        changed: samples that are answered otherwise than with delays rounded.
        noise: standard error of the difference in score that so many changed answers make; NaN
            where samples have several classes.
        clipped: share of synapses whose delay was too long.
        latency: steps by which answers come later.
        ring_bytes: of delay rings of currents; ``history_bytes`` of spike histories.
    """

    chip: ChipProfile
    score: float = float("nan")
    changed: int = 0
    noise: float = float("nan")
    synapses: int = 0
    clipped: float = 0.0
    latency: int = 0
    ring_bytes: int = 0
    history_bytes: int = 0
    refused: str = ""


def chip_costs(
    net: nn.Module,
    data: SpikeData,
    split: Split,
    before: NDArray[np.int64],
    *,
    batch_size: int,
    graded: bool,
    largest_count: int,
) -> Iterator[ChipCost]:
    """The network on each chip, one after the other.

    Args:
        split: what to measure on.
        before: its answers with delays rounded.
        graded, largest_count: whether the input is currents; most spikes per step and channel.
    """
    samples = calibration_samples(data.train, _CALIBRATION)
    for name in CHIPS:
        chip = load_chip(name)
        try:
            found = deploy(
                net,
                DeploySettings(chip=chip, delays="clip"),
                dt_ms=data.dt_ms,
                class_names=data.class_names,
                samples=samples,
                largest_count=largest_count,
                graded=graded,
            )
        except UsageError as error:
            yield ChipCost(chip, refused=one_line(error))
            continue
        adapted, last = found.adapted, found.stages[-1]
        assert adapted is not None
        after = evaluate(last.network, split, batch_size)
        cost = table_cost(found.table, chip).values()
        differs = after.predictions.numpy() != before
        changed = int(differs.reshape(len(split), -1).any(1).sum())
        yield ChipCost(
            chip,
            after.score,
            changed,
            math.sqrt(changed) / len(split) if one_class_each(data) else math.nan,
            last.synapses,
            sum(adapted.clipped.values()) / max(sum(adapted.synapses.values()), 1),
            adapted.total_latency,
            sum(one.ring_bytes for one in cost),
            sum(one.history_bytes for one in cost),
        )
