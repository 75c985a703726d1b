"""Runs a delay table the way a chip would: event by event, step by step, in compiled loops.

This is the second, independent implementation that the torch network is checked against. It
shares no code with it and knows nothing but the table: no convolution, no batch, no kernel;
a spike is put into the slot of the step at which it arrives, and waits there.

Whole numbers (integer layers) are exact. Float layers compute in float64 in this order, so that
``step``, ``advance`` and ``run`` agree to the last bit: what arrives at one neuron in one step is
added up by the step it was sent at, oldest first, then by pre, then in the table's order:

    I = bias + weight_scale · ((w₁·x₁ + w₂·x₂) + …)
    v ← (v_reset + beta · (v − v_reset)) + I
"""

from __future__ import annotations

from itertools import pairwise
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.neuron_table import IntegerNeuronTable
from snn_delays.table.simulator import bounds
from snn_delays.table.simulator.simulation import Bools, Float64, Simulation, predict, scores
from snn_delays.table.table import DelayTable, LayerTable

loops: ModuleType | None
try:
    from snn_delays.table.simulator import events_cpu as loops
except ImportError:  # numba
    loops = None

__all__ = ["Simulation", "Simulator", "predict", "scores", "simulate"]


def simulate(table: DelayTable, counts: NDArray[np.generic]) -> Simulation:
    """Run one sample from rest; for many samples keep one ``Simulator``.

    Shape:
        counts: ``[T, input_channels]``, input spikes, or current, per step and channel.

    Raises:
        UsageError: as ``Simulator``.
    """
    return Simulator(table).run(counts)


class Simulator:
    """A network in motion: ``step`` takes one step of input, ``run`` a whole sample.

    Its first use ever compiles for a few seconds, which is kept on disk.

    Raises:
        UsageError: no table; input of another shape than the table's, or not finite; for integer
            layers input that is not whole numbers, or currents and membranes beyond ±2^53. Or
            numba is not installed.
    """

    def __init__(self, table: DelayTable) -> None:
        if loops is None:
            raise UsageError(
                "Simulator needs numba: pip install numba. Without it "
                "snn_delays.table.simulator.reference.NumpySimulator does the same, slowly."
            )
        if not isinstance(table, DelayTable):
            raise UsageError(
                f"Simulator takes a DelayTable, got {type(table).__name__}. read_table(path) gives "
                "one."
            )
        self.table = table
        self._largest = float(bounds.largest_counts(table))
        self._packed = _Packed(table, loops)
        self._advance, self._check = loops.advance, loops.check
        sizes = [layer.n_post for layer in table.layers]
        self._classes, self._hidden = sizes[-1], sum(sizes[:-1])
        self._parts = list(pairwise(np.cumsum([0, *sizes[:-1]]).tolist()))

    def reset(self) -> None:
        """Back to rest: no spike on its way, every v at its v_reset."""
        self._packed.reset()

    def step(self, counts: NDArray[np.generic]) -> tuple[tuple[Bools, ...], Float64]:
        """Advance by one step.

        Shape:
            counts ``[input_channels]`` → spikes of each hidden layer ``[n_post]`` and the last
            layer's potentials ``[n_classes]``.
        """
        x = bounds.as_counts(counts, (self.table.input_channels,))
        potentials, fired = self._go(x.reshape(1, -1), 1)
        now = fired[0]
        return tuple([now[begin:end] for begin, end in self._parts]), potentials[0]

    def advance(self, counts: NDArray[np.generic]) -> Simulation:
        """Advance by some steps, from where the network is and without a tail of silence.

        Shape:
            counts: ``[T, input_channels]``; the result has T steps.
        """
        return self._simulation(counts, 0)

    def run(self, counts: NDArray[np.generic]) -> Simulation:
        """Run one sample from rest, followed by the table's tail of silence.

        Shape:
            counts: ``[T, input_channels]``, input spikes per step and channel.
        """
        self.reset()
        return self._simulation(counts, self.table.tail_steps)

    def _simulation(self, counts: NDArray[np.generic], tail: int) -> Simulation:
        x = bounds.as_counts(counts, (*counts.shape[:1], self.table.input_channels))
        potentials, fired = self._go(x, len(x) + tail)
        # Each layer in memory of its own, as a chip's recording of one population would be.
        return Simulation(
            potentials, tuple(np.ascontiguousarray(fired[:, a:b]) for a, b in self._parts)
        )

    def _go(self, x: Float64, steps: int) -> tuple[Float64, Bools]:
        code, t, channel = self._check(x, self._largest)
        if code:
            raise self._wrong(code, float(x[t, channel]))
        potentials = np.empty((steps, self._classes))
        fired = np.zeros((steps, self._hidden), np.bool_)
        left = self._advance(potentials, fired, x, *self._packed.arrays)
        if left >= 0:
            raise bounds.out_of_range(left)
        return potentials, fired

    def _wrong(self, code: int, got: float) -> UsageError:
        assert loops is not None
        if code == loops.NOT_FINITE:
            return bounds.not_finite()
        if code == loops.NOT_WHOLE:
            return bounds.not_whole(self.table, got)
        return bounds.too_large(got, self._largest)


class _Packed:
    """A table and its state as the flat arrays of ``events_cpu.advance``.

    Synapses are sorted by pre, then delay, then post: what one spike sends is read in one stretch,
    8 bytes a synapse, and written in the order in which it arrives.
    """

    def __init__(self, table: DelayTable, loops: ModuleType) -> None:
        plan = np.zeros((len(table.layers), loops.COLUMNS), np.int64)
        synapses, constants, firsts = [], [], []
        first = neurons = window = stored = 0
        for row, layer in zip(plan, table.layers, strict=True):
            rows = layer.synapses
            slots = int(rows.delay.max(initial=0)) + 1
            if slots * layer.n_post > np.iinfo(np.uint32).max:
                raise UsageError(
                    f"simulate: layer {layer.target}: delays up to {slots - 1} steps into "
                    f"{layer.n_post} neurons need too much memory. Use a longer time step."
                )
            row[loops.N_POST], row[loops.SLOTS] = layer.n_post, slots
            row[loops.FIRST], row[loops.NEURONS], row[loops.WINDOW] = first, neurons, window
            row[loops.RESET] = {"none": loops.NONE, "hard": loops.HARD, "soft": loops.SOFT}[
                layer.neuron.reset
            ]
            neuron = layer.neuron
            row[loops.DECAY_SHIFT] = (
                neuron.decay_shift if isinstance(neuron, IntegerNeuronTable) else -1
            )
            order = np.lexsort((rows.post, rows.delay, rows.pre))
            firsts.append(stored + np.searchsorted(rows.pre[order], np.arange(layer.n_pre + 1)))
            cell = rows.delay[order].astype(np.int64) * layer.n_post + rows.post[order]
            # int8, int16 and float32 are all exact in float32.
            synapses.append((cell.astype(np.uint32), rows.weight[order].astype(np.float32)))
            constants.append(_constants(layer))
            first += layer.n_pre + 1
            neurons += layer.n_post
            window += 2 * slots * layer.n_post
            stored += len(rows)
        self._v_reset = np.concatenate(constants, axis=1)[loops.V_RESET].copy()
        self._v = self._v_reset.copy()
        self._window = np.zeros(window)
        self._now = np.zeros(len(plan), np.int64)
        room = max(table.input_channels, *(layer.n_post for layer in table.layers))
        self.arrays = (
            table.layers[-1].unit,
            plan,
            np.array([_scale(layer) for layer in table.layers]),
            np.concatenate(firsts),
            *(np.concatenate(column) for column in zip(*synapses, strict=True)),
            np.concatenate(constants, axis=1),
            self._v,
            self._window,
            self._now,
            np.zeros(room, np.int64),
            np.zeros(room),
        )

    def reset(self) -> None:
        self._v[:] = self._v_reset
        self._window[:] = 0
        self._now[:] = 0


def _scale(layer: LayerTable) -> float:
    """What the sum of weights of a step is multiplied by."""
    if isinstance(layer.neuron, IntegerNeuronTable):
        return float(1 << layer.neuron.weight_shift)
    return layer.weight_scale


def _constants(layer: LayerTable) -> Float64:
    """float64 ``[4, n_post]``: bias, decay, threshold and v_reset, as the loops want them."""
    neuron = layer.neuron
    decay = neuron.decay if isinstance(neuron, IntegerNeuronTable) else neuron.beta
    return np.array([layer.bias, decay, neuron.v_threshold, neuron.v_reset], np.float64)
