"""What a simulated table did with one sample, and which class that makes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError

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

    @property
    def spike_counts(self) -> tuple[int, ...]:
        """How often each hidden layer's neurons fired, all together."""
        return tuple(int(np.count_nonzero(spikes)) for spikes in self.spikes)


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


def far_apart(one: NDArray[np.floating], other: NDArray[np.floating], share: float) -> bool:
    """Whether potentials differ by more than a share of the largest, and so by more than rounding.

    For samples whose hidden spikes agree: nothing else than rounding may tell them apart.

    Shape:
        both ``[T + tail, n_classes]``.
    """
    largest = max(float(np.abs(one).max(initial=0)), float(np.abs(other).max(initial=0)))
    return not np.all(np.abs(one - other) <= share * largest)


def predict(simulation: Simulation, readout: str) -> int:
    """Index of the class with the highest score; the first one of equals."""
    return int(scores(simulation.potentials, readout).argmax())
