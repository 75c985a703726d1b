"""A network as a graph of the Neuromorphic Intermediate Representation (NIR).

NIR delays whole signals, so a projection becomes parallel branches, one for every delay d that
occurs, and what they bring to the neurons adds up:

    source → Delay(d · dt for every pre) → Linear(W where delay = d) → neurons

The branch of delay 0 has no Delay. A bias goes with the first branch of a population, which is
Affine then. A projection that leads back closes a cycle, and its Delays of at least one step say
when that comes round: an importer that adds a step to every cycle must take it off again.
Neurons are stepped by forward Euler with dt (``table/models``).

What NIR cannot say is in metadata named ``snn_delays``: of the graph, ``network.json`` as text;
of each neuron node, bias and constants to the last digit (docs/formats.md).

Reference:
    Pedersen et al., Neuromorphic intermediate representation, Nature Communications 2024,
    arXiv:2311.14641; https://nnir.readthedocs.io.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table import schema
from snn_delays.table.formats.network_json import to_json
from snn_delays.table.models.constants import single
from snn_delays.table.projection import Projection
from snn_delays.table.require import naming
from snn_delays.table.table import INPUT, DelayTable

METADATA = "snn_delays"
MAX_BYTES = 2**30

Float32 = NDArray[np.float32]


def to_nir(table: DelayTable) -> nir.NIRGraph:
    """The graph, which ``from_nir`` turns into the same table.

    Neurons are called as their population, branches ``PROJECTION_delay_STEPS`` and
    ``PROJECTION_weight_STEPS``.

    Raises:
        UsageError: neurons that NIR has no node for; rows that repeat pre, post and delay of
            another, which a matrix cannot keep apart; numbers beyond single precision; matrices of
            more than 1 GiB in all.
    """
    _require_room(table)
    dt = table.dt_ms / 1000
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []

    def add(name: str, node: Any, *before: str) -> str:
        if name in nodes:
            raise UsageError(f"NIR: two nodes would be called {name!r}. Rename what is called so.")
        nodes[name] = node
        edges.extend((one, name) for one in before)
        return name

    add(INPUT, nir.Input({"input": np.array([table.input_channels])}))
    for population in table.populations:
        with naming(f"NIR: population {population.name}"):
            bias, values = population.float_values(table.unit(population))
            unsaid = single("bias", bias)
            node = population.model.require("NIR", "to_nir")(values, population.scalars, dt)
            node.metadata = {METADATA: schema.arrays_of(population)}
        target = add(population.name, node)
        for projection in table.into(population.name):
            with naming(f"NIR: projection {projection.name}"):
                branches = dict(_branches(table, projection))
            for steps, matrix in branches.items():
                before = projection.source
                if steps:
                    # float64: whole multiples of dt stay so, however long the delay.
                    waiting = nir.Delay(np.full(matrix.shape[1], steps * dt))
                    before = add(f"{projection.name}_delay_{steps}", waiting, before)
                weights = nir.Affine(matrix, unsaid) if unsaid.any() else nir.Linear(matrix)
                name = add(f"{projection.name}_weight_{steps}", weights, before)
                edges.append((name, target))
                unsaid = np.zeros(0)
        if not table.into(population.name):
            nothing = np.zeros((population.size, table.input_channels), np.float32)
            name = add(f"{population.name}_bias", nir.Affine(nothing, unsaid), INPUT)
            edges.append((name, target))
    output = "output"
    while output in nodes:
        output += "_"
    add(output, nir.Output({"output": np.array([table.output.size])}), table.output.name)
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata={METADATA: to_json(table)})


def _require_room(table: DelayTable) -> None:
    size = sum(
        4 * np.unique(one.delay).size * table[one.target].size * table.size(one.source)
        for one in table.projections
    )
    if size > MAX_BYTES:
        raise UsageError(
            f"NIR: a matrix for every delay would take {size / 2**30:.1f} GiB, more than "
            f"{MAX_BYTES / 2**30:.0f}. Use the format sonata, which holds synapses as a list."
        )


def _branches(table: DelayTable, projection: Projection) -> Iterator[tuple[int, Float32]]:
    """Every delay in use and its matrix ``[post, pre]``, shortest first; at least one."""
    places = np.stack([projection.pre, projection.post, projection.delay], axis=1)
    if repeated := len(projection) - len(np.unique(places, axis=0)):
        raise UsageError(
            f"{repeated} of {len(projection)} synapses repeat pre, post and delay of another, and "
            "a matrix keeps only their sum. Add them up first, or use another format."
        )
    used = np.flatnonzero(projection.weight)
    pre, post, delay = projection.pre[used], projection.post[used], projection.delay[used]
    weight = single("weights", projection.current_weight[used])
    if np.any(weight == 0):
        raise UsageError(
            f"weights must not vanish in single precision: weight_scale {projection.weight_scale}."
        )
    for steps in np.unique(delay).tolist() or [int(table.leads_back(projection))]:
        matrix = np.zeros(
            (table[projection.target].size, table.size(projection.source)), np.float32
        )
        now = delay == steps
        matrix[post[now], pre[now]] = weight[now]
        yield steps, matrix
