"""One row per (pre, post, delay): synapses that arrive at one neuron in one step add up."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Merged(NamedTuple):
    """Synapses without duplicates, sorted by pre, post, delay.

    Args:
        columns: pre, post, delay (int32) and weight (float32), as ``Projection`` takes them.
        joined: rows that were added to another one.
        cancelled: sums that are zero as float32, and left out.
    """

    columns: dict[str, NDArray[Any]]
    joined: int
    cancelled: int


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
    places = np.unravel_index(numbers[kept], shape)
    columns = dict(
        zip(("pre", "post", "delay"), (one.astype(np.int32) for one in places), strict=True)
    )
    return Merged(
        {**columns, "weight": summed[kept]}, len(number) - len(numbers), int(np.sum(~kept))
    )
