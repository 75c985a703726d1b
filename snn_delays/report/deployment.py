"""What deployment costs, in one place: accuracy step by step, latency, synapses, events, memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.data import Split
from snn_delays.deploy.deployment import Deployment
from snn_delays.deploy.verify import Agreement, compare
from snn_delays.evaluation import evaluate
from snn_delays.table.chips.profile import ChipProfile
from snn_delays.table.chips.violations import not_simulated, unknowns
from snn_delays.table.cost import events_in_flight, table_cost
from snn_delays.table.simulator import Simulation
from snn_delays.table.simulator.activity import synaptic_operations
from snn_delays.table.table import DelayTable

Report = dict[str, Any]


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
    stages, answers = [], []
    for stage in deployment.stages:
        say(stage.name)
        found = evaluate(stage.network, split, batch_size)  # pyright: ignore[reportArgumentType]
        answers.append(found.predictions)
        stages.append(
            {
                "name": stage.name,
                "accuracy": found.accuracy,
                "changed": 0,
                "synapses": stage.synapses,
            }
        )
    for row, (before, after) in zip(stages[1:], pairwise(answers), strict=True):
        row["changed"] = int((before != after).sum())

    say("simulated from the file")
    last = deployment.stages[-1].network
    work = _Work(table)
    agreement = compare(table, last, split, batch_size=batch_size, watch=work.add)  # pyright: ignore[reportArgumentType]
    stages.append(
        {
            "name": "simulated from the file",
            "accuracy": agreement.accuracy_table,
            "changed": agreement.predictions_differing,
            "synapses": sum(len(layer.synapses) for layer in table.layers),
        }
    )
    return {
        "samples": agreement.samples,
        "stages": stages,
        "agreement": {k: v for k, v in asdict(agreement).items() if k != "membrane_bits"},
        "membrane_bits": agreement.membrane_bits,
        "layers": _layers(table, chip, work),
    }, agreement


class _Work:
    """What the simulated samples asked of the table, per layer."""

    def __init__(self, table: DelayTable) -> None:
        self.table, self.samples = table, 0
        layers = len(table.layers)
        self.spikes, self.operations = np.zeros(layers), np.zeros(layers)
        self.in_flight_max, self.in_flight_sum = np.zeros(layers, np.int64), np.zeros(layers)

    def add(self, counts: NDArray[np.float32], simulation: Simulation) -> None:
        self.samples += 1
        self.spikes[:-1] += [int(spikes.sum()) for spikes in simulation.spikes]
        self.operations += synaptic_operations(self.table, counts, simulation)
        # Currents are no spikes, but each one that is not zero is an event.
        events = counts if np.all((counts >= 0) & (counts == np.rint(counts))) else counts != 0
        waiting = events_in_flight(self.table, events, simulation.spikes)
        self.in_flight_max = np.maximum(self.in_flight_max, [one.max for one in waiting])
        self.in_flight_sum += [one.mean for one in waiting]


def _layers(table: DelayTable, chip: ChipProfile | None, work: _Work) -> list[Report]:
    rows = []
    for index, (layer, cost) in enumerate(zip(table.layers, table_cost(table, chip), strict=True)):
        rows.append(
            {
                "neurons": layer.n_post,
                "synapses": cost.synapses,
                "pairs": cost.pairs,
                "delay_histogram": cost.delay_histogram.tolist(),
                "spikes_per_sample": (
                    work.spikes[index] / work.samples if layer.neuron.spiking else None
                ),
                "synaptic_operations_per_sample": work.operations[index] / work.samples,
                "events_in_flight_max": int(work.in_flight_max[index]),
                "events_in_flight_mean": work.in_flight_sum[index] / work.samples,
                "table_bytes": cost.table_bytes,
                "packed_bytes": cost.packed_bytes,
                "ring_slots": cost.ring_slots,
                "ring_bytes": cost.ring_bytes,
                "history_bytes": cost.history_bytes,
            }
        )
    return rows


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
        "shift_per_layer": adapted.shift,
        "transport_per_layer": adapted.transport,
        "rescaled_by": adapted.factor,
        "synapses": list(adapted.synapses),
        "clipped": list(adapted.clipped),
        "clipped_share": sum(adapted.clipped) / max(sum(adapted.synapses), 1),
        "joined": list(adapted.joined),
        "cancelled": list(adapted.cancelled),
        "beyond_native": list(adapted.beyond_native),
        "neurons": [layer.neuron.model for layer in table.layers],
        "not_checked": unknowns(chip),
        "not_simulated": not_simulated(table, chip),
    }
