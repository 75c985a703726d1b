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
) -> None:
    """out[n, post] = Σ_pre Σ_j (synapses of that pre, post and delay j) · x[t − j, n, pre].

    kept is past without its oldest input, then x.

    Shape:
        x ``[N, pre]``; past and kept ``[max_delay, N, pre]``, oldest first; synapses of
        (pre, delay j) from start[pre, j] up to start[pre, j + 1].
    """
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


@loop
def fingerprint(lanes: NDArray, bits: NDArray) -> None:
    """lane ← (lane xor bits) · odd constant, over and over: each number changes its lane for good.

    Both operations can be undone, so that one number that differs always shows; of several in one
    lane it fails to in one of 2³² cases.

    Shape:
        bits uint32 ``[M]``, lanes uint32 ``[LANES]``.
    """
    odd = np.uint32(0x9E3779B1)
    whole = len(bits) // LANES * LANES
    for first in range(0, whole, LANES):
        for lane in range(LANES):
            lanes[lane] = (lanes[lane] ^ bits[first + lane]) * odd
    for place in range(whole, len(bits)):
        lanes[place - whole] = (lanes[place - whole] ^ bits[place]) * odd
