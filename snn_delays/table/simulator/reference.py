"""Runs a delay table the way a chip would, step by step, in NumPy: the reference.

``events.py`` does the same with compiled loops and is tested against this, bit by bit. Neither
shares code with the torch network, and neither knows anything but the table: no convolution, no
batch, no kernel; a spike is put into the slot of the step at which it arrives, and waits there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snn_delays.table.neuron_table import IntegerNeuronTable
from snn_delays.table.simulator import bounds
from snn_delays.table.simulator.simulation import Bools, Float64, Simulation
from snn_delays.table.table import DelayTable, LayerTable


class NumpySimulator:
    """As ``Simulator``, without numba and many times slower.

    Raises:
        UsageError: as ``Simulator``.
    """

    def __init__(self, table: DelayTable) -> None:
        self.table = table
        self._largest = bounds.largest_counts(table)
        self._layers = [_RunningLayer(layer) for layer in table.layers]

    def reset(self) -> None:
        """Back to rest: no spike on its way, every v at its v_reset."""
        for layer in self._layers:
            layer.reset()

    def step(self, counts: NDArray[np.generic]) -> tuple[tuple[Bools, ...], Float64]:
        """As ``Simulator.step``."""
        return self._step(self._checked(counts, (self.table.input_channels,)))

    def run(self, counts: NDArray[np.generic]) -> Simulation:
        """As ``Simulator.run``."""
        x = self._checked(counts, (*counts.shape[:1], self.table.input_channels))
        self.reset()
        steps = len(x) + self.table.tail_steps
        potentials = np.zeros((steps, self.table.layers[-1].n_post))
        spikes = tuple(np.zeros((steps, layer.n_post), bool) for layer in self.table.layers[:-1])
        silence = np.zeros(self.table.input_channels)
        for t in range(steps):
            fired, potentials[t] = self._step(x[t] if t < len(x) else silence)
            for record, now in zip(spikes, fired, strict=True):
                record[t] = now
        return Simulation(potentials, spikes)

    def _checked(self, counts: NDArray[np.generic], shape: tuple[int, ...]) -> Float64:
        x = bounds.as_counts(counts, shape)
        if not np.all(np.isfinite(x)):
            raise bounds.not_finite()
        if self.table.layers[0].integer:
            if (odd := x[x != np.rint(x)]).size:
                raise bounds.not_whole(self.table, odd[0])
            if (large := x[np.abs(x) > self._largest]).size:
                raise bounds.too_large(large[0], self._largest)
        return x

    def _step(self, counts: Float64) -> tuple[tuple[Bools, ...], Float64]:
        # Layers in order: a spike with delay 0 reaches the next layer within the same step.
        fired: list[Bools] = []
        x: NDArray[np.generic] = counts
        for layer in self._layers[:-1]:
            x = layer.step(x)
            fired.append(x)
        self._layers[-1].step(x)
        return tuple(fired), self._layers[-1].potentials


class _RunningLayer:
    """One layer's neurons, and a ring of the weights that are still to arrive."""

    def __init__(self, layer: LayerTable) -> None:
        rows = layer.synapses
        order = np.lexsort((rows.post, rows.delay, rows.pre))  # by pre, then delay, then post
        # The synapses of presynaptic neuron i are rows first[i] … first[i + 1] − 1.
        self._first = np.searchsorted(rows.pre[order], np.arange(layer.n_pre + 1))
        # Sized by the delays in use: max_delay may be a chip's limit, far above them.
        self._slots = int(rows.delay.max(initial=0)) + 1
        self._cell = rows.delay[order].astype(np.int64) * layer.n_post + rows.post[order]
        self._weight = rows.weight[order].astype(np.float64)
        neuron = layer.neuron
        if isinstance(neuron, IntegerNeuronTable):
            self._scale = float(1 << neuron.weight_shift)
        else:
            self._scale = layer.weight_scale
        self._bias = layer.bias.astype(np.float64)
        self._neuron, self._index = neuron, layer.target
        self._threshold = neuron.v_threshold.astype(np.float64)
        self._v_reset = neuron.v_reset.astype(np.float64)
        self._unit = layer.unit
        self._ring = np.zeros((self._slots, layer.n_post))
        self.reset()

    def reset(self) -> None:
        self._now = 0  # the slot whose currents arrive at the coming step
        self._ring[:] = 0
        self.v = self._v_reset.copy()

    def step(self, x: NDArray[np.generic]) -> Bools:
        """Take what the source sends at this step ``[n_pre]``, return the spikes ``[n_post]``."""
        self._send(x)
        current = self._bias + self._scale * self._ring[self._now]
        self._ring[self._now] = 0
        self._now = (self._now + 1) % self._slots
        # v_reset is 0 for every reset but the hard one, so that one line serves all.
        self.v = self._v_reset + self._kept(self.v - self._v_reset) + current
        integer = isinstance(self._neuron, IntegerNeuronTable)
        if integer and np.any(np.abs(self.v) > bounds.MEMBRANE):
            raise bounds.out_of_range(self._index)
        if not self._neuron.spiking:
            return np.zeros(len(self.v), bool)
        spikes = self.v >= self._threshold
        if self._neuron.reset == "hard":
            self.v[spikes] = self._v_reset[spikes]
        else:
            self.v[spikes] -= self._threshold[spikes]
        return spikes

    def _kept(self, v: Float64) -> Float64:
        """What a step's leak leaves of v; integer neurons drop the fraction towards zero."""
        if isinstance(self._neuron, IntegerNeuronTable):
            # Python's own integers: the product may have more bits than int64.
            magnitude = np.abs(v).astype(np.int64).astype(object)
            product = magnitude * self._neuron.decay.astype(object)
            return np.sign(v) * (product >> self._neuron.decay_shift).astype(np.float64)
        return self._neuron.beta.astype(np.float64) * v

    @property
    def potentials(self) -> Float64:
        """v in the network's own unit, which integer layers count in fractions of."""
        return self.v * self._unit

    def _send(self, x: NDArray[np.generic]) -> None:
        """Put weight · x into the ring, pre by pre, each one's rows by delay, then post."""
        for pre in np.flatnonzero(x):
            rows = slice(self._first[pre], self._first[pre + 1])
            cells = (self._now * self._neuron.v_reset.size + self._cell[rows]) % self._ring.size
            # Unbuffered and in order: rows that name the same cell add up one after the other.
            np.add.at(self._ring.reshape(-1), cells, self._weight[rows] * float(x[pre]))
