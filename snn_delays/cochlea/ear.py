"""Sound in, spikes out: membrane, hair cells, fibres and bushy cells, one place after the other."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int64

from snn_delays.arguments import require
from snn_delays.cochlea.filters import RATE, FilterBank, check_pressure
from snn_delays.cochlea.hair_cell import release_probability
from snn_delays.cochlea.nerve import DEAD_STEPS, FIBRES, bushy_spikes, fibre_spikes

LOUDNESS = 0.3  # root mean square of a clip, before its window


class Ear:
    """An ear with as many bushy cells as the filter bank has places; 0 hears the highest tones."""

    def __init__(self, membrane: FilterBank) -> None:
        require(isinstance(membrane, FilterBank), "Ear: membrane", "be a FilterBank", membrane)
        self.membrane = membrane

    def hear(
        self, sound: Float[np.ndarray, " samples"], rng: np.random.Generator
    ) -> tuple[Float64[np.ndarray, " spikes"], Int64[np.ndarray, " spikes"]]:
        """Times (s, ascending) and units of all spikes while the sound lasts.

        Args:
            sound: pressure at ``SOUND_RATE``, as loud as it is: see :func:`presented`.
            rng: draws the fibres' spikes. The same state gives the same spikes.

        Raises:
            UsageError: ``sound`` is no finite pressure over time.
        """
        steps: list[np.ndarray] = []
        for velocity in self.membrane.velocities(sound):
            counts = fibre_spikes(release_probability(velocity), FIBRES, DEAD_STEPS, rng)
            steps.append(bushy_spikes(counts))
        units = np.repeat(np.arange(len(steps)), [len(one) for one in steps])
        step = np.concatenate(steps)
        order = np.argsort(step, kind="stable")
        return step[order] / RATE, units[order]


def presented(sound: Float[np.ndarray, " samples"]) -> Float64[np.ndarray, " samples"]:
    """The clip at 0.3 RMS, faded by a Hann window as long as itself; silence stays silence.

    Raises:
        UsageError: ``sound`` is no finite pressure over time.
    """
    check_pressure(sound)
    rms = np.sqrt(np.mean(np.square(sound, dtype=np.float64)))
    return sound * (LOUDNESS / rms if rms > 0 else 0.0) * np.hanning(len(sound))
