"""What a network loses on its way to each chip that is known, without exporting it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from snn_delays.data import SpikeData, Split
from snn_delays.deploy.deployment import DeploySettings, calibration_samples, deploy
from snn_delays.errors import UsageError, one_line
from snn_delays.evaluation import evaluate
from snn_delays.report.course import one_class_each, spread
from snn_delays.report.page.document import Section, Table, Text
from snn_delays.report.run import exported_synapses
from snn_delays.report.trained import Trained
from snn_delays.report.words import kilobytes, listed, percent, points
from snn_delays.table.chips import CHIPS, ChipProfile, load_chip
from snn_delays.table.cost import table_cost

_CALIBRATION = 64  # training recordings, as snn-delays-export takes unless told otherwise
_NOTE = (
    "Points are those against delays rounded; behind ± stands the standard error that so many "
    "changed answers make: smaller differences are noise. All is done as snn-delays-export does it "
    "with the chip's own bits and delays=clip, on validation samples: a chip chosen by this table "
    "is not chosen on the test set. Spike by spike only the export itself proves it. "
    "delays=rescale and finetune=quantise may lose less."
)


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


def chips(run: Trained) -> Section | None:
    """A row for each chip; nothing of a network that no table can hold."""
    if exported_synapses(run.net, run.data.dt_ms) is None:
        return None
    split = spread(run.data.valid, run.samples)
    rounded = evaluate(run.deployed, split, run.batch_size)
    found = list(
        chip_costs(
            run.net,
            run.data,
            split,
            rounded.predictions.numpy(),
            batch_size=run.batch_size,
            graded=run.graded,
            largest_count=run.largest_count,
        )
    )
    taken = sorted(
        (one for one in found if not one.refused), key=lambda one: _rank(one, rounded.score)
    )
    refused = [one for one in found if one.refused]
    where = f"{len(split):,} validation samples"
    parts = [_table(taken, rounded.score, run)] if taken else []
    if refused:
        rows = [[one.chip.name, one.refused] for one in refused]
        parts.append(Table("Chips that cannot take it", ["chip", "why"], rows, words=[1]))
    lead = _lead(taken, rounded.score, run.metric, where)
    return Section("chips", "What each chip costs", lead, [*parts, Text(_NOTE)])


def _rank(one: ChipCost, before: float) -> tuple[float, int]:
    """Less is better: what is lost; of those that lose as much, how many answers change. A gain is
    chance, and no merit of the chip."""
    return max(before - one.score, 0.0), one.changed


def _lead(taken: Sequence[ChipCost], before: float, metric: str, where: str) -> str:
    if not taken:
        return "No chip that is known can take this network."
    best, worst = taken[0], taken[-1]
    level = [one.chip.name for one in taken if _rank(one, before) == _rank(best, before)]
    verb = "lose" if level[1:] else "loses"
    said = (
        f"{listed(level)} {verb} least: {metric} {percent(best.score)} on {where}, against "
        f"{percent(before)} with delays rounded ({points(best.score - before)} points)."
    )
    if not best.changed:
        said += " No answer changes."
    if worst.score < best.score:
        said += f" Most is lost on {worst.chip.name}: {points(worst.score - before)} points."
    return said


def _table(taken: Sequence[ChipCost], before: float, run: Trained) -> Table:
    rows = [
        [
            one.chip.name,
            percent(one.score),
            _difference(one, before),
            f"{one.changed:,}",
            f"{one.synapses:,}",
            one.chip.delay.text.removesuffix(" steps"),
            percent(one.clipped),
            f"{one.latency} ({run.ms(one.latency)})",
            str(one.chip.weights.bits or "float"),
            kilobytes(one.ring_bytes),
            kilobytes(one.history_bytes),
        ]
        for one in taken
    ]
    heads = ["chip", run.metric, "points", "answers changed", "synapses"]
    heads += ["chip's delays (steps)", "clipped", "later by (steps)", "weight (bits)"]
    heads += ["delay rings", "or histories"]
    return Table("Chips, the one that loses least first", heads, rows)


def _difference(one: ChipCost, before: float) -> str:
    """Points, and how far chance alone would take them."""
    noise = "" if math.isnan(one.noise) else f" ± {100 * one.noise:.1f}"
    return points(one.score - before) + noise
