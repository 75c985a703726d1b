"""A table as flat arrays, one after another: what the compiled loops run on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.models import MODELS
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
