"""The slopes of ``ops/surrogates.py`` for loops that numba compiles."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from snn_delays.loops.loop import pasted


@pasted
def slopes(out: NDArray, h: NDArray, threshold: float, surrogate: int, alpha: float) -> None:
    """out[m] = slope at h[m]; one kind for the whole row, so that each loop is vectorised."""
    kind = h.dtype.type
    one, zero, steep, half = kind(1), kind(0), kind(alpha), kind(alpha / 2)
    if surrogate == 0:
        bend = kind(math.pi / 2 * alpha)
        for m in range(len(h)):
            bent = bend * (h[m] - threshold)
            out[m] = np.true_divide(half, one + bent * bent)
    elif surrogate == 1:
        for m in range(len(h)):
            s = one / (one + np.exp(-steep * (h[m] - threshold)))
            out[m] = steep * s * (one - s)
    elif surrogate == 2:
        for m in range(len(h)):
            out[m] = steep if abs(steep * (h[m] - threshold)) < kind(0.5) else zero
    elif surrogate == 3:
        for m in range(len(h)):
            out[m] = max(steep - steep * abs(steep * (h[m] - threshold)), zero)
    else:
        for m in range(len(h)):
            out[m] = half * np.exp(-abs(steep * (h[m] - threshold)))
