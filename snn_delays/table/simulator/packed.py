"""A table as flat arrays, one after another: what both simulators run on."""

from __future__ import annotations

import numpy as np

from snn_delays.errors import UsageError
from snn_delays.table.models import MODELS
from snn_delays.table.table import INPUT, DelayTable

# Columns of a projection's row in ``projections``, and of a population's in ``populations``.
SOURCE, TARGET, N_POST, SLOTS, FIRST, WINDOW = range(6)
MODEL, BEGIN, SIZE, WHOLE = range(4)

_ROWS = max(len(model.parameters) for model in MODELS.values())
_STATES = max(len(model.state) for model in MODELS.values())
_SCALARS = max(len(model.scalars) for model in MODELS.values())
MODEL_LIST = tuple(MODELS.values())


class Packed:
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
    """

    def __init__(self, table: DelayTable) -> None:
        self.table = table
        order = {INPUT: -1, **table.order}
        sizes = [one.size for one in table.populations]
        begins = np.cumsum([0, *sizes])
        total = int(begins[-1])
        self.populations = np.zeros((len(sizes), 4), np.int64)
        self.bias = np.zeros(total)
        self.parameter = np.zeros((_ROWS, total))
        self.rest = np.zeros((_STATES, total))
        self.scalar = np.zeros((len(sizes), _SCALARS))
        for row, population in enumerate(table.populations):
            cells = slice(begins[row], begins[row + 1])
            self.populations[row] = (
                MODEL_LIST.index(population.model),
                begins[row],
                population.size,
                population.integer,
            )
            self.bias[cells] = population.bias
            parameters, rest, scalars = population.step_values()
            self.parameter[: len(parameters), cells] = parameters
            self.rest[: len(rest), cells] = rest
            self.scalar[row, : len(scalars)] = scalars
        self.projections = np.zeros((len(table.projections), 6), np.int64)
        self.scale = np.zeros(len(table.projections))
        firsts, cells_of, weights = [np.zeros(0, np.int64)], [np.zeros(0, np.uint32)], []
        first = window = stored = 0
        for index, one in enumerate(table.projections):
            target, back = table[one.target], table.leads_back(one)
            slots = int(one.delay.max(initial=0)) + (0 if back and len(one) else 1)
            if slots * target.size > np.iinfo(np.uint32).max:
                raise UsageError(
                    f"simulate: projection {one.name}: delays up to {one.delay.max()} steps into "
                    f"{target.size} neurons need too much memory. Use a longer time step."
                )
            self.projections[index] = (
                *(order[one.source], order[one.target], target.size, slots, first, window),
            )
            self.scale[index] = (
                1 << target.scalars["weight_shift"] if target.integer else one.weight_scale
            )
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
        self.first, self.cell = np.concatenate(firsts), np.concatenate(cells_of)
        self.weight = np.concatenate([np.zeros(0, np.float32), *weights])
        self.unit = table.unit(table.output)
        self.state = self.rest.copy()
        self.window = np.zeros(window)
        self.now = np.zeros(len(self.projections), np.int64)
        self.parts = {
            one.name: slice(int(begins[row]), int(begins[row + 1]))
            for row, one in enumerate(table.populations)
        }

    def reset(self) -> None:
        """Back to rest, with no spike on its way."""
        self.state[:] = self.rest
        self.window[:] = 0
        self.now[:] = 0
