"""Auditory nerve fibres, and the bushy cell that they meet at.

A fibre fires with the hair cell's probability, and then rests for 1 ms. One that is able to fires
at step t with probability P_t. Drawing that for every step and fibre costs a random number each,
nearly all in vain. The same in law: the hazard of a step is −ln(1 − P_t), a fibre that becomes able
at step s draws E ~ Exp(1) and fires at the first t ≥ s by which the hazards from s on sum to more
than E, since

    Pr(E > Σ_{s..t} −ln(1 − P)) = Π_{s..t} (1 − P).

One random number a spike, and a search in the cumulated hazard, which all fibres share.

The bushy cell fires when its 40 fibres do at once, and so sharpens the timing of one place; a leaky
integrator of synaptic current, per channel:

    I ← I e^(−dt/τ_syn) + fibres that fire
    v ← v e^(−dt/τ_mem) + (13000 / fibres) dt I
    spike where v ≥ 1; then v = 0 for 1 ms, while I goes on
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from snn_delays.cochlea.filters import RATE
from snn_delays.loops.loop import loop

FIBRES = 40
DEAD_STEPS = RATE // 1000  # 1 ms
# A hazard that any fibre gives in to: e^−40 of them do not.
_CERTAIN = 40.0

TAU_SYN, TAU_MEM = 0.5e-3, 1e-3  # s
WEIGHT = 13_000.0 / FIBRES  # 1/s
REFRACTORY_STEPS = RATE // 1000  # 1 ms
DT = 1.0 / RATE
KEEP_SYN, KEEP_MEM = math.exp(-DT / TAU_SYN), math.exp(-DT / TAU_MEM)


@loop
def fibre_spikes(
    probability: NDArray, fibres: int, dead_steps: int, rng: np.random.Generator
) -> NDArray:
    """How many fibres of one cell fire at each step, ``[steps]`` both (float64 and int32)."""
    steps = len(probability)
    cumulated = np.empty(steps)
    hazard = 0.0
    for t in range(steps):
        p = probability[t]
        hazard += -np.log1p(-p) if p < 1.0 - 1e-15 else _CERTAIN
        cumulated[t] = hazard
    counts = np.zeros(steps, np.int32)
    for _ in range(fibres):
        able = 0
        while able < steps:
            target = rng.standard_exponential()
            if able > 0:
                target += cumulated[able - 1]
            if cumulated[steps - 1] <= target:
                break
            # The first step that exceeds the target: a jump that doubles, then halves.
            low, high, stride = able, able, 32
            while high < steps and cumulated[high] <= target:
                low, high = high + 1, high + stride
                stride *= 2
            high = min(high, steps - 1)
            while low < high:
                middle = (low + high) // 2
                if cumulated[middle] <= target:
                    low = middle + 1
                else:
                    high = middle
            counts[low] += 1
            able = low + dead_steps
    return counts


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
