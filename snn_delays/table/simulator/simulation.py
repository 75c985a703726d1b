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
        potentials: float64 ``[T + tail, n_classes]``, v of the output.
        spikes: of each population that spikes, by name, bool ``[T + tail, size]``.
    """

    potentials: NDArray[np.floating]
    spikes: dict[str, Bools]

    @property
    def spike_counts(self) -> dict[str, int]:
        """How often each population's neurons fired, all together."""
        return {name: int(np.count_nonzero(spikes)) for name, spikes in self.spikes.items()}


def scores(simulation: Simulation, readout: str) -> Float64:
    """One score per class from the output over a whole sample, tail included.

    ``sum_softmax``: Σ_t softmax(v[t]); ``max``: max_t v[t]; ``mean``: mean over t;
    ``spike_count``: how often each neuron of the output fired.

    Shape:
        → ``[n_classes]``.

    Raises:
        UsageError: no step at all, or an unknown readout.
    """
    v = simulation.potentials
    if not len(v):
        raise UsageError("scores: a sample needs at least 1 step (tail included), got 0.")
    match readout:
        case "sum_softmax":
            exponential = np.exp(v - v.max(axis=1, keepdims=True))
            return (exponential / exponential.sum(axis=1, keepdims=True)).sum(axis=0)
        case "max":
            return v.max(axis=0)
        case "mean":
            return v.mean(axis=0)
        case "spike_count":
            return [*simulation.spikes.values()][-1].sum(axis=0, dtype=np.float64)
    raise UsageError(
        f"scores: readout must be sum_softmax, max, mean or spike_count; got {readout!r}."
    )


def predict(simulation: Simulation, readout: str) -> int:
    """Index of the class with the highest score; the first one of equals."""
    return int(scores(simulation, readout).argmax())


@dataclass
class Tally:
    """What two runs of the same samples have in common.

    Args:
        spikes_total: spikes of the first run, of all populations that spike.
        spikes_differing: (step, neuron) pairs where only one of the two fired.
        samples_with_difference: samples with at least one such pair.
        potentials_max_difference: largest |v − v| of the output at any step; of an output that is
            read by its spikes only where both runs have its v.
        readouts_differing: samples whose spikes all agree, and whose output's v is further apart
            than rounding explains: by a ``share`` of its largest.
    """

    samples: int = 0
    spikes_total: int = 0
    spikes_differing: int = 0
    samples_with_difference: int = 0
    predictions_differing: int = 0
    potentials_max_difference: float = 0.0
    readouts_differing: int = 0

    def add(
        self, one: Simulation, other: Simulation, answers: tuple[int, int], share: float
    ) -> list[Bools]:
        """Count a sample, whose classes are ``answers``; gives where spikes differ."""
        differing = [fired != other.spikes[name] for name, fired in one.spikes.items()]
        count = sum(int(np.count_nonzero(where)) for where in differing)
        self.samples += 1
        self.spikes_total += sum(one.spike_counts.values())
        self.spikes_differing += count
        self.samples_with_difference += count > 0
        self.predictions_differing += answers[0] != answers[1]
        gap = np.abs(one.potentials - other.potentials)
        largest = max(float(np.abs(run.potentials).max(initial=0)) for run in (one, other))
        worst = float(gap.max(initial=0))
        self.potentials_max_difference = max(self.potentials_max_difference, worst)
        self.readouts_differing += not (count or np.all(gap <= share * largest))
        return differing
