"""Runs a delay table the way a chip would: event by event, step by step, NumPy only.

This is the second, independent implementation that the torch network is checked against. It
shares no code with it and knows nothing but the table: no convolution, no batch, no kernel;
a spike is put into the slot of the step at which it arrives, and waits there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.export.table import DelayTable, IntegerNeuronTable, LayerTable

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Simulation:
    """What a table did with one sample.

    Shape:
        potentials: float64 ``[T + tail, n_classes]``, v of the last layer.
        spikes: one bool ``[T + tail, n_post]`` per hidden layer.
    """

    potentials: Float64
    spikes: tuple[Bools, ...]


def simulate(table: DelayTable, counts: NDArray[np.generic]) -> Simulation:
    """Run one sample from rest; for many samples keep one ``Simulator``.

    Shape:
        counts: ``[T, input_channels]``, input spikes, or current, per step and channel.

    Raises:
        UsageError: counts of another shape, or not finite.
    """
    return Simulator(table).run(counts)


class Simulator:
    """A network in motion: ``step`` takes one step of input, ``run`` a whole sample.

    Raises:
        UsageError: input of another shape than the table's, or not finite.
    """

    def __init__(self, table: DelayTable) -> None:
        self.table = table
        self._layers = [_RunningLayer(layer) for layer in table.layers]

    def reset(self) -> None:
        """Back to rest: no spike on its way, every v at its v_reset."""
        for layer in self._layers:
            layer.reset()

    def step(self, counts: NDArray[np.generic]) -> tuple[tuple[Bools, ...], Float64]:
        """Advance by one step.

        Shape:
            counts ``[input_channels]`` → spikes of each hidden layer ``[n_post]`` and the last
            layer's potentials ``[n_classes]``.
        """
        _require_counts(counts, (self.table.input_channels,))
        return self._step(counts)

    def run(self, counts: NDArray[np.generic]) -> Simulation:
        """Run one sample from rest, followed by the table's tail of silence.

        Shape:
            counts: ``[T, input_channels]``, input spikes per step and channel.
        """
        _require_counts(counts, (*counts.shape[:1], self.table.input_channels))
        self.reset()
        steps = len(counts) + self.table.tail_steps
        potentials = np.zeros((steps, self.table.layers[-1].n_post))
        spikes = tuple(np.zeros((steps, layer.n_post), bool) for layer in self.table.layers[:-1])
        silence = np.zeros(self.table.input_channels)
        for t in range(steps):
            fired, potentials[t] = self._step(counts[t] if t < len(counts) else silence)
            for record, now in zip(spikes, fired, strict=True):
                record[t] = now
        return Simulation(potentials, spikes)

    def _step(self, counts: NDArray[np.generic]) -> tuple[tuple[Bools, ...], Float64]:
        # Layers in order: a spike with delay 0 reaches the next layer within the same step.
        fired: list[Bools] = []
        x = counts
        for layer in self._layers[:-1]:
            x = layer.step(x)
            fired.append(x)
        self._layers[-1].step(x)
        return tuple(fired), self._layers[-1].potentials


class _RunningLayer:
    """One layer's neurons, and a ring of the currents that are still to arrive."""

    def __init__(self, layer: LayerTable) -> None:
        rows = layer.synapses
        order = np.argsort(rows.pre, kind="stable")
        # The synapses of presynaptic neuron i are rows first[i] … first[i + 1] − 1.
        self._first = np.searchsorted(rows.pre[order], np.arange(layer.n_pre + 1))
        # Sized by the delays in use: max_delay may be a chip's limit, far above them.
        self._slots = int(rows.delay.max(initial=0)) + 1
        self._cell = rows.delay[order].astype(np.int64) * layer.n_post + rows.post[order]
        # Integer layers too: float64 holds whole numbers exactly up to 2^53.
        if isinstance(layer.neuron, IntegerNeuronTable):
            weight = rows.weight.astype(np.float64) * (1 << layer.neuron.weight_shift)
        else:
            weight = layer.current_weight.astype(np.float64)
        self._weight = weight[order]
        self._bias = layer.bias.astype(np.float64)
        self._neuron = layer.neuron
        self._threshold = layer.neuron.v_threshold.astype(np.float64)
        self._v_reset = layer.neuron.v_reset.astype(np.float64)
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
        current = self._bias + self._ring[self._now]
        self._ring[self._now] = 0
        self._now = (self._now + 1) % self._slots
        # v_reset is 0 for every reset but the hard one, so that one line serves all.
        self.v = self._v_reset + self._kept(self.v - self._v_reset) + current
        spikes = self.v >= self._threshold
        if self._neuron.reset == "hard":
            self.v[spikes] = self._v_reset[spikes]
        elif self._neuron.reset == "soft":
            self.v[spikes] -= self._threshold[spikes]
        return spikes

    def _kept(self, v: Float64) -> Float64:
        """What a step's leak leaves of v; integer neurons drop the fraction towards zero."""
        if isinstance(self._neuron, IntegerNeuronTable):
            product = np.abs(v).astype(np.int64) * self._neuron.decay
            return np.sign(v) * (product >> self._neuron.decay_shift).astype(np.float64)
        return self._neuron.beta.astype(np.float64) * v

    @property
    def potentials(self) -> Float64:
        """v in the network's own unit, which integer layers count in fractions of."""
        return self.v * self._unit

    def _send(self, x: NDArray[np.generic]) -> None:
        pre = np.flatnonzero(x)
        if not pre.size:
            return
        fan_out = self._first[pre + 1] - self._first[pre]
        ends = fan_out.cumsum()
        # The rows of all active pre, one range after the other.
        rows = np.repeat(self._first[pre + 1] - ends, fan_out) + np.arange(ends[-1])
        arriving = np.bincount(
            self._cell[rows],
            weights=self._weight[rows] * np.repeat(x[pre].astype(np.float64), fan_out),
            minlength=self._ring.size,
        ).reshape(self._ring.shape)
        # Row d of `arriving` belongs d slots ahead; past the end the ring begins again.
        ahead = self._slots - self._now
        self._ring[self._now :] += arriving[:ahead]
        self._ring[: self._now] += arriving[ahead:]


def scores(potentials: Float64, readout: str) -> Float64:
    """One score per class from the readout potentials of a whole sample, tail included.

    ``sum_softmax``: Σ_t softmax(v[t]); ``max``: max_t v[t]; ``mean``: mean over t.

    Shape:
        ``[T, n_classes]`` → ``[n_classes]``.

    Raises:
        UsageError: no step at all, or an unknown readout.
    """
    if not len(potentials):
        raise UsageError("scores: a sample needs at least 1 step (tail included), got 0.")
    if readout == "sum_softmax":
        exponential = np.exp(potentials - potentials.max(axis=1, keepdims=True))
        return (exponential / exponential.sum(axis=1, keepdims=True)).sum(axis=0)
    if readout == "max":
        return potentials.max(axis=0)
    if readout == "mean":
        return potentials.mean(axis=0)
    raise UsageError(f"scores: readout must be sum_softmax, max or mean; got {readout!r}.")


def predict(simulation: Simulation, readout: str) -> int:
    """Index of the class with the highest score; the first one of equals."""
    return int(scores(simulation.potentials, readout).argmax())


def _require_counts(counts: NDArray[np.generic], shape: tuple[int, ...]) -> None:
    if counts.shape != shape:
        raise UsageError(
            f"simulate: counts must be [T, input_channels] ([input_channels] in step), here "
            f"{shape[-1]} channels; got shape {counts.shape}."
        )
    if not np.all(np.isfinite(counts)):
        raise UsageError("simulate: counts must be finite, got NaN or infinity.")
