"""What a delay table costs: synapses, bytes and delay buffers.

How a chip holds a spike back decides what delays cost. Three designs, per projection:

- **ring of currents**: every target has a slot per step ahead, its size · (D + 1) slots as wide as
  v (SpiNNaker, lava, and this package's simulator);
- **spike history**: the last D + 1 steps of every source are kept, its size · (D + 1) bits, and
  each synapse looks its own step up;
- **events in flight**: a queue holds every synaptic event until it is due, so that its size
  follows the activity: ``events_in_flight`` counts them for a sample.

D is the longest delay in use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn_delays.table.chips.profile import ChipProfile
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection
from snn_delays.table.schema import arrays_of
from snn_delays.table.table import DelayTable

FLOAT_BITS = 32  # of v and its currents, where no integer width is known


@dataclass(frozen=True, eq=False)
class ProjectionCost:
    """What one projection costs.

    Args:
        pairs: (pre, post) pairs that are connected.
        delay_histogram: int64 ``[D + 1]``, synapses per delay.
        table_bytes: the table's arrays of it in memory.
        synapse_bits: weight, delay and target index of a synapse, packed; None where the width
            of the weights is not known (floating point).
        ring_slots: the target's size · (D + 1) currents.
        current_bits: width of one.
        history_bits: the source's size · (D + 1), for spikes that are there or not.
    """

    synapses: int
    pairs: int
    delay_histogram: NDArray[np.int64]
    table_bytes: int
    synapse_bits: int | None
    ring_slots: int
    current_bits: int
    history_bits: int

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


def table_cost(table: DelayTable, profile: ChipProfile | None = None) -> dict[str, ProjectionCost]:
    """Costs of each projection by name, at the widths of a chip if one is given."""
    return {one.name: _cost(table, one, profile) for one in table.projections}


def neuron_bytes(table: DelayTable) -> dict[str, int]:
    """The table's arrays of each population in memory, by name."""
    return {one.name: _nbytes(one) for one in table.populations}


def _nbytes(part: Population | Projection) -> int:
    return sum(array.nbytes for array in arrays_of(part).values())


def _cost(table: DelayTable, one: Projection, profile: ChipProfile | None) -> ProjectionCost:
    n_pre, n_post = table.size(one.source), table.size(one.target)
    pairs = np.unique(one.pre.astype(np.int64) * n_post + one.post)
    histogram = np.bincount(one.delay, minlength=1)
    # The chip's widths, else the table's own.
    weight_bits, current_bits = 8 * one.weight.itemsize if one.integer else None, FLOAT_BITS
    if profile is not None:
        weight_bits = profile.weights.bits or weight_bits
        current_bits = profile.membrane.bits or current_bits
    # Delays count from the shortest in use: TrueNorth's 1 … 15 take 4 bits.
    spread = int(one.delay.max() - one.delay.min()) if len(one) else 0
    place_bits = spread.bit_length() + (n_post - 1).bit_length()
    return ProjectionCost(
        synapses=len(one),
        pairs=len(pairs),
        delay_histogram=histogram,
        table_bytes=_nbytes(one),
        synapse_bits=None if weight_bits is None else weight_bits + place_bits,
        ring_slots=n_post * len(histogram),
        current_bits=current_bits,
        history_bits=n_pre * len(histogram),
    )
