"""The inner hair cell: velocity of its place in, probability of releasing transmitter out.

Transmitter moves between a free pool q, the synaptic cleft c and a reprocessing store w:

    k = g (b + A) / (b + A + B)  where b + A > 0, else 0       permeability, b the velocity
    q̇ = y max(M − q, 0) − k q + x w
    ċ = k q − (l + r) c
    ẇ = r c − x w
    P = h c dt                                                  per step and fibre

Euler steps at dt = 1 / 24 kHz, q, c and w kept ≥ 0, from rest: at b = 0 about 65 releases a second.

Reference:
    Meddis, "Simulation of auditory–neural transduction: further studies" (1988, J. Acoust. Soc.
    Am. 83), with the parameters of Cramer et al.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snn_delays.cochlea.filters import RATE
from snn_delays.loops.loop import loop

REPLENISH = 5.05  # y, 1/s
RELEASE = 2000.0  # g, 1/s
LOSS = 2500.0  # l, 1/s
RETURN = 6580.0  # r, 1/s
REPROCESS = 66.3  # x, 1/s
OFFSET = 5.0  # A, of the velocity's unit
HALF = 300.0  # B, of the velocity's unit
FIRING = 5e4  # h, 1/s
CAPACITY = 1.0  # M
DT = 1.0 / RATE


def resting_state() -> tuple[float, float, float]:
    """q, c and w that do not change while the membrane is still."""
    k = RELEASE * OFFSET / (OFFSET + HALF)
    leaves = LOSS + RETURN
    c = CAPACITY * REPLENISH * k / (LOSS * k + REPLENISH * leaves)
    return c * leaves / k, c, c * RETURN / REPROCESS


@loop
def _release(velocity: NDArray, q: float, c: float, w: float) -> NDArray:
    steps = len(velocity)
    probability = np.empty(steps)
    # By itself, as nothing in it depends on the step before: the processor takes several at once.
    for t in range(steps):
        drive = velocity[t] + OFFSET
        probability[t] = RELEASE * DT * drive / (drive + HALF) if drive > 0.0 else 0.0
    for t in range(steps):
        ejected = probability[t] * q
        reprocessed = REPROCESS * DT * w
        replenished = REPLENISH * DT * max(CAPACITY - q, 0.0)
        q = max(q + replenished - ejected + reprocessed, 0.0)
        w = max(w + RETURN * DT * c - reprocessed, 0.0)
        c = max(c + ejected - (LOSS + RETURN) * DT * c, 0.0)
        probability[t] = FIRING * DT * c
    return probability


def release_probability(velocity: NDArray) -> NDArray:
    """P at every step of one hair cell at ``RATE``, from rest; ``[steps]`` both."""
    return _release(velocity, *resting_state())
