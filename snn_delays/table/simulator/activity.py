"""How much a table had to do for one sample: the number that a chip's energy goes by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.simulator.simulation import Simulation
from snn_delays.table.table import INPUT, DelayTable


def synaptic_operations(
    table: DelayTable, counts: NDArray[np.generic], simulation: Simulation
) -> dict[str, int]:
    """Events times fan-out, by projection: every synapse that a spike is sent into.

        operations = Σ_t Σ_pre  events[t, pre] · (synapses of the projection from pre)

    An input of 3 spikes in a step is 3 events. Where the input is not whole numbers (currents),
    each one that is not zero is one event: it takes one multiplication per synapse. Spikes whose
    delay leads beyond the end of the sample count: they have been sent.

    Shape:
        counts ``[T, input_channels]``, what ``simulation`` was run on.

    Raises:
        UsageError: counts or a simulation of another size than the table's.
    """
    sources = {INPUT: counts, **simulation.spikes}
    sizes = {name: source.shape[1:] for name, source in sources.items()}
    expected = {INPUT: (table.input_channels,)}
    expected |= {one.name: (one.size,) for one in table.populations if one.spiking}
    if sizes != expected:
        raise UsageError(
            f"synaptic_operations: table, counts and simulation must belong together: expected "
            f"sources of shape {expected} per step, got {sizes}."
        )
    sent = {name: input_events(source) for name, source in sources.items()}
    return {
        one.name: int(np.bincount(one.pre, minlength=len(sent[one.source])) @ sent[one.source])
        for one in table.projections
    }


def input_events(counts: NDArray[np.generic]) -> NDArray[np.int64]:
    """How many events each channel or neuron sent: ``[T, C]`` → ``[C]``."""
    x = counts.astype(np.float64)
    if np.any(x != np.rint(x)):
        return np.count_nonzero(x, axis=0).astype(np.int64)
    return np.abs(x).sum(axis=0).astype(np.int64)
