"""How much a table had to do for one sample: what a chip's energy and its queues go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.projection import Projection
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
    sources = _sources("synaptic_operations", table, counts, simulation.spikes)
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


@dataclass(frozen=True)
class InFlight:
    """Synaptic events that wait at once, over the steps of a sample, tail included."""

    max: int
    mean: float


def events_in_flight(
    table: DelayTable, counts: NDArray[np.generic], spikes: Mapping[str, NDArray[np.bool_]]
) -> dict[str, InFlight]:
    """Most and mean events that wait at a time, for each projection, during one sample.

    A spike at step s puts one event per synapse under way, which waits during s ≤ t < s + delay;
    without a delay it never waits. An input count of n is n spikes.

    Shape:
        counts ``[T, input_channels]``; spikes ``[T + tail, size]`` by population, as in
        ``Simulation.spikes``.

    Raises:
        UsageError: other shapes, or counts that are no whole numbers >= 0.
    """
    sources = _sources("events_in_flight", table, counts, spikes)
    x = np.asarray(counts, np.float64)
    if not np.all((x >= 0) & (x == np.rint(x)) & (x < 2**31)):
        raise UsageError(
            "events_in_flight: counts must be whole numbers of spikes >= 0. For graded input give "
            "counts != 0: one event each."
        )
    sources[INPUT] = np.concatenate([x, np.zeros((table.tail_steps, x.shape[1]))])
    return {
        one.name: _in_flight(one, sources[one.source].astype(np.float64))
        for one in table.projections
    }


def _in_flight(one: Projection, x: NDArray[np.float64]) -> InFlight:
    if not len(x):
        return InFlight(0, 0.0)
    longest = int(one.delay.max(initial=0))
    # fan_out[pre, d]: synapses with delay d. float64 holds the counts exactly, and has a fast @.
    fan_out = np.zeros((x.shape[1], longest + 1))
    np.add.at(fan_out, (one.pre, one.delay), 1)
    starting = x @ fan_out  # [T + tail, d]: events that will wait d steps
    change = np.zeros(len(x) + longest)
    change[: len(x)] += starting.sum(axis=1)
    for delay in range(longest + 1):
        change[delay : delay + len(x)] -= starting[:, delay]
    waiting = np.rint(change[: len(x)].cumsum())
    return InFlight(int(waiting.max()), float(waiting.mean()))


def _sources(
    caller: str, table: DelayTable, counts: NDArray[np.generic], spikes: Mapping[str, NDArray]
) -> dict[str, NDArray]:
    """The input and all populations' spikes, if they are of one run of this table."""
    sources = {INPUT: counts, **spikes}
    shapes = {INPUT: (len(counts), table.input_channels)}
    steps = len(counts) + table.tail_steps
    shapes |= {one.name: (steps, one.size) for one in table.populations if one.spiking}
    got = {name: one.shape for name, one in sources.items()}
    if got != shapes:
        raise UsageError(
            f"{caller}: table, counts and spikes must belong together: they must have shapes "
            f"{shapes}, got {got}. Take both from one run of this table."
        )
    return sources
