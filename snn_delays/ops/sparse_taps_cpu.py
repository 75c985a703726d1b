"""The loops of ``ops/sparse_taps.py``: those of ``taps_cpu``, over a list of synapses.

Rows are in lanes, as ``taps_cpu.to_lanes`` makes them. Synapses are listed by the row that they add
to: those of output a are start[a] ≤ e < start[a + 1].
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from snn_delays.loops.loop import loop
from snn_delays.ops.taps_cpu import MARGIN, PASS, five_dots, one_dot
from snn_delays.ops.vectors import (
    LANES,
    TILE,
    add_five_taps,
    add_one_tap,
    aligned,
    load_tile,
    store,
)

# Rows made before they are written out: whole cache lines of the output.
OUTPUTS = 16


@loop(parallel=True)
def accumulate(
    out: NDArray,
    rows: NDArray,
    begin: NDArray,
    end: NDArray,
    samples: NDArray,
    start: NDArray,
    source: NDArray,
    shift: NDArray,
    coefficients: NDArray,
    threads: int,
) -> None:
    """out[t, n, a] = Σ_e Σ_q coefficients[e, q] · rows[n, source[e], t + shift[e] + q].

    Shape:
        out ``[T, N, A]``, of which the ``samples`` of the group are made; rows, begin, end as
        ``to_lanes`` makes them; start ``[A + 1]``; source, shift ``[E]``; coefficients
        ``[E, 1 or PASS]``.
    """
    steps, _, outputs = out.shape
    taps = coefficients.shape[1]
    width = rows.shape[1] // LANES
    x, c = rows.reshape(-1), coefficients.reshape(-1)
    groups = (outputs + OUTPUTS - 1) // OUTPUTS
    tasks = min(groups, 2 * threads)
    for task in prange(tasks):
        sums = aligned(np.empty((OUTPUTS * TILE + 1) * LANES, out.dtype))
        # Step by step, so that what all outputs read of the rows stays in the cache.
        for t in range(0, steps, TILE):
            for group in range(task * groups // tasks, (task + 1) * groups // tasks):
                a_first = group * OUTPUTS
                a_count = min(OUTPUTS, outputs - a_first)
                sums[:] = 0
                for i in range(a_count):
                    y = load_tile(sums, i * TILE * LANES)
                    for e in range(start[a_first + i], start[a_first + i + 1]):
                        b = source[e]
                        step = t + shift[e]
                        if step + TILE + taps - 1 <= begin[b] or step >= end[b]:
                            continue
                        s = (b * width + MARGIN + step) * LANES
                        if taps == 1:
                            y = add_one_tap(y, c, e, x, s)
                        else:
                            y = add_five_taps(y, c, e * PASS, x, s)
                    store(sums, i * TILE * LANES, y)
                for k in range(min(TILE, steps - t)):
                    for lane in range(len(samples)):
                        sample = out[t + k, samples[lane]]
                        for i in range(a_count):
                            sample[a_first + i] = sums[(i * TILE + k) * LANES + lane]


@loop(parallel=True)
def correlate(
    out: NDArray,
    y: NDArray,
    target: NDArray,
    rows: NDArray,
    begin: NDArray,
    end: NDArray,
    order: NDArray,
    source: NDArray,
    shift: NDArray,
    threads: int,
) -> None:
    """out[e, q] += Σ_n Σ_t y[n, target[e], t] · rows[n, source[e], t + shift[e] + q].

    Shape:
        as in ``accumulate``, with the rows ``y`` in the place of its ``out``; order ``[E]`` is that
        in which synapses are taken, such that they share rows.
    """
    synapses, taps = out.shape
    width = rows.shape[1] // LANES
    steps = width - 2 * MARGIN
    values, x, sums = y.reshape(-1), rows.reshape(-1), out.reshape(-1)
    tasks = min(synapses, 4 * threads)
    for task in prange(tasks):
        for at in range(task * synapses // tasks, (task + 1) * synapses // tasks):
            e = order[at]
            b, s = source[e], shift[e]
            # Steps at which one of the taps meets the source.
            since = max(0, begin[b] - s - taps + 1)
            count = min(steps, end[b] - s) - since
            if count <= 0:
                continue
            o = (target[e] * width + MARGIN + since) * LANES
            i = (b * width + MARGIN + since + s) * LANES
            if taps == 1:
                sums[e] += one_dot(values, o, x, i, count)
            else:
                d0, d1, d2, d3, d4 = five_dots(values, o, x, i, count)
                q = e * PASS
                sums[q] += d0
                sums[q + 1] += d1
                sums[q + 2] += d2
                sums[q + 3] += d3
                sums[q + 4] += d4
