"""A projection: the synapses from one population, or the input, to one population.

Synapses that arrive at one neuron in one step add up: ``merged`` makes them one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn_delays.arguments import real, settle, whole
from snn_delays.errors import UsageError
from snn_delays.table.population import NAME
from snn_delays.table.require import naming, require_vector, require_within

WEIGHT_TYPES = (np.float32, np.int8, np.int16)
COLUMNS = ("pre", "post", "delay", "weight")
Ints = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Projection:
    """One row per synapse; rows with the same pre, post and delay add up.

    Args:
        source: where spikes come from: ``"input"`` or a population, the target itself included.
        target: the population that they go to.
        delay: steps; 0 = arrives in the same step.
        min_delay, max_delay: steps; the range that the delays may use.
        weight_scale: what integer weights are multiplied by; 1 for float weights.
        name: ``SOURCE_to_TARGET`` unless given; several projections between the same two need one.

    Shape:
        pre, post, delay: int32 ``[S]``; weight: float32, int8 or int16 ``[S]``.

    Raises:
        UsageError: columns of unequal length or wrong type, a value out of range or not finite.
    """

    source: str
    target: str
    pre: Ints
    post: Ints
    delay: Ints
    weight: NDArray[Any]
    min_delay: int
    max_delay: int
    weight_scale: float = 1.0
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", f"{self.source}_to_{self.target}")
        with naming(f"projection {self.name}"):
            self._check()

    def _check(self) -> None:
        if not NAME.fullmatch(self.name):
            raise UsageError("its name must be letters, digits and _.")
        settle(self, min_delay=whole(0, unit="steps"), weight_scale=real(above=0))
        settle(self, max_delay=whole(self.min_delay, unit="steps"))
        for name in COLUMNS[:3]:
            require_vector(name, getattr(self, name), (np.int32,), len(self))
        require_vector("weight", self.weight, WEIGHT_TYPES, len(self))
        require_within("delay", self.delay, self.min_delay, self.max_delay)
        if not self.integer and self.weight_scale != 1:
            raise UsageError(f"weight_scale of float weights must be 1, got {self.weight_scale}.")

    def __len__(self) -> int:
        return self.pre.size

    @property
    def integer(self) -> bool:
        """Whether the weights are integers."""
        return self.weight.dtype != np.float32

    @property
    def current_weight(self) -> NDArray[np.floating]:
        """What one spike adds to the current: float32 weights as stored, integers times scale."""
        if not self.integer:
            return self.weight.astype(np.float32, copy=False)
        return self.weight.astype(np.float64) * self.weight_scale


class Merged(NamedTuple):
    """Synapses without duplicates, sorted by pre, post, delay.

    Args:
        columns: pre, post, delay (int32) and weight (float32), as ``Projection`` takes them.
        joined: rows that were added to another one.
        cancelled: sums that are zero as float32, and left out.
    """

    columns: dict[str, Any]
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
