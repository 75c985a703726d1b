"""The reference of NIR graphs: every node's own equation, one forward Euler step at a time."""

from __future__ import annotations

from typing import Any

import nir
import numpy as np


def run_graph(
    graph: nir.NIRGraph,
    inputs: np.ndarray,
    dt: float,
    late: tuple[tuple[str, str], ...] = (),
) -> dict[str, np.ndarray]:
    """What every node sends at every step, ``[T, n]``; ``name + ".v"`` is v of neurons.

    Neurons fire at v >= v_threshold, as the table does (NIR says >). State starts at v_reset,
    or at 0 where there is none. Nodes are computed in an order in which sources come first, but
    for Delays of a step or more, which need nothing of this step, and for the edges in ``late``,
    over which goes what was sent in the step before.
    """
    waiting = {
        name: np.rint(node.delay / dt).astype(int)
        for name, node in graph.nodes.items()
        if isinstance(node, nir.Delay)
    }
    early = {name for name, steps in waiting.items() if np.all(steps > 0)}
    order = _sources_first(graph, early, late)
    sent: dict[str, list[np.ndarray]] = {name: [] for name in order}
    came: dict[str, list[np.ndarray]] = {name: [] for name in waiting}
    state: dict[str, Any] = {name: _start(graph.nodes[name]) for name in order}
    potentials: dict[str, list[np.ndarray]] = {f"{name}.v": [] for name in order}

    def arriving(name: str, t: int) -> np.ndarray:
        edges = [edge for edge in graph.edges if edge[1] == name]
        now = [sent[edge[0]][t] for edge in edges if edge not in late]
        before = [sent[edge[0]][t - 1] for edge in edges if edge in late and t]
        return np.sum([*now, *before], axis=0)

    for t, now in enumerate(inputs):
        for name in order:
            node = graph.nodes[name]
            if name in early:
                x = np.zeros(waiting[name].size)
            else:
                x = now if isinstance(node, nir.Input) else arriving(name, t)
            if isinstance(node, nir.Linear):
                x = node.weight.astype(float) @ x
            elif isinstance(node, nir.Affine):
                x = node.weight.astype(float) @ x + node.bias
            elif isinstance(node, nir.Scale):
                x = node.scale.astype(float) * x
            elif isinstance(node, nir.Delay):
                rows = [*came[name], x]
                x = np.array([rows[t - d][i] if t >= d else 0 for i, d in enumerate(waiting[name])])
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
        for name in waiting:
            came[name].append(arriving(name, t))
    return {name: np.array(rows) for name, rows in (sent | potentials).items()}


def _start(node: Any) -> Any:
    return np.asarray(node.v_reset, float) if isinstance(node, (nir.LIF, nir.IF)) else 0.0


def _sources_first(
    graph: nir.NIRGraph, early: set[str], late: tuple[tuple[str, str], ...]
) -> list[str]:
    order: list[str] = sorted(early)
    needed = [edge for edge in graph.edges if edge not in late]
    while len(order) < len(graph.nodes):
        ready = [
            name
            for name in graph.nodes
            if name not in order
            and all(before in order for before, after in needed if after == name)
        ]
        assert ready, "a cycle without a Delay: say which edge is late"
        order += ready
    return order
