"""The loops of ``simulator.py``, compiled by numba: every spike walks its own synapses.

All layers lie one after another in flat arrays, so that one call advances the whole network.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Columns of a layer's row in ``plan``; a decay shift below 0 marks a float layer.
N_PRE, N_POST, SLOTS, FIRST, NEURONS, RING, RESET, DECAY_SHIFT = range(8)
COLUMNS = 8
NONE, HARD, SOFT = range(3)  # of the column RESET
BIAS, DECAY, THRESHOLD, V_RESET = range(4)  # rows of ``neuron``
GOOD, NOT_FINITE, NOT_WHOLE, TOO_LARGE, OUT_OF_RANGE = range(5)
EXACT = 2.0**53


@njit(cache=True)
def check(counts: NDArray, largest: float) -> tuple[int, int, int]:
    """What is wrong with an input ``[T, C]``, and at which step and channel it is first.

    ``largest`` is infinite for a float layer, which takes any finite number.
    """
    for t in range(counts.shape[0]):
        for c in range(counts.shape[1]):
            value = counts[t, c]
            if not np.isfinite(value):
                return NOT_FINITE, t, c
            if largest < np.inf:
                if value != np.floor(value):
                    return NOT_WHOLE, t, c
                if abs(value) > largest:
                    return TOO_LARGE, t, c
    return GOOD, 0, 0


@njit(cache=True)
def advance(
    potentials: NDArray,
    fired: NDArray,
    counts: NDArray,
    unit: float,
    plan: NDArray,
    scale: NDArray,
    first: NDArray,
    cell: NDArray,
    weight: NDArray,
    neuron: NDArray,
    v: NDArray,
    ring: NDArray,
    now: NDArray,
    place: NDArray,
    amount: NDArray,
) -> int:
    """Take as many steps as ``potentials`` has rows; past the end of ``counts`` in silence.

    Shape:
        potentials ``[T + tail, n_classes]`` and fired ``[T + tail, hidden neurons]``, which must
        be zeros, are written; counts ``[T, C]``. plan ``[layers, COLUMNS]``; scale and now, the
        slot that arrives next, ``[layers]``. Of layer l, presynaptic neuron p has the synapses
        first[plan[l, FIRST] + p] up to the next entry; cell is delay · n_post + post.
        neuron ``[4, neurons]``, v ``[neurons]``, ring flat; place and amount are room to work in.

    Returns:
        -1, or the index of an integer layer whose membrane left ±2^53.
    """
    layers = plan.shape[0]
    for t in range(potentials.shape[0]):
        spikes = 0
        if t < counts.shape[0]:
            for c in range(counts.shape[1]):
                if counts[t, c] != 0:
                    place[spikes] = c
                    amount[spikes] = counts[t, c]
                    spikes += 1
        for layer in range(layers):
            row = plan[layer]
            n_post, size = row[N_POST], row[SLOTS] * row[N_POST]
            cells = ring[row[RING] : row[RING] + size]
            # Unsigned, so that numba leaves out what negative indices would take.
            base, end = np.uint64(now[layer] * n_post), np.uint64(size)
            for i in range(spikes):
                value = amount[i]
                pre = row[FIRST] + place[i]
                for e in range(first[pre], first[pre + 1]):
                    at = base + cell[e]
                    if at >= end:
                        at -= end
                    cells[at] += weight[e] * value
            spikes = 0
            reset, shift = row[RESET], row[DECAY_SHIFT]
            arriving = cells[now[layer] * n_post : (now[layer] + 1) * n_post]
            begin = row[NEURONS]
            for post in range(n_post):
                n = begin + post
                current = neuron[BIAS, n] + scale[layer] * arriving[post]
                arriving[post] = 0
                rest = neuron[V_RESET, n]
                kept = v[n] - rest
                if shift < 0:
                    kept = neuron[DECAY, n] * kept
                else:
                    # (m · decay) >> shift in two parts, whose products fit into 64 bits.
                    m, decay = np.int64(abs(kept)), np.int64(neuron[DECAY, n])
                    high = m >> shift
                    whole = high * decay + (((m - (high << shift)) * decay) >> shift)
                    kept = np.float64(whole) if kept >= 0 else -np.float64(whole)
                now_v = rest + kept + current
                if shift >= 0 and abs(now_v) > EXACT:
                    return layer
                if reset != NONE and now_v >= neuron[THRESHOLD, n]:
                    now_v = rest if reset == HARD else now_v - neuron[THRESHOLD, n]
                    fired[t, n] = True
                    place[spikes] = post
                    amount[spikes] = 1
                    spikes += 1
                v[n] = now_v
                if layer == layers - 1:
                    potentials[t, post] = now_v * unit
            now[layer] = now[layer] + 1 if now[layer] + 1 < row[SLOTS] else 0
    return -1
