"""The loops of ``ops/streaming.py``, compiled by numba."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snn_delays.loop import loop

# Numbers that ``fingerprint`` takes side by side: enough to hide what a multiplication takes.
LANES = 128


@loop
def step(
    out: NDArray,
    kept: NDArray,
    x: NDArray,
    past: NDArray,
    start: NDArray,
    post: NDArray,
    coefficient: NDArray,
    known: NDArray,
    weight: NDArray,
    delay: NDArray,
) -> bool:
    """out[n, post] = Σ_pre Σ_j (synapses of that pre, post and delay j) · x[t − j, n, pre].

    kept is past without its oldest input, then x. False, and nothing is done, if ``known`` is not
    the fingerprint of weight and delay.

    Shape:
        x ``[N, pre]``; past and kept ``[max_delay, N, pre]``, oldest first; synapses of
        (pre, delay j) from start[pre, j] up to start[pre, j + 1].
    """
    seen = fingerprint(weight, delay)
    for lane in range(len(known)):
        if seen[lane] != known[lane]:
            return False
    steps, batch, channels = past.shape
    # Plain loops: whole-array assignments would take two seconds more to compile.
    for n in range(batch):
        y = out[n]
        for i in range(len(y)):
            y[i] = 0
        for j in range(steps + 1):
            row = x[n] if j == 0 else past[steps - j, n]
            for pre in range(channels):
                spike = row[pre]
                if spike != 0:
                    for e in range(start[pre, j], start[pre, j + 1]):
                        y[post[e]] += coefficient[e] * spike
            if j < steps:
                copy = kept[steps - 1 - j, n]
                for pre in range(channels):
                    copy[pre] = row[pre]
    return True


@loop
def fingerprint(weight: NDArray, delay: NDArray) -> NDArray:
    """lane ← (lane xor bits) · odd constant, folded: each number changes its lane for good.

    All of it can be undone, so that one number that differs always shows; of several in one lane it
    fails to in about one of 2³² cases. Without the fold a sign, the highest bit, would stay there,
    and two of them would cancel.

    Shape:
        any, contiguous → uint32 ``[LANES]``.
    """
    lanes = np.zeros(LANES, np.uint32)
    odd, fold = np.uint32(0x9E3779B1), np.uint32(15)
    for numbers in (weight, delay):
        bits = numbers.reshape(numbers.size).view(np.uint32)
        whole = len(bits) // LANES * LANES
        for first in range(0, whole, LANES):
            for lane in range(LANES):
                mixed = (lanes[lane] ^ bits[first + lane]) * odd
                lanes[lane] = mixed ^ (mixed >> fold)
        for place in range(whole, len(bits)):
            mixed = (lanes[place - whole] ^ bits[place]) * odd
            lanes[place - whole] = mixed ^ (mixed >> fold)
    return lanes
