"""The bushy cell: fires when its 40 fibres do at once, and so sharpens the timing of one place.

A leaky integrator of synaptic current, per channel:

    I ← I e^(−dt/τ_syn) + fibres that fire
    v ← v e^(−dt/τ_mem) + (13000 / fibres) dt I
    spike where v ≥ 1; then v = 0 for 1 ms, while I goes on
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from snn_delays.cochlea.fibres import FIBRES
from snn_delays.cochlea.filters import RATE
from snn_delays.loop import loop

TAU_SYN, TAU_MEM = 0.5e-3, 1e-3  # s
WEIGHT = 13_000.0 / FIBRES  # 1/s
REFRACTORY_STEPS = RATE // 1000  # 1 ms
DT = 1.0 / RATE
KEEP_SYN, KEEP_MEM = math.exp(-DT / TAU_SYN), math.exp(-DT / TAU_MEM)


@loop
def bushy_spikes(counts: NDArray) -> NDArray:
    """From ``counts`` ``[steps]`` of firing fibres the steps at which a cell fires ``[spikes]``."""
    found = np.empty(len(counts) // REFRACTORY_STEPS + 1, np.int64)
    n, current, v, able = 0, 0.0, 0.0, 0
    for t in range(len(counts)):
        current = current * KEEP_SYN + counts[t]
        if t < able:
            continue
        v = v * KEEP_MEM + WEIGHT * DT * current
        if v >= 1.0:
            found[n] = t
            n += 1
            v = 0.0
            able = t + REFRACTORY_STEPS
    return found[:n]
