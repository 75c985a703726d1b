"""A NIR graph as a chain of layers, or one line that names the node that does not fit into one.

Between a source and the neurons that it leads to there may be any number of parallel branches,
each with at most one Linear or Affine, one Delay before and one behind it, and Scales anywhere,
which go into the weights. A branch without weights is the identity.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.formats.nir_flat import flat_graph

Float64 = NDArray[np.float64]

# The nodes of a branch without its Scales: weights between two delays.
_ORDER = re.compile("D?W?|D?WD")
_LONGEST = 12  # nodes of a branch, so that a ring of Scales has an end
_WEIGHTS, _NEURONS = (nir.Linear, nir.Affine), (nir.LIF, nir.IF, nir.LI, nir.I)
_SUPPORTED = "Input, Linear, Affine, Scale, Delay, Flatten, LIF, IF, LI, I, Output and subgraphs"


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
    flat = flat_graph(graph)
    nodes, source, output, size = flat.nodes, flat.source, flat.output, flat.size
    seen, stages = {source}, []
    while source != output:
        paths = list(_paths(nodes, flat.following, source, []))
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
    """A field of a node as float64 ``[size]``, row by row; one number serves for all.

    Raises:
        UsageError: not numbers, not finite, or of another size.
    """
    values = _numbers(name, node, field)
    if values.size not in (1, size):
        raise UsageError(
            f"{field} of node {name!r} must have {size} elements, got shape {values.shape}."
            + _batched(values.size, size)
        )
    return np.broadcast_to(values.reshape(-1), (size,)).copy()


def _batched(got: int, expected: int) -> str:
    """What to do about a size that is some times another, as a batch of samples has it."""
    if expected and got > expected and got % expected == 0:
        return f" A batch of {got // expected}? Export with a single sample."
    return ""


def _numbers(name: str, node: Any, field: str) -> Float64:
    values = np.asarray(getattr(node, field))
    if values.dtype.kind not in "iuf" or not np.all(np.isfinite(values)):
        raise UsageError(f"{field} of node {name!r} must be finite numbers, got {values.dtype}.")
    return values.astype(np.float64)


def _paths(
    nodes: dict[str, Any], following: dict[str, list[str]], at: str, path: list[str]
) -> Iterator[list[str]]:
    """The names behind a source, up to the next neurons or the output."""
    for name in following[at]:
        node = nodes[name]
        if isinstance(node, (*_NEURONS, nir.Output)):
            yield [*path, name]
        elif isinstance(node, (nir.Scale, nir.Delay, *_WEIGHTS)):
            kinds = "".join(_letter(nodes[one]) for one in [*path, name])
            if len(path) == _LONGEST or not _ORDER.fullmatch(kinds):
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


def _letter(node: Any) -> str:
    return "" if isinstance(node, nir.Scale) else "W" if isinstance(node, _WEIGHTS) else "D"


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
    weight, bias = None, np.zeros(n_pre)
    scale = np.ones(n_pre)  # of what comes in
    delays = {"before": np.zeros(n_pre), "behind": np.zeros(n_pre)}
    for name in path:
        node = nodes[name]
        if isinstance(node, nir.Delay):
            place = "before" if weight is None else "behind"
            delays[place] = vector(name, node, "delay", len(bias))
            if np.any(bias):
                raise UsageError(f"node {name!r} delays the bias of an Affine; put it before.")
        elif isinstance(node, nir.Scale):
            factor = vector(name, node, "scale", len(bias))
            if weight is None:
                scale = scale * factor
            else:
                weight, bias = factor[:, None] * weight, factor * bias
        else:
            weight = _matrix(name, node, n_pre) * scale
            bias = delays["behind"] = np.zeros(len(weight))
            if isinstance(node, nir.Affine):
                bias = vector(name, node, "bias", len(weight))
    weight = np.diag(scale) if weight is None else weight
    return Branch(weight, bias, delays["before"], delays["behind"])


def _matrix(name: str, node: Any, n_pre: int) -> Float64:
    weight = _numbers(name, node, "weight")
    last: list[int] = list(weight.shape)[-2:]
    if len(last) != 2 or weight.size != last[0] * last[1] or last[1] != n_pre or not last[0]:
        raise UsageError(
            f"weight of node {name!r} must be [post, {n_pre}], got shape {weight.shape}."
            + _batched(n_pre, last[-1])
        )
    return weight.reshape(last)  # axes of 1 before them are a batch's
