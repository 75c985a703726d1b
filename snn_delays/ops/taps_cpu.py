"""The loops of ``ops/taps.py``, compiled by numba and run in parallel.

Arrays are in lanes: [group, channel, step · lane], where a group is a part of the batch. A shift
by one step then is a shift by ``lanes`` contiguous numbers, whatever the delay: every inner loop
below runs over whole rows of memory and multiplies as fast as a matrix product does.
"""

from __future__ import annotations

from numba import njit, prange
from numpy.typing import NDArray

# Channels whose rows stay in the second-level cache while a block of outputs is made.
SOURCES = 32
OUTPUTS = 32


@njit(parallel=True, fastmath=True, cache=True)
def accumulate(
    out: NDArray, source: NDArray, first: NDArray, coefficients: NDArray, lanes: int
) -> None:
    """out[g, a, t] += Σ_b Σ_k Σ_q coefficients[a, b, k, q] · source[g, b, t + first[a, b, k] + q].

    Shape:
        out ``[G, A, T · lanes]``, source ``[G, B, S · lanes]``, first ``[A, B, K]``,
        coefficients ``[A, B, K, Q]`` with Q = 1 or a multiple of 5: every pass adds up five taps.
    """
    groups, outputs, row = out.shape
    sources = source.shape[1]
    contacts, width = coefficients.shape[2:]
    blocks = (outputs + OUTPUTS - 1) // OUTPUTS
    for task in prange(groups * blocks):
        g = task // blocks
        a_first = (task % blocks) * OUTPUTS
        a_last = min(outputs, a_first + OUTPUTS)
        for b_first in range(0, sources, SOURCES):
            b_last = min(sources, b_first + SOURCES)
            for a in range(a_first, a_last):
                y = out[g, a]
                for b in range(b_first, b_last):
                    for k in range(contacts):
                        c = coefficients[a, b, k]
                        s = first[a, b, k] * lanes
                        if width == 1:
                            c0 = c[0]
                            x0 = source[g, b, s : s + row]
                            for p in range(row):
                                y[p] += c0 * x0[p]
                            continue
                        for q in range(0, width, 5):
                            c0, c1, c2, c3, c4 = c[q], c[q + 1], c[q + 2], c[q + 3], c[q + 4]
                            s0 = s + q * lanes
                            x0 = source[g, b, s0 : s0 + row]
                            x1 = source[g, b, s0 + lanes : s0 + lanes + row]
                            x2 = source[g, b, s0 + 2 * lanes : s0 + 2 * lanes + row]
                            x3 = source[g, b, s0 + 3 * lanes : s0 + 3 * lanes + row]
                            x4 = source[g, b, s0 + 4 * lanes : s0 + 4 * lanes + row]
                            for p in range(row):
                                y[p] += (
                                    c0 * x0[p] + c1 * x1[p] + c2 * x2[p] + c3 * x3[p] + c4 * x4[p]
                                )


@njit(parallel=True, fastmath=True, cache=True)
def correlate(out: NDArray, y: NDArray, source: NDArray, first: NDArray, lanes: int) -> None:
    """out[a, b, k, q] += Σ_g Σ_t y[g, a, t] · source[g, b, t + first[a, b, k] + q].

    Shape:
        as in ``accumulate``, with ``y`` in the place of its ``out``.
    """
    groups, outputs, row = y.shape
    sources = source.shape[1]
    contacts, width = out.shape[2:]
    rows = OUTPUTS // 2
    blocks = (outputs + rows - 1) // rows
    zero = y.dtype.type(0)
    for block in prange(blocks):
        a_first = block * rows
        a_last = min(outputs, a_first + rows)
        for g in range(groups):
            for b_first in range(0, sources, SOURCES):
                b_last = min(sources, b_first + SOURCES)
                for a in range(a_first, a_last):
                    v = y[g, a]
                    for b in range(b_first, b_last):
                        for k in range(contacts):
                            c = out[a, b, k]
                            s = first[a, b, k] * lanes
                            if width == 1:
                                x0 = source[g, b, s : s + row]
                                d0 = zero
                                for p in range(row):
                                    d0 += v[p] * x0[p]
                                c[0] += d0
                                continue
                            for q in range(0, width, 5):
                                s0 = s + q * lanes
                                x0 = source[g, b, s0 : s0 + row]
                                x1 = source[g, b, s0 + lanes : s0 + lanes + row]
                                x2 = source[g, b, s0 + 2 * lanes : s0 + 2 * lanes + row]
                                x3 = source[g, b, s0 + 3 * lanes : s0 + 3 * lanes + row]
                                x4 = source[g, b, s0 + 4 * lanes : s0 + 4 * lanes + row]
                                d0 = zero
                                d1 = zero
                                d2 = zero
                                d3 = zero
                                d4 = zero
                                for p in range(row):
                                    w = v[p]
                                    d0 += w * x0[p]
                                    d1 += w * x1[p]
                                    d2 += w * x2[p]
                                    d3 += w * x3[p]
                                    d4 += w * x4[p]
                                c[q] += d0
                                c[q + 1] += d1
                                c[q + 2] += d2
                                c[q + 3] += d3
                                c[q + 4] += d4
