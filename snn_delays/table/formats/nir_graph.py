"""A network as a graph of the Neuromorphic Intermediate Representation (NIR).

NIR delays whole signals, so a layer with a delay per synapse becomes parallel branches, one for
every delay d that occurs, and what they bring to the neurons adds up:

    source → Delay(d · dt for every pre) → Linear(W where delay = d) → LIF

The branch of delay 0 has no Delay. A bias goes with the first branch, which is Affine then.
NIR's neuron, stepped by forward Euler with dt, is ours if r = τ / dt and v_leak = v_reset:

    τ dv/dt = (v_leak − v) + r·I
    v ← v + dt/τ · ((v_leak − v) + r·I) = v_leak + (1 − dt/τ) · (v − v_leak) + I,   β = 1 − dt/τ

What NIR cannot say is in metadata named ``snn_delays``: of the graph, ``network.json`` as text;
of each neuron node, bias and constants to the last digit (docs/formats.md).

Reference:
    Pedersen et al., Neuromorphic intermediate representation, Nature Communications 2024,
    arXiv:2311.14641; https://nnir.readthedocs.io.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.formats.header import LayerHeader, header_of
from snn_delays.table.formats.header_json import to_json
from snn_delays.table.table import DelayTable, LayerTable

METADATA = "snn_delays"
# τ of a neuron that keeps all of v, in steps: 1 − 2^−60 is 1 in single precision, and infinity
# would make r·I undefined.
NO_LEAK = 2.0**60
MAX_BYTES = 2**30

Float32 = NDArray[np.float32]


def to_nir(table: DelayTable) -> nir.NIRGraph:
    """The graph ``input → layer_0 → … → output``, which ``from_nir`` turns into the same table.

    Raises:
        UsageError: rows that repeat pre, post and delay of another, which a matrix cannot keep
            apart; numbers beyond single precision; matrices of more than 1 GiB in all.
    """
    _require_room(table)
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array([table.input_channels])})}
    edges: list[tuple[str, str]] = []
    source = "input"
    for index, (header, layer) in enumerate(
        zip(header_of(table).layers, table.layers, strict=True)
    ):
        name = f"layer_{index}"
        try:
            branches = _branches(layer, table.dt_ms / 1000)
            neuron = _neuron(layer, header, table.dt_ms / 1000)
        except UsageError as error:
            raise UsageError(f"NIR: layer {index}: {error}") from error
        for steps, (delay, weight) in branches.items():
            before = source
            if delay is not None:
                before = f"{name}_delay_{steps}"
                nodes[before] = delay
                edges.append((source, before))
            nodes[f"{name}_weight_{steps}"] = weight
            edges += [(before, f"{name}_weight_{steps}"), (f"{name}_weight_{steps}", name)]
        nodes[name] = neuron
        source = name
    nodes["output"] = nir.Output({"output": np.array([table.layers[-1].n_post])})
    edges.append((source, "output"))
    metadata = {METADATA: to_json(header_of(table))}
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata=metadata)


def _require_room(table: DelayTable) -> None:
    matrices = [
        (np.unique(layer.synapses.delay).size, layer.n_post, layer.n_pre) for layer in table.layers
    ]
    size = sum(4 * count * n_post * n_pre for count, n_post, n_pre in matrices)
    if size > MAX_BYTES:
        raise UsageError(
            f"NIR: a matrix for every delay would take {size / 2**30:.1f} GiB, more than "
            f"{MAX_BYTES / 2**30:.0f}. Use the format sonata, which holds synapses as a list."
        )


def _branches(layer: LayerTable, dt: float) -> dict[int, tuple[nir.Delay | None, Any]]:
    """Delay and weights of every delay in use, shortest first; at least one."""
    rows = layer.synapses
    _require_distinct(layer)
    used = np.flatnonzero(rows.weight)
    pre, post, delay = rows.pre[used], rows.post[used], rows.delay[used]
    weight = _float32("weights", layer.current_weight[used])
    if np.any(weight == 0):
        raise UsageError(
            f"weights must not vanish in single precision: weight_scale {layer.weight_scale}."
        )
    bias = _float32("bias", layer.bias * layer.unit)
    found: dict[int, tuple[nir.Delay | None, Any]] = {}
    for steps in np.unique(delay).tolist() or [0]:
        matrix = np.zeros((layer.n_post, layer.n_pre), np.float32)
        now = delay == steps
        matrix[post[now], pre[now]] = weight[now]
        # float64: whole multiples of dt stay so, however long the delay.
        waiting = nir.Delay(np.full(layer.n_pre, steps * dt)) if steps else None
        biased = bias.any() and not found
        found[steps] = waiting, nir.Affine(matrix, bias) if biased else nir.Linear(matrix)
    return found


def _require_distinct(layer: LayerTable) -> None:
    rows = layer.synapses
    places = np.stack([rows.pre, rows.post, rows.delay], axis=1)
    repeated = len(rows) - len(np.unique(places, axis=0))
    if repeated:
        raise UsageError(
            f"{repeated} of {len(rows)} synapses repeat pre, post and delay of another, and a "
            "matrix keeps only their sum. Add them up first, or use another format."
        )


def _neuron(layer: LayerTable, header: LayerHeader, dt: float) -> Any:
    keep = 1 - layer.neuron.beta.astype(np.float64)
    steps = np.divide(1.0, keep, out=np.full(layer.n_post, NO_LEAK), where=keep > 0)
    tau, r = _float32("tau", steps * dt), steps.astype(np.float32)
    v_reset = _float32("v_reset", layer.neuron.v_reset * layer.unit)
    metadata = {METADATA: header.neuron_arrays(layer)}
    if not layer.neuron.spiking:
        return nir.LI(tau=tau, r=r, v_leak=v_reset, metadata=metadata)
    return nir.LIF(
        tau=tau,
        r=r,
        v_leak=v_reset,
        v_threshold=_float32("v_threshold", layer.neuron.v_threshold * layer.unit),
        v_reset=v_reset.copy(),
        metadata=metadata,
    )


def _float32(name: str, values: NDArray[np.generic]) -> Float32:
    with np.errstate(over="ignore", under="ignore"):
        single = values.astype(np.float32)
    if not np.all(np.isfinite(single)):
        raise UsageError(f"{name} must fit into single precision, got more than 3.4e38.")
    return single
