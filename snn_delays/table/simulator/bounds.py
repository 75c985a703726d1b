"""What a simulator may be fed: shapes, finite numbers, and whole ones that float64 holds exactly.

Both simulators keep whole numbers in float64, which is exact up to ±2^53. A current cannot leave
that range with inputs up to ``largest_count``; states are watched as they move, since how far they
go depends on the input.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snn_delays.errors import UsageError
from snn_delays.table.population import Population
from snn_delays.table.table import INPUT, DelayTable

EXACT = 1 << 53
# Short of that by what two int32 may add, so that a sum which is not exact cannot come back into
# the range.
STATE = EXACT - (1 << 33)

Float64 = NDArray[np.float64]


def as_counts(counts: ArrayLike, shape: tuple[int, ...]) -> Float64:
    """The input as float64 in memory of its own."""
    counts = np.asarray(counts)
    if counts.shape != shape:
        raise UsageError(
            f"simulate: counts must be [T, input_channels] ([input_channels] in step), here "
            f"{shape[-1]} channels; got shape {counts.shape}."
        )
    if counts.dtype.kind not in "buif":
        raise UsageError(f"simulate: counts must be numbers, got an array of {counts.dtype}.")
    return np.array(counts, np.float64, order="C")


def largest_count(table: DelayTable) -> float:
    """The largest |input| with which the currents of whole-number populations stay exact.

    Infinity where none of them is sent the input.
    """
    largest = float("inf")
    for population in table.populations:
        if not population.integer:
            continue
        # Every synapse of a neuron at once is the most that can arrive in one step.
        own, per_count = np.zeros((2, population.size), np.int64)
        for one in table.into(population.name):
            into = per_count if one.source == INPUT else own
            np.add.at(into, one.post, np.abs(one.weight.astype(np.int64)))
        shift = population.scalars["weight_shift"]
        spare = EXACT - np.abs(population.bias.astype(np.int64)) - (own << shift)
        if np.any(spare < per_count << shift):
            raise UsageError(
                f"simulate: population {population.name}: a current may leave ±2^53, beyond which "
                "whole numbers are not exact. Use a smaller weight_shift or fewer synapses a "
                "neuron."
            )
        if takes_input(table, population):
            per_count = np.maximum(per_count << shift, 1)
            largest = min(largest, float((spare // per_count).min()))
    return largest


def require_counts(table: DelayTable, x: Float64, largest: float) -> None:
    """Refuse an input that the table does not take; ``largest`` is ``largest_count``."""
    if not np.all(np.isfinite(x)):
        raise UsageError("simulate: counts must be finite, got NaN or infinity.")
    whole = [one for one in table.populations if one.integer and takes_input(table, one)]
    if not whole:
        return
    if (odd := x[x != np.rint(x)]).size:
        raise UsageError(
            f"simulate: counts must be whole numbers for {whole[0].model.name} neurons, got "
            f"{odd[0]:g}. Feed spike counts, or use a table with float neurons."
        )
    if (large := x[np.abs(x) > largest]).size:
        raise UsageError(
            f"simulate: counts must be within ±{largest:g}, so that no current of "
            f"{whole[0].name} can leave ±2^53, got {large[0]:g}."
        )


def takes_input(table: DelayTable, population: Population) -> bool:
    """Whether the input leads into a population."""
    return any(one.source == INPUT for one in table.into(population.name))


def out_of_range(population: str) -> UsageError:
    return UsageError(
        f"simulate: population {population}: its state left ±2^53, beyond which whole numbers are "
        "not exact. Use a leak, a smaller weight_shift or smaller counts; reset() before going on."
    )
