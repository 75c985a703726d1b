"""From a NIR graph to a delay table: our own graphs exactly, those of others by forward Euler."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from snn_delays.arguments import plain
from snn_delays.errors import UsageError
from snn_delays.table.formats.columns import Float64, multiples, single, whole
from snn_delays.table.formats.header import LayerHeader
from snn_delays.table.formats.header_json import from_json
from snn_delays.table.formats.nir_chain import Stage, chain, vector
from snn_delays.table.formats.nir_graph import METADATA, to_nir
from snn_delays.table.neuron_table import NeuronTable
from snn_delays.table.table import DelayTable, LayerTable, SynapseTable

_log = logging.getLogger("snn_delays")

_SPIKING = (nir.LIF, nir.IF)
# Seconds from which a time constant is suspected to be milliseconds, at steps of up to 1 ms.
_LONG_TAU = 1.0


def from_nir(
    graph: nir.NIRGraph,
    *,
    dt_ms: float | None = None,
    readout: str = "mean",
    class_names: Sequence[str] | None = None,
    tail_steps: int | None = None,
) -> DelayTable:
    """The table of a graph; rows sorted by pre, post and delay.

    A graph of ``to_nir`` gives the same table: weights and delays from its branches, all else
    from its metadata, which must agree with its nodes. Of another program's graph, neurons are
    stepped by forward Euler with dt:

        v ← v + dt/τ · ((v_leak − v) + r·I)   LIF, LI
        v ← v + dt · r·I                      IF, I

    A chain that ends with spiking neurons gets a last layer of LI neurons, one for each, with
    weight 1 and beta 0: with readout ``mean`` its scores are the firing rates per step. One that
    ends with weights gets LI neurons with beta 0 too.

    Args:
        dt_ms: duration of a step, of Python or numpy; needed if the graph does not say it.
        readout, class_names: for graphs of other programs; names are 0, 1, … unless given.
        tail_steps: silence after the input; the sum of the layers' longest delays unless given.

    Raises:
        UsageError: no graph; a node or connection that a table cannot express; no dt_ms; a graph of
            ``to_nir`` that was changed since.

    A time constant that looks as if it were in ms, and neurons that never stop firing, are logged
    as warnings: NIR allows both.
    """
    if not isinstance(graph, nir.NIRGraph):
        raise UsageError(
            f"from_nir takes a nir.NIRGraph, got {type(graph).__name__}. read_nir reads a file."
        )
    own = graph.metadata.get(METADATA)
    # 0.1 is meant to be 0.1 in single precision too.
    dt_ms = float(str(dt_ms)) if isinstance(dt_ms, np.floating) else plain(dt_ms)
    try:
        stages = chain(graph)
        if own is not None:
            return _restored(graph, stages, own, dt_ms)
        if not isinstance(dt_ms, int | float) or not dt_ms > 0:
            raise UsageError(
                f"the graph does not say how long a step is: give dt_ms > 0, got {dt_ms!r}."
            )
        _require_spiking(stages[:-1])
        layers = [_euler(index, stage, dt_ms) for index, stage in enumerate(stages)]
    except UsageError as error:
        raise UsageError(f"NIR: {error}") from error
    if layers[-1].neuron.spiking:
        layers.append(_counting(len(layers), layers[-1].n_post))
    n_classes = layers[-1].n_post
    longest = sum(layer.max_delay for layer in layers)
    return DelayTable(
        layers=tuple(layers),
        dt_ms=float(dt_ms),
        class_names=tuple(map(str, range(n_classes))) if class_names is None else (*class_names,),
        readout=readout,
        tail_steps=longest if tail_steps is None else plain(tail_steps),
        input_channels=layers[0].n_pre,
        created_by=f"NIR {nir.version}",
    )


def _require_spiking(hidden: list[Stage]) -> None:
    for stage in hidden:
        if not isinstance(stage.node, _SPIKING):
            raise UsageError(
                f"node {stage.name!r} is {type(stage.node).__name__}, which never spikes, but "
                "layers follow it; only the last one may be LI or I."
            )


def _restored(
    graph: nir.NIRGraph, stages: list[Stage], own: Any, dt_ms: float | None
) -> DelayTable:
    if not isinstance(own, str):
        raise UsageError(f"metadata {METADATA!r} must be JSON text, got {type(own).__name__}.")
    header = from_json(own)
    if dt_ms is not None and dt_ms != header.dt_ms:
        raise UsageError(f"the graph says dt_ms = {header.dt_ms}, got {dt_ms}. Leave it out.")
    if len(stages) != len(header.layers):
        raise UsageError(f"metadata names {len(header.layers)} layers, got {len(stages)}.")
    layers: list[LayerTable] = []
    for layer, stage in zip(header.layers, stages, strict=True):
        bias, neuron = layer.neurons(_own_arrays(stage, layer))
        synapses = layer.synapses(*_rows(stage, header.dt_ms))
        layers.append(layer.layer(synapses, bias, neuron))
    table = header.table(layers)
    _require_unchanged(graph, to_nir(table))
    return table


def _own_arrays(stage: Stage, layer: LayerHeader) -> dict[str, Float64]:
    metadata = getattr(stage.node, "metadata", {}).get(METADATA)
    if not isinstance(metadata, dict):
        raise UsageError(f"node {stage.name!r} must have metadata {METADATA!r}, got none.")
    found = {}
    for name in layer.neuron_columns:
        values = np.asarray(metadata.get(name))
        if values.dtype.kind not in "iuf":
            raise UsageError(f"metadata of node {stage.name!r} must have numbers {name!r}.")
        found[name] = values.astype(np.float64)
    return found


def _require_unchanged(got: nir.NIRGraph, expected: nir.NIRGraph) -> None:
    """The metadata restore a network; the graph must still be the one that it is written as."""
    difference = _difference(got, expected)
    if difference:
        raise UsageError(
            f"{difference} differs from what the metadata say: the graph was changed or damaged. "
            f"To import it as it is, delete the metadata {METADATA!r} and give dt_ms."
        )


def _difference(got: nir.NIRGraph, expected: nir.NIRGraph) -> str | None:
    if set(got.nodes) != set(expected.nodes) or set(got.edges) != set(expected.edges):
        return "the set of nodes and edges"
    for name, node in expected.nodes.items():
        if type(got.nodes[name]) is not type(node):
            return f"the type of node {name!r}"
        for field in ("delay", "weight", "bias", "tau", "r", "v_leak", "v_threshold", "v_reset"):
            if hasattr(node, field) and not np.array_equal(
                getattr(got.nodes[name], field), getattr(node, field)
            ):
                return f"{field} of node {name!r}"
    return None


def _rows(stage: Stage, dt_ms: float) -> tuple[Float64, Float64, Float64, Float64]:
    """pre, post, delay in steps and weight of all branches, sorted."""
    columns: list[tuple[NDArray[Any], ...]] = []
    for branch in stage.branches:
        post, pre = np.nonzero(branch.weight)
        delay_ms = (branch.pre_delay[pre] + branch.post_delay[post]) * 1000
        steps = multiples(f"delay into {stage.name!r} (ms)", delay_ms, "dt_ms", dt_ms)
        columns.append((pre, post, steps, branch.weight[post, pre]))
    pre, post, delay, weight = (np.concatenate(one) for one in zip(*columns, strict=True))
    order = np.lexsort((delay, post, pre))
    return (
        pre[order].astype(np.float64),
        post[order].astype(np.float64),
        delay[order],
        weight[order],
    )


def _euler(index: int, stage: Stage, dt_ms: float) -> LayerTable:
    beta, gain, drive, v_threshold, v_reset = _constants(stage, dt_ms / 1000)
    *places, weight = _rows(stage, dt_ms)
    pre, post, delay = (
        whole(f"{name} of {stage.name!r}", column)
        for name, column in zip(("pre", "post", "delay"), places, strict=True)
    )
    scaled = single(weight * gain[post])
    kept = np.flatnonzero(scaled)
    bias = gain * np.sum([branch.bias for branch in stage.branches], axis=0) + drive
    spiking = isinstance(stage.node, _SPIKING)
    try:
        return LayerTable(
            source="input" if index == 0 else index - 1,
            target=index,
            n_pre=stage.n_pre,
            n_post=stage.n_post,
            min_delay=0,
            max_delay=int(delay[kept].max(initial=0)),
            synapses=SynapseTable(pre[kept], post[kept], delay[kept], scaled[kept]),
            bias=single(bias),
            neuron=NeuronTable(
                model="LIF" if spiking else "LI",
                reset="hard" if spiking else "none",
                beta=single(beta),
                v_threshold=single(v_threshold),
                v_reset=single(v_reset),
            ),
        )
    except UsageError as error:
        raise UsageError(f"node {stage.name!r}: {error}") from error


def _constants(stage: Stage, dt: float) -> tuple[Float64, Float64, Float64, Float64, Float64]:
    """beta, what I is multiplied by, what v_leak adds per step, v_threshold and v_reset."""
    name, node, size = stage.name or "", stage.node, stage.n_post
    nothing, never = np.zeros(size), np.full(size, np.inf)
    if node is None:
        return nothing, np.ones(size), nothing, never, nothing
    r = vector(name, node, "r", size)
    if isinstance(node, (nir.LIF, nir.LI)):
        tau = vector(name, node, "tau", size)
        # A tau of one step may be a little less in single precision.
        if np.any(tau < dt * (1 - 1e-6)):
            raise UsageError(
                f"tau of node {name!r} must be at least a step of {dt * 1000} ms, "
                f"got {tau.min() * 1000} ms. Use a smaller dt_ms."
            )
        _warn_of_milliseconds(name, tau, dt)
        share = np.minimum(dt / tau, 1.0)
        beta, gain, drive = 1 - share, share * r, share * vector(name, node, "v_leak", size)
    else:
        beta, gain, drive = np.ones(size), dt * r, nothing
    if not isinstance(node, _SPIKING):
        return beta, gain, drive, never, nothing
    v_reset = vector(name, node, "v_reset", size)
    v_threshold = vector(name, node, "v_threshold", size)
    if stuck := np.count_nonzero(v_reset >= v_threshold):
        _log.warning(
            "NIR: v_reset of node %r is not below v_threshold in %d of %d neurons, which fire at "
            "every step once they have fired. Is it what was meant?",
            name, stuck, size,
        )  # fmt: skip
    # Ours leaks towards v_reset; the rest of the way to v_leak is a constant current.
    drive = drive - (1 - beta) * v_reset
    return beta, gain, drive, v_threshold, v_reset


def _warn_of_milliseconds(name: str, tau: Float64, dt: float) -> None:
    # Beyond 2^24 steps single precision keeps all of v: no leak is meant, as NO_LEAK is.
    suspect = tau[(tau >= _LONG_TAU) & (tau < 2**24 * dt)]
    if dt <= 1e-3 * (1 + 1e-6) and suspect.size:
        _log.warning(
            "NIR: tau of node %r is %g s or more in %d of %d neurons, at steps of %g ms: NIR's tau "
            "is in seconds. If these are milliseconds or steps, write the graph with seconds.",
            name, suspect.min(), suspect.size, tau.size, dt * 1000,
        )  # fmt: skip


def _counting(index: int, size: int) -> LayerTable:
    """A readout whose v is 1 in every step in which the neuron before it spikes, else 0."""
    each = np.arange(size, dtype=np.int32)
    zeros = np.zeros(size, np.float32)
    return LayerTable(
        source=index - 1,
        target=index,
        n_pre=size,
        n_post=size,
        min_delay=0,
        max_delay=0,
        synapses=SynapseTable(each, each, np.zeros(size, np.int32), np.ones(size, np.float32)),
        bias=zeros,
        neuron=NeuronTable("LI", "none", zeros, np.full(size, np.inf, np.float32), zeros),
    )
