"""The loops of ``events.py``, compiled by numba: every spike walks its own synapses.

One call advances the whole network. The step of each neuron model is compiled into it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.loop import called, loop
from snn_delays.table.models import Model
from snn_delays.table.simulator.bounds import STATE
from snn_delays.table.simulator.packed import (
    BEGIN,
    FIRST,
    MODEL,
    MODEL_LIST,
    N_POST,
    SIZE,
    SLOTS,
    SOURCE,
    TARGET,
    WHOLE,
    WINDOW,
    Packed,
)

_UPDATE = """
def update(state, parameter, scalar, begin, current, place):
    cells = slice(begin, begin + len(current))
    {rows}
    spikes = 0
    for n in range(len(current)):
        {states}, spike = step({arguments})
        if spike:
            place[spikes] = n
            spikes += 1
    return spikes
"""


def _population(model: Model) -> Any:
    """A step of a population of this model: where it fired, and how often.

    Written out with the model's arguments, since arrays handed on to the step of every single
    neuron would be counted there, which takes ten times as long as the step.
    """
    states = [f"state{row}" for row in range(len(model.state))]
    parameters = [f"parameter{row}" for row in range(len(model.parameters))]
    rows = [f"{name} = {name[:-1]}[{name[-1]}, cells]" for name in states + parameters]
    rows += [f"scalar{column} = scalar[{column}]" for column in range(len(model.scalars))]
    here = [f"{name}[n]" for name in (*states, "current", *parameters)]
    arguments = [*here, *(f"scalar{column}" for column in range(len(model.scalars)))]
    names: dict[str, Any] = {"step": called(model.step)}
    text = _UPDATE.format(
        rows="\n    ".join(rows),
        states=", ".join(here[: len(states)]),
        arguments=", ".join(arguments),
    )
    exec(text, names)
    return called(names["update"])


def _chosen(updates: list[Any]) -> Any:
    """One function of all, which takes the index of the one to call."""
    this, others = updates[0], _chosen(updates[1:]) if updates[1:] else updates[0]
    if others is this:
        return called(lambda which, *arguments: this(*arguments))

    @called
    def choose(which, *arguments):
        return this(*arguments) if which == 0 else others(which - 1, *arguments)

    return choose


_update = _chosen([_population(model) for model in MODEL_LIST])


@loop
def check_counts(counts: NDArray, largest: float) -> bool:
    """Whether an input ``[T, C]`` is finite and, unless ``largest`` is infinite, whole and within.

    ``bounds.require_counts`` says what is wrong with one that is not.
    """
    for t in range(counts.shape[0]):
        for c in range(counts.shape[1]):
            value = counts[t, c]
            if not np.isfinite(value):
                return False
            if largest < np.inf and (value != np.floor(value) or abs(value) > largest):
                return False
    return True


@loop
def _send(source: int, spikes: int, packed: Packed) -> None:
    """Put what a source sends into the windows of its projections."""
    for p in range(len(packed.projections)):
        row = packed.projections[p]
        if row[SOURCE] != source:
            continue
        # The coming steps' currents: row d of n_post arrives in d steps. They move on through
        # memory twice their size, which takes less than wrapping every synapse around a ring.
        size, begin = row[N_POST], row[WINDOW]
        waiting = packed.window[begin + packed.now[p] * size : begin + 2 * row[SLOTS] * size]
        for i in range(spikes):
            value = packed.amount[i]
            pre = row[FIRST] + packed.place[i]
            cells = packed.cell[packed.first[pre] : packed.first[pre + 1]]
            weights = packed.weight[packed.first[pre] : packed.first[pre + 1]]
            for e in range(len(cells)):
                waiting[cells[e]] += weights[e] * value


@loop
def advance(potentials: NDArray, fired: NDArray, counts: NDArray, *arrays: Any) -> int:
    """Take as many steps as ``potentials`` has rows; past the end of ``counts`` in silence.

    Shape:
        potentials ``[T + tail, n_classes]`` and fired ``[T + tail, neurons]``, which must be zeros,
        are written; counts ``[T, C]``; arrays: of ``packed.Packed``.

    Returns:
        −1, or the index of a whole-number population whose state left ±2^53.
    """
    packed = Packed(*arrays)  # which would take longer to hand over as one
    projections, populations, state = packed.projections, packed.populations, packed.state
    window, now, place, amount = packed.window, packed.now, packed.place, packed.amount
    last = len(populations) - 1
    for t in range(potentials.shape[0]):
        spikes = 0
        if t < counts.shape[0]:
            for c in range(counts.shape[1]):
                if counts[t, c] != 0:
                    place[spikes] = c
                    amount[spikes] = counts[t, c]
                    spikes += 1
        _send(-1, spikes, packed)
        for q in range(len(populations)):
            begin, size = populations[q, BEGIN], populations[q, SIZE]
            arriving = packed.current[:size]
            own = packed.bias[begin : begin + size]
            for post in range(size):
                arriving[post] = own[post]
            for p in range(len(projections)):
                row = projections[p]
                if row[TARGET] != q:
                    continue
                half, scale = row[SLOTS] * size, packed.scale[p]
                at = row[WINDOW] + now[p] * size
                arrived = window[at : at + size]
                for post in range(size):
                    arriving[post] += scale * arrived[post]
                # What has arrived stays behind, until the second half is moved over it.
                now[p] += 1
                if now[p] == row[SLOTS]:
                    now[p] = 0
                    moved = window[row[WINDOW] : row[WINDOW] + 2 * half]
                    for i in range(half):
                        moved[i] = moved[half + i]
                        moved[half + i] = 0
            kind, scalar = populations[q, MODEL], packed.scalar[q]
            spikes = _update(kind, state, packed.parameter, scalar, begin, arriving, place)
            if populations[q, WHOLE]:
                for r in range(state.shape[0]):
                    for n in range(begin, begin + size):
                        if abs(state[r, n]) > STATE:
                            return q
            for i in range(spikes):
                fired[t, begin + place[i]] = True
                amount[i] = 1
            _send(q, spikes, packed)
            if q == last:
                for post in range(size):
                    potentials[t, post] = state[0, begin + post] * packed.unit
    return -1
