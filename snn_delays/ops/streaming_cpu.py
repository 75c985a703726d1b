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
    following: NDArray,
    x: NDArray,
    history: NDArray,
    start: NDArray,
    post: NDArray,
    coefficient: NDArray,
    known: NDArray,
    weight: NDArray,
    delay: NDArray,
) -> bool:
    """out[n, post] = Σ_pre Σ_j (synapses of that pre, post and delay j) · x[t − j, n, pre].

    following is history without its oldest input, then x. False, and nothing is done, if ``known``
    is not the fingerprint of weight and delay.

    Shape:
        x ``[N, pre]``; history and following ``[max_delay, N, pre]``, oldest first; synapses of
        (pre, delay j) from start[pre, j] up to start[pre, j + 1].
    """
    seen = fingerprint(weight, delay)
    for lane in range(len(known)):
        if seen[lane] != known[lane]:
            return False
    steps, batch, channels = history.shape
    # Plain loops: whole-array assignments would take two seconds more to compile.
    for n in range(batch):
        y = out[n]
        for i in range(len(y)):
            y[i] = 0
        for j in range(steps + 1):
            row = x[n] if j == 0 else history[steps - j, n]
            for pre in range(channels):
                spike = row[pre]
                if spike != 0:
                    for e in range(start[pre, j], start[pre, j + 1]):
                        y[post[e]] += coefficient[e] * spike
            if j < steps:
                copy = following[steps - 1 - j, n]
                for pre in range(channels):
                    copy[pre] = row[pre]
    return True


@loop
def fingerprint(weight: NDArray, delay: NDArray) -> NDArray:
    """lane ← (lane xor spread bits) · odd constant: each number changes its lane for good.

    All of it can be undone, so that one number that differs always shows. A product passes bits on
    to higher ones only, and a sign is the highest: so each bit is spread to one of the lowest 11
    as well. Several numbers in one lane cancel in one of 2²² cases at worst.

    Shape:
        any, contiguous → uint32 ``[LANES]``.
    """
    lanes, odd = np.zeros(LANES, np.uint32), np.uint32(0x9E3779B1)
    near, far = np.uint32(11), np.uint32(22)
    for numbers in (weight, delay):
        bits = numbers.reshape(numbers.size).view(np.uint32)
        whole = len(bits) // LANES * LANES
        for first in range(0, whole, LANES):
            for lane in range(LANES):
                number = bits[first + lane]
                lanes[lane] = (lanes[lane] ^ number ^ (number >> near) ^ (number >> far)) * odd
        for place in range(whole, len(bits)):
            number, lane = bits[place], place - whole
            lanes[lane] = (lanes[lane] ^ number ^ (number >> near) ^ (number >> far)) * odd
    return lanes
