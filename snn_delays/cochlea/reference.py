"""The equations as they stand or as published, against which the package's loops are tested."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snn_delays.cochlea.filters import RATE
from snn_delays.cochlea.hair_cell import (
    CAPACITY,
    DT,
    FIRING,
    HALF,
    LOSS,
    OFFSET,
    RELEASE,
    REPLENISH,
    REPROCESS,
    RETURN,
    resting_state,
)
from snn_delays.cochlea.membrane import membrane_velocity, places
from snn_delays.cochlea.nerve import DT as STEP
from snn_delays.cochlea.nerve import KEEP_MEM, KEEP_SYN, REFRACTORY_STEPS, WEIGHT


def naive_velocities(
    sound: NDArray, channels: int, *, bins: int | None = None, causal: bool = False
) -> NDArray:
    """As published, in double precision: Re IFFT(v · FFT(sound)).

    What does not fit into the clip is wrapped round. ``bins`` pads the clip to a grid of so many.
    """
    padded, bins = bins and 2 * bins, bins or len(sound) // 2 + 1
    spectrum = np.fft.fft(sound, padded)[:bins]
    v = membrane_velocity(places(channels), np.linspace(1.0, float(RATE), bins))
    return np.fft.ifft((v.conj() if causal else v) * spectrum).real


def naive_release_probability(velocity: NDArray) -> NDArray:
    """The equations as they stand, all cells side by side; ``[cells, steps]`` both."""
    q, c, w = (np.full(len(velocity), state) for state in resting_state())
    found = np.empty(velocity.shape)
    for t, b in enumerate(velocity.T.astype(np.float64)):
        k = np.where(b + OFFSET > 0, RELEASE * (b + OFFSET) / (b + OFFSET + HALF), 0.0)
        dq = REPLENISH * np.maximum(CAPACITY - q, 0) - k * q + REPROCESS * w
        dc = k * q - (LOSS + RETURN) * c
        dw = RETURN * c - REPROCESS * w
        q, c, w = (np.maximum(s + DT * d, 0) for s, d in ((q, dq), (c, dc), (w, dw)))
        found[:, t] = FIRING * c * DT
    return found


def naive_fibre_spikes(
    probability: NDArray, fibres: int, dead_steps: int, rng: np.random.Generator
) -> NDArray:
    """The same by a draw for every step and fibre."""
    counts = np.zeros(len(probability), np.int32)
    able = np.zeros(fibres, int)
    for t, p in enumerate(probability):
        fire = (rng.random(fibres) < p) & (able <= t)
        able[fire] = t + dead_steps
        counts[t] = fire.sum()
    return counts


def naive_bushy_spikes(counts: NDArray) -> list[NDArray]:
    """All cells side by side, ``[cells, steps]``: for each the steps at which it fires."""
    current, v, able = (np.zeros(len(counts), kind) for kind in (float, float, int))
    fired = np.zeros(counts.shape, bool)
    for t, arriving in enumerate(counts.T):
        current = current * KEEP_SYN + arriving
        v = np.where(t >= able, v * KEEP_MEM + WEIGHT * STEP * current, 0.0)
        fired[:, t] = v >= 1.0
        v[fired[:, t]] = 0.0
        able[fired[:, t]] = t + REFRACTORY_STEPS
    return [np.flatnonzero(row) for row in fired]
