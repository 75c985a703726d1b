"""The loops of ``events.py``, compiled by numba: every spike walks its own synapses.

All layers lie one after another in flat arrays, so that one call advances the whole network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snn_delays.loop import loop
from snn_delays.table.simulator.bounds import MEMBRANE

# Columns of a layer's row in ``plan``; a decay shift below 0 marks a float layer.
N_POST, SLOTS, FIRST, NEURONS, WINDOW, RESET, DECAY_SHIFT = range(7)
COLUMNS = 7
NONE, HARD, SOFT = range(3)  # of the column RESET
BIAS, DECAY, THRESHOLD, V_RESET = range(4)  # rows of ``neuron``
GOOD, NOT_FINITE, NOT_WHOLE, TOO_LARGE, OUT_OF_RANGE = range(5)


@loop
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


@loop
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
    window: NDArray,
    now: NDArray,
    place: NDArray,
    amount: NDArray,
) -> int:
    """Take as many steps as ``potentials`` has rows; past the end of ``counts`` in silence.

    Shape:
        potentials ``[T + tail, n_classes]`` and fired ``[T + tail, hidden neurons]``, which must
        be zeros, are written; counts ``[T, C]``. plan ``[layers, COLUMNS]``; scale and now, the
        row of its window that arrives next, ``[layers]``. Of layer l, presynaptic neuron p has the
        synapses first[plan[l, FIRST] + p] up to the next entry; cell is delay · n_post + post.
        neuron ``[4, neurons]``, v ``[neurons]``; window holds 2 · slots rows of n_post for every
        layer; place and amount are room to work in.

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
            n_post, slots = row[N_POST], row[SLOTS]
            # The coming steps' currents: row d of n_post arrives in d steps. They move on through
            # memory twice their size, which takes less than wrapping every synapse around a ring;
            # what has arrived stays behind, until the second half is moved over it.
            waiting = window[row[WINDOW] + now[layer] * n_post : row[WINDOW] + 2 * slots * n_post]
            for i in range(spikes):
                value = amount[i]
                pre = row[FIRST] + place[i]
                cells = cell[first[pre] : first[pre + 1]]
                weights = weight[first[pre] : first[pre + 1]]
                for e in range(len(cells)):
                    waiting[cells[e]] += weights[e] * value
            spikes = 0
            reset, shift = row[RESET], row[DECAY_SHIFT]
            begin = row[NEURONS]
            for post in range(n_post):
                n = begin + post
                current = neuron[BIAS, n] + scale[layer] * waiting[post]
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
                if shift >= 0 and abs(now_v) > MEMBRANE:
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
            now[layer] += 1
            if now[layer] == slots:
                now[layer] = 0
                begin, half = row[WINDOW], slots * n_post
                for i in range(half):
                    window[begin + i] = window[begin + half + i]
                    window[begin + half + i] = 0
    return -1
