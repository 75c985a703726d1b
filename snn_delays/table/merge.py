"""One row per (pre, post, delay): synapses that arrive at one neuron in one step add up."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn_delays.table.projection import COLUMNS

Ints = NDArray[np.int32]


class Merged(NamedTuple):
    """Synapses without duplicates, sorted by pre, post, delay.

    Shape:
        pre, post, delay: int32; weight: float32, all ``[S]``.

    Args:
        joined: rows that were added to another one.
        cancelled: sums that are zero as float32, and left out.
    """

    pre: Ints
    post: Ints
    delay: Ints
    weight: NDArray[np.float32]
    joined: int
    cancelled: int

    @property
    def columns(self) -> dict[str, Any]:
        """pre, post, delay and weight by name, as ``Projection`` takes them."""
        return {name: getattr(self, name) for name in COLUMNS}


def merged(
    pre: NDArray[np.integer],
    post: NDArray[np.integer],
    delay: NDArray[np.integer],
    weight: NDArray[np.floating],
) -> Merged:
    """Add the weights of rows with the same pre, post and delay, in float64, then round once.

    Shape:
        all ``[S]``; indices and delays >= 0.
    """
    shape = tuple(int(column.max(initial=0)) + 1 for column in (pre, post, delay))
    # One number per (pre, post, delay), in the order of the rows.
    number = (pre.astype(np.int64) * shape[1] + post) * shape[2] + delay
    numbers, row = np.unique(number, return_inverse=True)
    summed = np.bincount(row.ravel(), weights=weight, minlength=len(numbers)).astype(np.float32)
    kept = summed != 0
    columns = np.unravel_index(numbers[kept], shape)
    return Merged(
        *(column.astype(np.int32) for column in columns),
        weight=summed[kept],
        joined=len(number) - len(numbers),
        cancelled=int(np.count_nonzero(~kept)),
    )
