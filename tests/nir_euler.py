"""A reference for NIR graphs: every node's own equation, one forward Euler step at a time."""

from __future__ import annotations

from typing import Any

import nir
import numpy as np


def run_graph(graph: nir.NIRGraph, inputs: np.ndarray, dt: float) -> dict[str, np.ndarray]:
    """What every node sends at every step, ``[T, n]``; ``name + ".v"`` is v of neurons.

    Neurons fire at v >= v_threshold, as the table does (NIR says >). State starts at v_reset,
    or at 0 where there is none. Nodes are computed in an order in which sources come first.
    """
    order = _sources_first(graph)
    sent: dict[str, list[np.ndarray]] = {name: [] for name in order}
    state: dict[str, Any] = {name: _start(graph.nodes[name]) for name in order}
    potentials: dict[str, list[np.ndarray]] = {f"{name}.v": [] for name in order}
    for t, now in enumerate(inputs):
        for name in order:
            node = graph.nodes[name]
            arriving = [sent[before][t] for before, after in graph.edges if after == name]
            x = now if isinstance(node, nir.Input) else np.sum(arriving, axis=0)
            if isinstance(node, nir.Linear):
                x = node.weight.astype(float) @ x
            elif isinstance(node, nir.Affine):
                x = node.weight.astype(float) @ x + node.bias
            elif isinstance(node, nir.Scale):
                x = node.scale.astype(float) * x
            elif isinstance(node, nir.Delay):
                state[name].append(x)
                steps = np.rint(node.delay / dt).astype(int)
                x = np.array([state[name][t - d][i] if t >= d else 0 for i, d in enumerate(steps)])
            elif isinstance(node, (nir.LIF, nir.LI, nir.IF, nir.I)):
                v = state[name]
                leaky = isinstance(node, (nir.LIF, nir.LI))
                v = v + (
                    dt / node.tau.astype(float) * (node.v_leak - v + node.r * x)
                    if leaky
                    else dt * node.r * x
                )
                x = v
                if isinstance(node, (nir.LIF, nir.IF)):
                    x = (v >= node.v_threshold).astype(float)
                    v = np.where(x > 0, node.v_reset, v)
                state[name] = v
                potentials[f"{name}.v"].append(v)
            sent[name].append(x)
    return {name: np.array(rows) for name, rows in (sent | potentials).items()}


def _start(node: Any) -> Any:
    if isinstance(node, nir.Delay):
        return []
    if isinstance(node, (nir.LIF, nir.IF)):
        return np.asarray(node.v_reset, float)
    return 0.0


def _sources_first(graph: nir.NIRGraph) -> list[str]:
    order: list[str] = []
    while len(order) < len(graph.nodes):
        order += [
            name
            for name in graph.nodes
            if name not in order
            and all(before in order for before, after in graph.edges if after == name)
        ]
    return order
