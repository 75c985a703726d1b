"""A NIR graph as a chain of layers, or one line that names the node that does not fit into one.

Between a source and the neurons that it leads to there may be any number of parallel branches,
each with at most one Linear or Affine, one Delay before and one behind it. A branch without
weights is the identity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError

Float64 = NDArray[np.float64]

_WEIGHTS, _NEURONS = (nir.Linear, nir.Affine), (nir.LIF, nir.IF, nir.LI, nir.I)
_SUPPORTED = "Input, Linear, Affine, Delay, LIF, IF, LI, I and Output"


@dataclass(frozen=True, eq=False)
class Branch:
    """One way from a source to a target.

    Shape:
        weight ``[post, pre]``; bias ``[post]``; pre_delay ``[pre]`` and post_delay ``[post]``
        in seconds.
    """

    weight: Float64
    bias: Float64
    pre_delay: Float64
    post_delay: Float64


@dataclass(frozen=True, eq=False)
class Stage:
    """A layer: its neurons' name and node, both None where weights lead straight to the output."""

    name: str | None
    node: Any
    n_pre: int
    n_post: int
    branches: tuple[Branch, ...]


def chain(graph: nir.NIRGraph) -> list[Stage]:
    """The layers from the input to the output.

    Raises:
        UsageError: a node of another type, recurrent or parallel neurons, sizes that do not fit.
    """
    nodes = graph.nodes
    following = _following(graph)
    source, output = _only(nodes, nir.Input), _only(nodes, nir.Output)
    size = _input_size(source, nodes[source])
    seen, stages = {source}, []
    while source != output:
        paths = list(_paths(nodes, following, source, []))
        target = _only_target(source, [path[-1] for path in paths], seen)
        inner = {name for path in paths for name in path[:-1]}
        if shared := inner & seen:
            raise UsageError(f"node {min(shared)!r} takes input from two layers; expected a chain.")
        seen |= {target, *inner}
        if target != output or inner or isinstance(nodes[source], nir.Input):
            branches = tuple(_branch(nodes, path[:-1], size) for path in paths)
            sizes = {len(branch.bias) for branch in branches}
            if len(sizes) != 1:
                raise UsageError(f"branches into {target!r} must have one size, got {sizes}.")
            name = None if target == output else target
            stages.append(Stage(name, name and nodes[name], size, len(branches[0].bias), branches))
            size = len(branches[0].bias)
        source = target
    if unused := set(nodes) - seen:
        raise UsageError(f"node {min(unused)!r} is on no way from the input to the output.")
    return stages


def vector(name: str, node: Any, field: str, size: int) -> Float64:
    """A field of a node as float64 ``[size]``; one number serves for all.

    Raises:
        UsageError: not numbers, not finite, or of another size.
    """
    values = _numbers(name, node, field)
    if values.shape not in ((), (1,), (size,)):
        raise UsageError(
            f"{field} of node {name!r} must have {size} elements, got shape {values.shape}."
        )
    return np.broadcast_to(values, (size,)).copy()


def _numbers(name: str, node: Any, field: str) -> Float64:
    values = np.asarray(getattr(node, field))
    if values.dtype.kind not in "iuf" or not np.all(np.isfinite(values)):
        raise UsageError(f"{field} of node {name!r} must be finite numbers, got {values.dtype}.")
    return values.astype(np.float64)


def _following(graph: nir.NIRGraph) -> dict[str, list[str]]:
    following: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for before, after in graph.edges:
        for name in (before, after):
            if name not in following:
                raise UsageError(f"edge {before!r} → {after!r} names no node {name!r}.")
        if after in following[before]:
            raise UsageError(f"edge {before!r} → {after!r} is there twice.")
        following[before].append(after)
    return following


def _only(nodes: dict[str, Any], kind: type) -> str:
    found = [name for name, node in nodes.items() if isinstance(node, kind)]
    if len(found) != 1:
        raise UsageError(f"the graph must have one {kind.__name__} node, got {len(found)}.")
    return found[0]


def _input_size(name: str, node: Any) -> int:
    shape = np.ravel(np.asarray(node.input_type.get("input")))
    if shape.dtype.kind not in "iu" or shape.size != 1 or shape[0] < 1:
        raise UsageError(
            f"node {name!r}: the input must be a vector, got shape {shape.tolist()}. "
            "Flatten the input."
        )
    return int(shape[0])


def _paths(
    nodes: dict[str, Any], following: dict[str, list[str]], at: str, path: list[str]
) -> Iterator[list[str]]:
    """The names behind a source, up to the next neurons or the output."""
    for name in following[at]:
        node = nodes[name]
        if isinstance(node, (*_NEURONS, nir.Output)):
            yield [*path, name]
        elif isinstance(node, (nir.Delay, *_WEIGHTS)):
            weights = [one for one in path if isinstance(nodes[one], _WEIGHTS)]
            repeated = weights if isinstance(node, _WEIGHTS) else isinstance(nodes[at], nir.Delay)
            if repeated or len(path) == 3:
                raise UsageError(
                    f"node {name!r}: {type(node).__name__} follows {at!r} without neurons between; "
                    "expected Delay, Linear or Affine, Delay, each at most once."
                )
            yield from _paths(nodes, following, name, [*path, name])
        else:
            raise UsageError(
                f"node {name!r} is {type(node).__name__}, which a delay table cannot express. "
                f"Supported: {_SUPPORTED}."
            )


def _only_target(source: str, targets: list[str], seen: set[str]) -> str:
    for target in targets:
        if target in seen:
            raise UsageError(
                f"node {source!r} leads back to {target!r}; recurrent connections are not "
                "supported, expected a chain."
            )
    if len(set(targets)) != 1:
        found = ", ".join(sorted(set(targets))) or "none"
        raise UsageError(
            f"node {source!r} must lead to one layer of neurons or the output, got {found}; "
            "expected a chain."
        )
    return targets[0]


def _branch(nodes: dict[str, Any], path: list[str], n_pre: int) -> Branch:
    weight, bias = np.eye(n_pre), np.zeros(n_pre)
    delays = {"before": np.zeros(n_pre), "behind": np.zeros(n_pre)}
    place = "before"
    for name in path:
        node = nodes[name]
        if isinstance(node, nir.Delay):
            delays[place] = vector(name, node, "delay", len(bias))
            if np.any(bias):
                raise UsageError(f"node {name!r} delays the bias of an Affine; put it before.")
            continue
        place = "behind"
        weight = _numbers(name, node, "weight")
        if weight.ndim != 2 or weight.shape[1] != n_pre or not weight.shape[0]:
            raise UsageError(
                f"weight of node {name!r} must be [post, {n_pre}], got shape {weight.shape}."
            )
        bias = delays["behind"] = np.zeros(len(weight))
        if isinstance(node, nir.Affine):
            bias = vector(name, node, "bias", len(weight))
    return Branch(weight, bias, delays["before"], delays["behind"])
