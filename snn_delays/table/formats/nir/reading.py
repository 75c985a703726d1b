"""From a NIR graph to a delay table: our own graphs exactly, those of others by forward Euler."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import nir
import numpy as np

from snn_delays.arguments import plain
from snn_delays.errors import UsageError
from snn_delays.table import schema
from snn_delays.table.formats.network_json import (
    Float64,
    from_json,
    neuron_arrays,
    population,
    projection,
    whole,
)
from snn_delays.table.formats.nir.graph import METADATA, to_nir
from snn_delays.table.formats.nir.order import in_order
from snn_delays.table.formats.nir.walk import (
    READERS,
    Network,
    Rows,
    network_of,
    numbers,
    vector,
)
from snn_delays.table.models.constants import single
from snn_delays.table.population import NAME, Population
from snn_delays.table.projection import COLUMNS, Projection
from snn_delays.table.require import naming
from snn_delays.table.table import INPUT, DelayTable

_log = logging.getLogger("snn_delays")

# Seconds from which a time constant is suspected to be milliseconds, at steps of up to 1 ms.
_LONG_TAU = 1.0


def from_nir(
    graph: nir.NIRGraph,
    *,
    dt_ms: float | None = None,
    readout: str | None = None,
    class_names: Sequence[str] | None = None,
    tail_steps: int | None = None,
) -> DelayTable:
    """The table of a graph; rows sorted by pre, post and delay.

    A graph of ``to_nir`` gives the same table: weights from its branches, all else from its
    metadata, which must agree with its nodes. Of another program's graph, neurons are stepped by
    forward Euler with dt:

        v ← v + dt/τ · ((v_leak − v) + r·I)   LIF, LI
        v ← v + dt · r·I                      IF, I

    Weights that lead to the output make a population of LI neurons with beta 0, whose v they are.
    In a cycle without any Delay, what leads back arrives one step later.

    Args:
        dt_ms: duration of a step, of Python or numpy; needed if the graph does not say it.
        readout, class_names: for graphs of other programs; ``spike_count`` of an output that
            spikes, else ``mean``, and names are 0, 1, … unless given.
        tail_steps: silence after the input; the longest delays from the input to the output,
            without cycles, unless given.

    Raises:
        UsageError: no graph; a node or connection that a table cannot express; no dt_ms; a graph of
            ``to_nir`` that was changed since.

    A time constant that looks as if it were in ms, neurons that never stop firing, and cycles
    without a Delay are logged as warnings: NIR allows them.
    """
    if not isinstance(graph, nir.NIRGraph):
        raise UsageError(
            f"from_nir takes a nir.NIRGraph, got {type(graph).__name__}. read_nir reads a file."
        )
    own = graph.metadata.get(METADATA)
    # 0.1 is meant to be 0.1 in single precision too.
    dt_ms = float(str(dt_ms)) if isinstance(dt_ms, np.floating) else plain(dt_ms)
    with naming("NIR"):
        if own is not None:
            return _restored(graph, own, dt_ms)
        if not isinstance(dt_ms, int | float) or not dt_ms > 0:
            raise UsageError(
                f"the graph does not say how long a step is: give dt_ms > 0, got {dt_ms!r}."
            )
        network = network_of(graph, float(dt_ms))
        populations, projections = _euler(network, float(dt_ms))
    output = populations[-1]
    names: Any = map(str, range(output.size)) if class_names is None else class_names
    table = DelayTable(
        populations=tuple(populations),
        projections=tuple(projections),
        dt_ms=float(dt_ms),
        class_names=names,
        readout=readout or ("spike_count" if output.spiking else "mean"),
        tail_steps=0 if tail_steps is None else plain(tail_steps),
        input_channels=network.channels,
        created_by=f"NIR {nir.version}",
    )
    if tail_steps is None:
        forth = {one.name: one.max_delay for one in projections if not table.leads_back(one)}
        table = replace(table, tail_steps=table.lags(forth)[0][output.name])
    return table


def _restored(graph: nir.NIRGraph, own: Any, dt_ms: float | None) -> DelayTable:
    if not isinstance(own, str):
        raise UsageError(f"metadata {METADATA!r} must be JSON text, got {type(own).__name__}.")
    header = from_json(own)
    if dt_ms not in (None, header["dt_ms"]):
        raise UsageError(f"the graph says dt_ms = {header['dt_ms']}, got {dt_ms}. Leave it out.")
    table = schema.network(
        header,
        [
            population(header, name, _own_arrays(graph, name, neuron_arrays(header, name)))
            for name in header["populations"]
        ],
        [projection(header, name, _own_rows(graph, name)) for name in header["projections"]],
    )
    if difference := _difference(graph, to_nir(table)):
        raise UsageError(
            f"{difference} differs from what the metadata say: the graph was changed or damaged. "
            f"To import it as it is, delete the metadata {METADATA!r} and give dt_ms."
        )
    return table


def _own_arrays(graph: nir.NIRGraph, name: str, wanted: tuple[str, ...]) -> dict[str, Float64]:
    metadata = getattr(graph.nodes.get(name), "metadata", {}).get(METADATA)
    if not isinstance(metadata, dict):
        raise UsageError(f"node {name!r} must have metadata {METADATA!r}, got none.")
    found = {key: np.asarray(metadata.get(key)) for key in wanted}
    for key, values in found.items():
        if values.dtype.kind not in "iuf":
            raise UsageError(f"metadata of node {name!r} must have numbers {key!r}.")
    return {key: values.astype(np.float64) for key, values in found.items()}


def _own_rows(graph: nir.NIRGraph, name: str) -> dict[str, Float64]:
    """A projection's columns, from the matrices of its branches."""
    rows: list[Rows] = []
    for node, content in graph.nodes.items():
        branch = re.fullmatch(rf"{name}_weight_(\d+)", node)
        if branch and isinstance(content, (nir.Linear, nir.Affine)):
            weight = numbers(node, content, "weight")
            if weight.ndim != 2:
                raise UsageError(
                    f"weight of node {node!r} must be [post, pre], got shape {weight.shape}."
                )
            post, pre = np.nonzero(weight)
            rows.append((pre, post, np.full(len(pre), float(branch[1])), weight[post, pre]))
    return dict(zip(COLUMNS, _sorted(rows), strict=True))


def _sorted(parts: list[Rows]) -> tuple[Float64, ...]:
    """All rows as float64, by pre, post and delay."""
    rows = np.concatenate([np.zeros((4, 0)), *map(np.stack, parts)], axis=1)
    return tuple(rows[:, np.lexsort(rows[2::-1])])


def _difference(got: nir.NIRGraph, expected: nir.NIRGraph) -> str | None:
    if set(got.nodes) != set(expected.nodes) or set(got.edges) != set(expected.edges):
        return "the set of nodes and edges"
    for name, node in expected.nodes.items():
        if type(got.nodes[name]) is not type(node):
            return f"the type of node {name!r}"
        for field in _fields(node):
            if not np.array_equal(getattr(got.nodes[name], field), getattr(node, field)):
                return f"{field} of node {name!r}"
    return None


def _fields(node: Any) -> list[str]:
    """Names of a node's own numbers."""
    names = [field.name for field in dataclasses.fields(node)]
    return [one for one in names if one not in ("input_type", "output_type", "metadata")]


def _euler(network: Network, dt_ms: float) -> tuple[list[Population], list[Projection]]:
    rows = {ends: _sorted(parts) for ends, parts in network.branches.items()}
    between = [ends for ends in rows if ends[0] != network.source]
    instant = [ends for ends in between if np.any(rows[ends][2] == 0)]
    ordered = in_order(network.biases, network.output, between, instant)
    back = [ends for ends in between if ordered.index(ends[0]) >= ordered.index(ends[1])]
    if late := sorted(set(back) & set(instant)):
        _log.warning(
            "NIR: nodes %s close cycles without a Delay: what leads back there arrives one step "
            "later. If it is another time, give these cycles a Delay.",
            ", ".join(f"{source!r} → {target!r}" for source, target in late),
        )
    names = _table_names(ordered)
    populations, gains = [], {}
    for name in ordered:
        found, gains[name] = _population(network, name, names[name], dt_ms / 1000)
        populations.append(found)
    names[network.source] = INPUT
    projections = []
    for (source, target), (pre, post, delay, weight) in rows.items():
        least = int((source, target) in back)
        scaled = single(f"weights into {target!r}", weight * gains[target][post.astype(int)])
        kept = np.flatnonzero(scaled)
        columns = (pre, post, np.maximum(delay, least))
        pre, post, delay = (
            whole(f"pre, post and delay into {target!r}", one[kept]) for one in columns
        )
        ends, longest = (names[source], names[target]), int(delay.max(initial=least))
        projections.append(Projection(*ends, pre, post, delay, scaled[kept], least, longest))
    return populations, projections


def _table_names(nodes: list[str]) -> dict[str, str]:
    """Letters, digits and _ only, each name once."""
    found: dict[str, str] = {}
    for node in nodes:
        name = re.sub(r"[^A-Za-z0-9_]", "_", node)
        name = name if NAME.fullmatch(name) and name != INPUT else f"node_{name}"
        while name in found.values():
            name += "_"
        found[node] = name
    return found


def _population(network: Network, name: str, called: str, dt: float) -> tuple[Population, Float64]:
    """A node's neurons, and what their currents are multiplied by."""
    bias, node = network.biases[name], network.nodes[name]
    size = len(bias)
    if isinstance(node, nir.Output):
        return Population.of(called, "LI", size, beta=0, bias=bias), np.ones(size)
    model = READERS[type(node).__name__]
    fields = {field: vector(name, node, field, size) for field in _fields(node)}
    _check(name, fields, dt)
    values, scalars, gain, drive = model.require("NIR", "from_nir")(fields, dt)
    gain = np.broadcast_to(gain, (size,))
    with naming(f"node {name!r}"):
        parameters = {key: single(key, one) for key, one in values.items()}
        population = Population(
            called, model, single("bias", gain * bias + drive), parameters, scalars
        )
    return population, gain


def _check(name: str, fields: dict[str, Float64], dt: float) -> None:
    for field, tau in fields.items():
        if not field.startswith("tau"):
            continue
        # A tau of one step may be a little less in single precision.
        if np.any(tau < dt * (1 - 1e-6)):
            raise UsageError(
                f"{field} of node {name!r} must be at least a step of {dt * 1000} ms, "
                f"got {tau.min() * 1000} ms. Use a smaller dt_ms."
            )
        # Beyond 2^24 steps single precision keeps all of v: no leak is meant, as NO_LEAK is.
        suspect = tau[(tau >= _LONG_TAU) & (tau < 2**24 * dt)]
        if dt <= 1e-3 * (1 + 1e-6) and suspect.size:
            _log.warning(
                "NIR: %s of node %r is %g s or more in %d of %d neurons, at steps of %g ms: NIR's "
                "tau is in seconds. If these are milliseconds or steps, write the graph with "
                "seconds.",
                *(field, name, suspect.min(), suspect.size, tau.size, dt * 1000),
            )
    if "v_reset" not in fields:
        return
    if stuck := np.count_nonzero(fields["v_reset"] >= fields["v_threshold"]):
        _log.warning(
            "NIR: v_reset of node %r is not below v_threshold in %d of %d neurons, which fire at "
            "every step once they have fired. Is it what was meant?",
            *(name, stuck, len(fields["v_reset"])),
        )
