"""What a delay table costs: synapses, bytes, delay buffers, and events under way.

How a chip holds a spike back decides what delays cost. Three designs, per layer:

- **ring of currents**: every neuron has a slot per step ahead, n_post · (D + 1) slots as wide as v
  (SpiNNaker, lava, and this package's simulator);
- **spike history**: the last D + 1 steps of every source are kept, n_pre · (D + 1) bits, and each
  synapse looks its own step up;
- **events in flight**: a queue holds every synaptic event until it is due, so that its size
  follows the activity: ``events_in_flight`` counts them for a sample.

D is the longest delay in use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.chips.profile import ChipProfile
from snn_delays.table.table import DelayTable, LayerTable

FLOAT_BITS = 32  # of v and its currents, where no integer width is known


@dataclass(frozen=True, eq=False)
class LayerCost:
    """What one layer costs.

    Args:
        pairs: (pre, post) pairs that are connected.
        contacts_max: most synapses of one pair.
        delay_histogram: int64 ``[D + 1]``, synapses per delay.
        table_bytes: the arrays of the table in memory: synapses, bias and neurons.
        synapse_bits: weight, delay and target index of a synapse, packed; None where the width
            of the weights is not known (floating point).
        ring_slots: n_post · (D + 1) currents.
        current_bits: width of one.
        history_bits: n_pre · (D + 1), for spikes that are there or not.
    """

    synapses: int
    pairs: int
    contacts_max: int
    delay_histogram: NDArray[np.int64]
    table_bytes: int
    synapse_bits: int | None
    ring_slots: int
    current_bits: int
    history_bits: int

    @property
    def contacts_mean(self) -> float:
        """Synapses per connected pair."""
        return self.synapses / max(self.pairs, 1)

    @property
    def packed_bytes(self) -> int | None:
        """All synapses at ``synapse_bits`` each, sorted by source."""
        return None if self.synapse_bits is None else -(-self.synapses * self.synapse_bits // 8)

    @property
    def ring_bytes(self) -> int:
        return -(-self.ring_slots * self.current_bits // 8)

    @property
    def history_bytes(self) -> int:
        return -(-self.history_bits // 8)


@dataclass(frozen=True)
class InFlight:
    """Synaptic events that wait at once, over the steps of a sample, tail included."""

    max: int
    mean: float


def table_cost(table: DelayTable, profile: ChipProfile | None = None) -> tuple[LayerCost, ...]:
    """Costs per layer, at the widths of a chip if one is given."""
    return tuple(_layer_cost(layer, profile) for layer in table.layers)


def _layer_cost(layer: LayerTable, profile: ChipProfile | None) -> LayerCost:
    rows, neuron = layer.synapses, layer.neuron
    pairs, contacts = np.unique(
        rows.pre.astype(np.int64) * layer.n_post + rows.post, return_counts=True
    )
    histogram = np.bincount(rows.delay, minlength=1)
    weight_bits, current_bits = _widths(layer, profile)
    # Delays count from the shortest in use: TrueNorth's 1 … 15 take 4 bits.
    spread = int(rows.delay.max() - rows.delay.min()) if len(rows) else 0
    return LayerCost(
        synapses=len(rows),
        pairs=len(pairs),
        contacts_max=int(contacts.max(initial=0)),
        delay_histogram=histogram,
        table_bytes=sum(
            array.nbytes
            for held in (rows, neuron, layer)
            for array in vars(held).values()
            if isinstance(array, np.ndarray)
        ),
        synapse_bits=None
        if weight_bits is None
        else weight_bits + spread.bit_length() + (layer.n_post - 1).bit_length(),
        ring_slots=layer.n_post * len(histogram),
        current_bits=current_bits,
        history_bits=layer.n_pre * len(histogram),
    )


def _widths(layer: LayerTable, profile: ChipProfile | None) -> tuple[int | None, int]:
    """Bits of a weight, and of a current: the chip's, else the table's own."""
    weight = layer.synapses.weight.dtype
    own = None if weight == np.float32 else 8 * weight.itemsize
    if profile is None:
        return own, FLOAT_BITS
    return profile.weights.bits or own, profile.membrane.bits or FLOAT_BITS


def events_in_flight(
    table: DelayTable, counts: NDArray[np.generic], spikes: tuple[NDArray[np.bool_], ...]
) -> tuple[InFlight, ...]:
    """Most and mean events that wait at a time, for each layer, during one sample.

    A spike at step s puts one event per synapse under way, which waits during s ≤ t < s + delay;
    without a delay it never waits. An input count of n is n spikes.

    Shape:
        counts ``[T, input_channels]``; spikes: ``[T + tail, n_post]`` per hidden layer, as in
        ``Simulation.spikes``.

    Raises:
        UsageError: other shapes, or counts that are no whole numbers >= 0.
    """
    steps = len(counts) + table.tail_steps
    shapes = [(len(counts), table.input_channels)]
    shapes += [(steps, layer.n_post) for layer in table.layers[:-1]]
    got = [counts.shape, *(one.shape for one in spikes)]
    if got != shapes:
        raise UsageError(
            f"events_in_flight: counts and spikes must have shapes {shapes}, got {got}. "
            "Take both from one run of this table."
        )
    whole = np.asarray(counts, np.float64)
    if not np.all((whole >= 0) & (whole == np.rint(whole)) & (whole < 2**31)):
        raise UsageError(
            "events_in_flight: counts must be whole numbers of spikes >= 0. For graded input give "
            "counts != 0: one event each."
        )
    padded = np.zeros((steps, table.input_channels))
    padded[: len(counts)] = whole
    sources = (padded, *(one.astype(np.float64) for one in spikes))
    return tuple(_in_flight(layer, x) for layer, x in zip(table.layers, sources, strict=True))


def _in_flight(layer: LayerTable, x: NDArray[np.float64]) -> InFlight:
    if not len(x):
        return InFlight(0, 0.0)
    rows = layer.synapses
    longest = int(rows.delay.max(initial=0))
    # fan_out[pre, d]: synapses with delay d. float64 holds the counts exactly, and has a fast @.
    fan_out = np.bincount(
        rows.pre.astype(np.int64) * (longest + 1) + rows.delay,
        minlength=layer.n_pre * (longest + 1),
    ).reshape(layer.n_pre, longest + 1)
    starting = x @ fan_out.astype(np.float64)  # [T + tail, d]: events that will wait d steps
    change = np.zeros(len(x) + longest)
    change[: len(x)] += starting.sum(axis=1)
    for delay in range(longest + 1):
        change[delay : delay + len(x)] -= starting[:, delay]
    waiting = np.rint(change[: len(x)].cumsum())
    return InFlight(int(waiting.max()), float(waiting.mean()))
