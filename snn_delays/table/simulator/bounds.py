"""What a simulator may be fed: shapes, finite numbers, and whole ones that float64 holds exactly.

Both simulators keep the whole numbers of integer layers in float64, which is exact up to ±2^53. A
current cannot leave that range with inputs up to ``largest_count``; membranes are watched as they
move, since how far they go depends on the input.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.neuron_table import IntegerNeuronTable
from snn_delays.table.table import DelayTable, LayerTable

EXACT = 1 << 53
# Short of that by twice an int32, so that v − v_reset is exact too, and a sum that is not cannot
# round back into the range.
MEMBRANE = EXACT - (1 << 32)


def as_counts(counts: NDArray[np.generic], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The input as float64 in memory of its own.

    Raises:
        UsageError: another shape than expected, or not numbers.
    """
    if counts.shape != shape:
        raise UsageError(
            f"simulate: counts must be [T, input_channels] ([input_channels] in step), here "
            f"{shape[-1]} channels; got shape {counts.shape}."
        )
    if counts.dtype.kind not in "buif":
        raise UsageError(f"simulate: counts must be numbers, got an array of {counts.dtype}.")
    return np.array(counts, np.float64, order="C")


def largest_counts(table: DelayTable) -> float:
    """The largest |input| with which the currents of integer layers are sure to stay exact.

    Infinity where layer 0 is not an integer layer.

    Raises:
        UsageError: a layer for whose currents even single spikes may be too much.
    """
    limits = []
    for layer in table.layers:
        limit = _largest_count(layer)
        if limit < 1:
            raise UsageError(
                f"simulate: layer {layer.target}: a current may leave ±2^53, beyond which whole "
                "numbers are not exact. Use a smaller weight_shift or fewer synapses a neuron."
            )
        limits.append(limit)
    return limits[0]


def _largest_count(layer: LayerTable) -> float:
    if not isinstance(layer.neuron, IntegerNeuronTable):
        return float("inf")
    # Every synapse of a neuron at once is the most that can arrive in one step.
    weight = np.abs(layer.synapses.weight.astype(np.int64))
    total = np.zeros(layer.n_post, np.int64)
    np.add.at(total, layer.synapses.post, weight)
    most = int(total.max()) << layer.neuron.weight_shift
    spare = EXACT - int(np.abs(layer.bias.astype(np.int64)).max())
    return spare // most if most else EXACT


def not_finite() -> UsageError:
    return UsageError("simulate: counts must be finite, got NaN or infinity.")


def not_whole(table: DelayTable, got: float) -> UsageError:
    return UsageError(
        f"simulate: counts must be whole numbers for {table.layers[0].neuron.model} neurons, "
        f"got {got:g}. Feed spike counts, or use a table whose layer 0 has LIF neurons."
    )


def too_large(got: float, limit: float) -> UsageError:
    return UsageError(
        f"simulate: counts must be within ±{limit:g}, so that no current of the integer layer 0 "
        f"can leave ±2^53, got {got:g}."
    )


def out_of_range(layer: int) -> UsageError:
    return UsageError(
        f"simulate: layer {layer}: a membrane left ±2^53, beyond which whole numbers are not "
        "exact. Use a leak, a smaller weight_shift or smaller counts; reset() before going on."
    )
