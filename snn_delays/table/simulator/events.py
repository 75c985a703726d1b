"""Runs a delay table the way a chip would: event by event, step by step, in compiled loops.

This is the second, independent implementation that the torch network is checked against. It
shares no code with it and knows nothing but the table: no convolution, no batch, no kernel;
a spike is put into the slot of the step at which it arrives, and waits there.

Whole numbers are exact. Float models compute in float64 in this order, so that ``step``,
``advance`` and ``run`` agree to the last bit: what arrives at one neuron in one step through one
projection is added up by the step it was sent at, oldest first, then by pre, then in the table's
order, and projections in the table's order:

    I = bias + weight_scale · ((w₁·x₁ + w₂·x₂) + …) + …
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.simulator import bounds
from snn_delays.table.simulator.simulation import Bools, Float64, Simulation
from snn_delays.table.table import DelayTable

loops: Any
try:
    from snn_delays.table.simulator import events_cpu as loops
except ImportError:  # numba
    loops = None


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
        UsageError: no table; input of another shape than the table's, or not finite; for models in
            whole numbers input that is not whole numbers, or currents and states beyond ±2^53. Or
            numba is not installed.
    """

    def __init__(self, table: DelayTable) -> None:
        if loops is None:
            raise UsageError(
                "Simulator needs numba: pip install numba. Without it "
                "snn_delays.table.simulator.reference.ReferenceSimulator does the same, slowly."
            )
        if not isinstance(table, DelayTable):
            raise UsageError(
                f"Simulator takes a DelayTable, got {type(table).__name__}. read_table(path) gives "
                "one."
            )
        self.table = table
        self._largest = bounds.largest_count(table)
        self._packed = loops.pack(table)
        self._rest = self._packed.state.copy()
        ends = np.cumsum([one.size for one in table.populations])
        self._neurons = int(ends[-1])
        self._spiking = {
            one.name: slice(int(end) - one.size, int(end))
            for one, end in zip(table.populations, ends, strict=True)
            if one.spiking
        }

    def reset(self) -> None:
        """Back to rest: no spike on its way, every state where it begins."""
        self._packed.state[:] = self._rest
        self._packed.window[:] = 0
        self._packed.now[:] = 0

    def step(self, counts: NDArray[np.generic]) -> tuple[dict[str, Bools], Float64]:
        """Advance by one step.

        Shape:
            counts ``[input_channels]`` → spikes ``[size]`` of each population that spikes, by name,
            and the output's potentials ``[n_classes]``.
        """
        x = bounds.as_counts(counts, (self.table.input_channels,))
        potentials, fired = self._go(x.reshape(1, -1), 1)
        now = fired[0]
        return {name: now[part] for name, part in self._spiking.items()}, potentials[0]

    def advance(self, counts: NDArray[np.generic], tail: int = 0) -> Simulation:
        """Advance by some steps, from where the network is.

        Args:
            tail: steps of silence that follow.

        Shape:
            counts: ``[T, input_channels]``; the result has T + tail steps.
        """
        x = bounds.as_counts(counts, (*np.shape(counts)[:1], self.table.input_channels))
        potentials, fired = self._go(x, len(x) + tail)
        # Each population in memory of its own, as a chip's recording of it would be.
        return Simulation(
            potentials,
            {name: np.ascontiguousarray(fired[:, part]) for name, part in self._spiking.items()},
        )

    def run(self, counts: NDArray[np.generic]) -> Simulation:
        """Run one sample from rest, followed by the table's tail of silence.

        Shape:
            counts: ``[T, input_channels]``, input spikes per step and channel.
        """
        self.reset()
        return self.advance(counts, self.table.tail_steps)

    def _go(self, x: Float64, steps: int) -> tuple[Float64, Bools]:
        if not loops.check_counts(x, self._largest):
            bounds.require_counts(self.table, x, self._largest)
        potentials = np.empty((steps, self.table.output.size))
        fired = np.zeros((steps, self._neurons), np.bool_)
        left = loops.advance(potentials, fired, x, *self._packed)
        if left >= 0:
            raise bounds.out_of_range(self.table.populations[left].name)
        return potentials, fired
