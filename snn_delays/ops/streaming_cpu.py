"""The loop of ``ops/streaming.py``, compiled by numba."""

from __future__ import annotations

from numba import njit
from numpy.typing import NDArray


@njit(cache=True)
def step(
    out: NDArray,
    x: NDArray,
    ring: NDArray,
    slot: int,
    start: NDArray,
    post: NDArray,
    coefficient: NDArray,
) -> None:
    """out[n, post] = Σ_pre Σ_j (synapses of that pre, post and delay j) · x[t − j, n, pre].

    Then x takes the place of the oldest input in the ring.

    Shape:
        x ``[N, pre]``, ring ``[max_delay, N, pre]`` with the oldest input at ``slot`` and the
        latest before it; synapses of (pre, delay j) from start[pre, j] up to start[pre, j + 1].
    """
    steps, batch, channels = ring.shape
    # Plain loops: whole-array assignments would take two seconds more to compile.
    for n in range(batch):
        y = out[n]
        for i in range(len(y)):
            y[i] = 0
        for j in range(steps + 1):
            row = x[n] if j == 0 else ring[(slot - j) % steps, n]
            for pre in range(channels):
                spike = row[pre]
                if spike != 0:
                    for e in range(start[pre, j], start[pre, j + 1]):
                        y[post[e]] += coefficient[e] * spike
        oldest = ring[slot, n]
        for pre in range(channels):
            oldest[pre] = x[n, pre]
