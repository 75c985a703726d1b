"""Runs a delay table step by step in plain Python: the reference of ``events.py``.

Every neuron takes its model's step as the description says it; ``events.py`` does the same in
compiled loops and is tested against this, bit by bit. Neither shares code with the torch network.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from snn_delays.table.population import Population
from snn_delays.table.projection import Projection
from snn_delays.table.simulator import bounds
from snn_delays.table.simulator.simulation import Bools, Float64, Simulation
from snn_delays.table.table import INPUT, DelayTable


class ReferenceSimulator:
    """As ``Simulator``, without compiled loops and many times slower.

    Raises:
        UsageError: as ``Simulator``.
    """

    def __init__(self, table: DelayTable) -> None:
        self.table = table
        self._largest = bounds.largest_count(table)
        self.reset()

    def reset(self) -> None:
        """Back to rest: no spike on its way, every state where it begins."""
        self._neurons = {one.name: _Neurons(one) for one in self.table.populations}
        self._synapses = [_Synapses(self.table, one) for one in self.table.projections]

    def step(self, counts: NDArray[np.generic]) -> tuple[dict[str, Bools], Float64]:
        """As ``Simulator.step``."""
        x = bounds.as_counts(counts, (self.table.input_channels,))
        bounds.require_counts(self.table, x, self._largest)
        return self._step(x)

    def run(self, counts: NDArray[np.generic]) -> Simulation:
        """As ``Simulator.run``."""
        x = bounds.as_counts(counts, (*np.shape(counts)[:1], self.table.input_channels))
        bounds.require_counts(self.table, x, self._largest)
        self.reset()
        x = np.concatenate([x, np.zeros((self.table.tail_steps, self.table.input_channels))])
        potentials = np.zeros((len(x), self.table.output.size))
        spiking = [one for one in self.table.populations if one.spiking]
        spikes = {one.name: np.zeros((len(x), one.size), bool) for one in spiking}
        for t, now in enumerate(x):
            fired, potentials[t] = self._step(now)
            for name in spikes:
                spikes[name][t] = fired[name]
        return Simulation(potentials, spikes)

    def _step(self, x: Float64) -> tuple[dict[str, Bools], Float64]:
        fired: dict[str, Bools] = {}
        self._send(INPUT, x)
        for population in self.table.populations:
            current = population.bias.astype(np.float64)
            for synapses in self._synapses:
                if synapses.projection.target == population.name:
                    current = current + synapses.arriving()
            spikes = self._neurons[population.name].step(current)
            self._send(population.name, spikes)
            if population.spiking:
                fired[population.name] = spikes
        output = self.table.output
        return fired, self._neurons[output.name].state[0] * self.table.unit(output)

    def _send(self, source: str, x: NDArray[np.generic]) -> None:
        for synapses in self._synapses:
            if synapses.projection.source == source:
                synapses.send(x)


class _Neurons:
    """A population and its state."""

    def __init__(self, population: Population) -> None:
        self.population = population
        parameters, rest, scalars = population.step_values()
        # Per neuron, what its step takes after the current.
        self.constants = [(*one, *scalars) for one in parameters.astype(np.float64).T]
        self.state = rest.astype(np.float64)

    def step(self, current: Float64) -> Bools:
        """One step of every neuron: currents ``[size]`` → spikes ``[size]``."""
        spikes = np.zeros(self.population.size, bool)
        for n, constants in enumerate(self.constants):
            *now, spikes[n] = self.population.model.step(*self.state[:, n], current[n], *constants)
            self.state[:, n] = now
        if self.population.integer and np.any(np.abs(self.state) > bounds.STATE):
            raise bounds.out_of_range(self.population.name)
        return spikes


class _Synapses:
    """A projection, and the sums of weights that are still to arrive: by step, then post."""

    def __init__(self, table: DelayTable, projection: Projection) -> None:
        self.projection, target = projection, table[projection.target]
        shift = target.scalars["weight_shift"] if target.integer else 0
        self.scale = float(1 << shift) if target.integer else projection.weight_scale
        # A target that has taken its step already waits for the next one.
        self.passed = int(table.leads_back(projection))
        self.waiting: dict[int, Float64] = defaultdict(lambda: np.zeros(target.size))
        self.now = 0

    def send(self, x: NDArray[np.generic]) -> None:
        """What the source sends in this step ``[pre]``, pre by pre, then by delay and post."""
        one = self.projection
        rows = np.flatnonzero(x[one.pre])
        for row in rows[np.lexsort((one.post[rows], one.delay[rows], one.pre[rows]))]:
            due = self.now - self.passed + int(one.delay[row])
            self.waiting[due][one.post[row]] += float(one.weight[row]) * float(x[one.pre[row]])

    def arriving(self) -> Float64:
        """The current of this step ``[post]``; the next one is then to come."""
        arrived = self.scale * self.waiting[self.now]
        del self.waiting[self.now]
        self.now += 1
        return arrived
