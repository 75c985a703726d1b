"""A NIR graph as its nodes on flat vectors: subgraphs unpacked, shapes of other programs undone.

Programs write subgraphs for what they call a module, Flatten nodes, and a batch axis of 1. None of
it computes anything: numbers in row-major order stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np

from snn_delays.errors import UsageError

Edges = list[tuple[str, str]]


@dataclass(frozen=True)
class FlatGraph:
    """What a graph computes.

    Args:
        nodes: by name; those of a subgraph ``sub`` are ``sub.name``.
        following: the names that each node leads to.
        source, output: the input and the output.
        size: how many numbers the input has.
    """

    nodes: dict[str, Any]
    following: dict[str, list[str]]
    source: str
    output: str
    size: int


def flat_graph(graph: nir.NIRGraph) -> FlatGraph:
    """The nodes that compute something, between one input and one output."""
    nodes, edges = dict(graph.nodes), _checked(graph, "")
    while inner := [name for name, node in nodes.items() if isinstance(node, nir.NIRGraph)]:
        for name in inner:
            nodes, edges = _unpacked(nodes, edges, name)
    source, output = _only(nodes, nir.Input, ""), _only(nodes, nir.Output, "")
    size = _input_size(source, nodes, edges)
    for name in [name for name, node in nodes.items() if isinstance(node, nir.Flatten)]:
        nodes, edges = _without(nodes, edges, name)
    following: dict[str, list[str]] = {name: [] for name in nodes}
    for before, after in edges:
        if after in following[before]:
            raise UsageError(f"edge {before!r} → {after!r} is there twice.")
        following[before].append(after)
    back = [(after, before) for before, after in edges]
    for start, ways in ((source, edges), (output, back)):
        if missed := nodes.keys() - reached(start, ways) - {start}:
            raise _on_no_way(min(missed))
    return FlatGraph(nodes, following, source, output, size)


def _checked(graph: nir.NIRGraph, prefix: str) -> Edges:
    """The edges with the prefix that their nodes get."""
    names = {prefix + name for name in graph.nodes}
    edges = [(prefix + before, prefix + after) for before, after in graph.edges]
    for before, after in edges:
        for name in (before, after):
            if name not in names:
                raise UsageError(f"edge {before!r} → {after!r} names no node {name!r}.")
    return edges


def _unpacked(nodes: dict[str, Any], edges: Edges, outer: str) -> tuple[dict[str, Any], Edges]:
    """The graph with the nodes of one subgraph in its place."""
    graph, prefix = nodes[outer], f"{outer}."
    inner = {prefix + name: node for name, node in graph.nodes.items()}
    if taken := inner.keys() & nodes.keys():
        raise UsageError(f"node {min(taken)!r} and a node of subgraph {outer!r} share a name.")
    source, output = _only(inner, nir.Input, outer), _only(inner, nir.Output, outer)
    nodes = {name: node for name, node in nodes.items() if name != outer} | inner
    edges = [
        (output if before == outer else before, source if after == outer else after)
        for before, after in edges
    ] + _checked(graph, prefix)
    for name in (source, output):
        nodes, edges = _without(nodes, edges, name)
    return nodes, edges


def _without(nodes: dict[str, Any], edges: Edges, name: str) -> tuple[dict[str, Any], Edges]:
    """The graph without a node that passes on what it gets."""
    before = [one for one, other in edges if other == name]
    after = [other for one, other in edges if one == name]
    if name in before:
        raise UsageError(f"node {name!r} leads back to itself without neurons between.")
    if not before or not after:
        raise _on_no_way(name)
    kept = [edge for edge in edges if name not in edge]
    return (
        {one: node for one, node in nodes.items() if one != name},
        kept + [(one, other) for one in before for other in after],
    )


def reached(start: str, edges: Iterable[tuple[str, str]]) -> set[str]:
    """Where edges lead from a node; that is itself only where they lead back."""
    following: dict[str, list[str]] = {}
    for before, after in edges:
        following.setdefault(before, []).append(after)
    found: set[str] = set()
    coming = [start]
    while coming:
        new = set(following.get(coming.pop(), ())) - found
        found |= new
        coming += new
    return found


def _on_no_way(name: str) -> UsageError:
    return UsageError(f"node {name!r} is on no way from the input to the output.")


def _only(nodes: dict[str, Any], kind: type, outer: str) -> str:
    found = [name for name, node in nodes.items() if isinstance(node, kind)]
    if len(found) != 1:
        what = f"subgraph {outer!r}" if outer else "the graph"
        raise UsageError(f"{what} must have one {kind.__name__} node, got {len(found)}.")
    return found[0]


def _input_size(name: str, nodes: dict[str, Any], edges: Edges) -> int:
    shape = np.ravel(np.asarray(nodes[name].input_type.get("input")))
    flattened = [isinstance(nodes[after], nir.Flatten) for before, after in edges if before == name]
    if (
        shape.dtype.kind not in "iu"
        or not shape.size
        or np.any(shape < 1)
        or not (np.count_nonzero(shape > 1) <= 1 or (flattened and all(flattened)))
    ):
        raise UsageError(
            f"node {name!r}: the input must be a vector, got shape {shape.tolist()}. "
            "Flatten the input."
        )
    return int(np.prod(shape))
