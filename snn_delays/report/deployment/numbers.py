"""What deployment costs, in one place: accuracy step by step, latency, synapses, events, memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.data import Split
from snn_delays.deploy.deployment import Deployment
from snn_delays.deploy.verify import Agreement, compare
from snn_delays.evaluation import evaluate
from snn_delays.table.chips import ChipProfile, not_simulated
from snn_delays.table.cost import neuron_bytes, table_cost
from snn_delays.table.simulator import Simulation
from snn_delays.table.simulator.activity import events_in_flight, synaptic_operations
from snn_delays.table.table import DelayTable

Report = dict[str, Any]
_BYTES = ("table_bytes", "packed_bytes", "ring_slots", "ring_bytes", "history_bytes")


def deployment_report(
    deployment: Deployment,
    table: DelayTable,
    split: Split,
    chip: ChipProfile | None,
    *,
    batch_size: int,
    progress: Callable[[str], None] | None = None,
) -> tuple[Report, Agreement]:
    """Everything that is known about a deployed network, ready for JSON; and its proof.

    Args:
        table: as read back from its file; this is what is simulated.
        split: what to measure on.
        progress: called with what is being done.

    Raises:
        UsageError: as ``compare``.
    """
    say = progress or (lambda what: None)
    stages, before = [], None
    for stage in deployment.stages:
        say(stage.name)
        found = evaluate(stage.network, split, batch_size)
        now = found.predictions
        changed = 0 if before is None else int((before != now).sum())
        stages.append(_stage(stage.name, found.score, changed, stage.synapses))
        before = now

    say("simulated from the file")
    last = deployment.stages[-1].network
    work = _Work(table)
    agreement = compare(table, last, split, batch_size=batch_size, watch=work.add)
    own = ("membrane_bits", "difference")  # told elsewhere, or refused
    found = agreement.accuracy_table, agreement.predictions_differing, table.synapses
    stages.append(_stage("simulated from the file", *found))
    return {
        "samples": agreement.samples,
        "stages": stages,
        "agreement": {name: value for name, value in asdict(agreement).items() if name not in own},
        "populations": _populations(table, work, agreement.membrane_bits),
        "projections": _projections(table, chip, work),
    }, agreement


def _stage(name: str, accuracy: float, changed: int, synapses: int) -> Report:
    return {"name": name, "accuracy": accuracy, "changed": changed, "synapses": synapses}


class _Work:
    """What the simulated samples asked of the table, by population and by projection."""

    def __init__(self, table: DelayTable) -> None:
        self.table, self.samples = table, 0
        self.spikes: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.waiting = {one.name: (0, 0.0) for one in table.projections}  # most, sum of means

    def add(self, counts: NDArray[np.float32], simulation: Simulation) -> None:
        self.samples += 1
        self.spikes.update(simulation.spike_counts)
        self.operations.update(synaptic_operations(self.table, counts, simulation))
        # Currents are no spikes, but each one that is not zero is an event.
        events = counts if np.all((counts >= 0) & (counts == np.rint(counts))) else counts != 0
        for name, one in events_in_flight(self.table, events, simulation.spikes).items():
            most, total = self.waiting[name]
            self.waiting[name] = max(most, one.max), total + one.mean


def _populations(table: DelayTable, work: _Work, bits: dict[str, int] | None) -> Report:
    memory = neuron_bytes(table)
    return {
        one.name: {
            "model": one.model.name,
            "neurons": one.size,
            "spikes_per_sample": work.spikes[one.name] / work.samples if one.spiking else None,
            "membrane_bits": bits and bits[one.name],
            "table_bytes": memory[one.name],
        }
        for one in table.populations
    }


def _projections(table: DelayTable, chip: ChipProfile | None, work: _Work) -> Report:
    return {
        name: {
            **{key: getattr(cost, key) for key in ("synapses", "pairs")},
            "delay_histogram": cost.delay_histogram.tolist(),
            "synaptic_operations_per_sample": work.operations[name] / work.samples,
            "events_in_flight_max": work.waiting[name][0],
            "events_in_flight_mean": work.waiting[name][1] / work.samples,
            **{key: getattr(cost, key) for key in _BYTES},
        }
        for name, cost in table_cost(table, chip).items()
    }


def chip_report(
    deployment: Deployment, table: DelayTable, chip: ChipProfile | None
) -> Report | None:
    """What a chip's limits did to the network, which takes no measuring; None without a chip."""
    adapted = deployment.adapted
    if chip is None or adapted is None:
        return None
    return {
        "name": chip.name,
        "description": chip.description,
        "latency_steps": adapted.total_latency,
        "latency_ms": adapted.total_latency * table.dt_ms,
        "lag_steps": adapted.lag,
        "rescaled_by": adapted.factor,
        "clipped_share": sum(adapted.clipped.values()) / max(sum(adapted.synapses.values()), 1),
        **{key: getattr(adapted, key) for key in ("shift", "transport", "synapses", "clipped")},
        **{key: getattr(adapted, key) for key in ("joined", "cancelled", "beyond_native")},
        "neurons": {one.name: one.model.name for one in table.populations},
        "not_checked": list(chip.unknown),
        "not_simulated": not_simulated(table, chip),
    }
