"""The loops of ``events.py``, compiled by numba, and the arrays that they run on.

One call advances the whole network: every spike walks its own synapses, and the step of each
neuron model is compiled into it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.loops.loop import called, loop
from snn_delays.table.models import MODELS, Model
from snn_delays.table.simulator.bounds import STATE
from snn_delays.table.table import INPUT, DelayTable

# Columns of a projection's row in ``projections``, and of a population's in ``populations``.
SOURCE, TARGET, N_POST, SLOTS, FIRST, WINDOW = range(6)
MODEL, BEGIN, SIZE, WHOLE = range(4)

MODEL_LIST = tuple(MODELS.values())
_ROWS = max(len(model.parameters) for model in MODEL_LIST)
_STATES = max(len(model.state) for model in MODEL_LIST)
_SCALARS = max(len(model.scalars) for model in MODEL_LIST)


class Packed(NamedTuple):
    """The arrays that a table's steps are made of, and its state.

    Synapses are sorted by projection, pre, delay, then post: what one spike sends is read in one
    stretch and written in the order in which it arrives.

    Shape:
        projections ``[P, 6]``, populations ``[Q, 4]``: int64, columns as above; SOURCE −1 is the
            input. scale ``[P]``: what a step's sum of weights is multiplied by.
        first: of projection p, presynaptic neuron i has the synapses first[FIRST + i] up to the
            next entry. cell: (delay − 1 if the projection leads back) · n_post + post; weight.
        bias ``[N]``, parameter ``[rows, N]``, state ``[rows, N]``, scalar ``[Q, columns]``.
        now ``[P]``: the row of its window that arrives next; window: 2 · slots rows of n_post for
            every projection, currents that wait.
        current, place, amount: room to work in, for the largest of all sources.
    """

    unit: float
    projections: NDArray[np.int64]
    populations: NDArray[np.int64]
    scale: NDArray[np.float64]
    first: NDArray[np.int64]
    cell: NDArray[np.uint32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float64]
    parameter: NDArray[np.float64]
    scalar: NDArray[np.float64]
    state: NDArray[np.float64]
    window: NDArray[np.float64]
    now: NDArray[np.int64]
    current: NDArray[np.float64]
    place: NDArray[np.int64]
    amount: NDArray[np.float64]


def pack(table: DelayTable) -> Packed:
    """The arrays of a table at rest."""
    order, sizes = {INPUT: -1, **table.order}, [one.size for one in table.populations]
    begins = np.cumsum([0, *sizes])
    parameter, state = np.zeros((_ROWS, begins[-1])), np.zeros((_STATES, begins[-1]))
    scalar, populations = np.zeros((len(sizes), _SCALARS)), []
    for row, one in enumerate(table.populations):
        populations.append((MODEL_LIST.index(one.model), begins[row], one.size, one.integer))
        parameters, rest, scalars = one.step_values()
        cells = slice(begins[row], begins[row + 1])
        parameter[: len(parameters), cells] = parameters
        state[: len(rest), cells] = rest
        scalar[row, : len(scalars)] = scalars
    projections, scale = [], []
    firsts, cells_of, weights = [np.zeros(0, np.int64)], [np.zeros(0, np.uint32)], []
    first = window = stored = 0
    for one in table.projections:
        target, back = table[one.target], table.leads_back(one)
        slots = int(one.delay.max(initial=0)) + (0 if back and len(one) else 1)
        if slots * target.size > np.iinfo(np.uint32).max:
            raise UsageError(
                f"simulate: projection {one.name}: delays up to {one.delay.max()} steps into "
                f"{target.size} neurons need too much memory. Use a longer time step."
            )
        ends = (order[one.source], order[one.target])
        projections.append((*ends, target.size, slots, first, window))
        scale.append(1 << target.scalars["weight_shift"] if target.integer else one.weight_scale)
        rows = np.lexsort((one.post, one.delay, one.pre))
        n_pre = table.size(one.source)
        firsts.append(stored + np.searchsorted(one.pre[rows], np.arange(n_pre + 1)))
        cell = (one.delay[rows].astype(np.int64) - back) * target.size + one.post[rows]
        cells_of.append(cell.astype(np.uint32))
        # int8, int16 and float32 are all exact in float32.
        weights.append(one.weight[rows].astype(np.float32))
        first += n_pre + 1
        window += 2 * slots * target.size
        stored += len(one)
    room = max(table.input_channels, *sizes)
    return Packed(
        unit=table.unit(table.output),
        projections=np.array(projections, np.int64).reshape(-1, 6),
        populations=np.array(populations, np.int64),
        scale=np.array(scale, np.float64),
        first=np.concatenate(firsts),
        cell=np.concatenate(cells_of),
        weight=np.concatenate([np.zeros(0, np.float32), *weights]),
        bias=np.concatenate([one.bias for one in table.populations]).astype(np.float64),
        parameter=parameter,
        scalar=scalar,
        state=state,
        window=np.zeros(window),
        now=np.zeros(len(projections), np.int64),
        current=np.zeros(room),
        place=np.zeros(room, np.int64),
        amount=np.zeros(room),
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
        are written; counts ``[T, C]``; arrays: of ``Packed``.

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
