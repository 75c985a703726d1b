"""A NIR graph as neurons and the routes between them, or one line that names what does not fit.

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
from snn_delays.table.formats.nir_flat import FlatGraph, flat_graph
from snn_delays.table.models import MODELS

Float64 = NDArray[np.float64]

# The description of the neurons that a type of node is.
READERS = {kind: model for model in MODELS.values() for kind in model.nir_types}

# The nodes of a branch without its Scales: weights between two delays.
_ORDER = re.compile("D?W?|D?WD")
_LONGEST = 12  # nodes of a branch, so that a ring of Scales has an end
_WEIGHTS = (nir.Linear, nir.Affine)
_SUPPORTED = (
    f"Input, Linear, Affine, Scale, Delay, Flatten, {', '.join(READERS)}, Output and subgraphs"
)


@dataclass(frozen=True, eq=False)
class Route:
    """One branch from a source to a target.

    Shape:
        weight ``[post, pre]``; pre_delay ``[pre]`` and post_delay ``[post]`` in seconds.
    """

    source: str
    target: str
    weight: Float64
    pre_delay: Float64
    post_delay: Float64


@dataclass(frozen=True, eq=False)
class Routes:
    """What a graph computes.

    Args:
        flat: the graph itself, subgraphs unpacked.
        output: the neurons that are read out; the Output node itself where weights lead there.
        biases: of all neurons, in the order in which a walk from the input meets them; float64
            ``[size]`` each.
    """

    flat: FlatGraph
    output: str
    biases: dict[str, Float64]
    routes: list[Route]


def routes_of(graph: nir.NIRGraph) -> Routes:
    """The neurons and routes of a graph."""
    flat = flat_graph(graph)
    ends = {name: list(_paths(flat, name, [])) for name, node in flat.nodes.items() if _ends(node)}
    output = flat.output
    # One population that leads straight to the output is the output.
    last = [
        (name, path) for name, paths in ends.items() for path in paths if path[-1] == flat.output
    ]
    if len(last) == 1 and last[0][1] == [flat.output] and last[0][0] != flat.source:
        output = last[0][0]
    sizes: dict[str, int] = {flat.source: flat.size}
    biases: dict[str, dict[tuple[str, ...], Float64]] = {}
    routes: list[Route] = []
    met = [flat.source]
    for source in met:  # which grows
        for path in ends[source]:
            target = path[-1]
            if target == flat.output != output:
                continue
            kind = type(flat.nodes[source]).__name__
            if kind in READERS and not READERS[kind].spiking:
                raise UsageError(
                    f"node {source!r} is {kind}, which never spikes, but weights or neurons follow "
                    "it; only the last one may be that."
                )
            route, bias = _route(flat.nodes, source, path, sizes[source])
            if sizes.setdefault(target, len(route.weight)) != len(route.weight):
                raise UsageError(
                    f"branches into {target!r} must have one size, got {sizes[target]} and "
                    f"{len(route.weight)}."
                )
            if target not in met:
                met.append(target)
            routes.append(route)
            # An Affine that several sources share adds its bias once.
            biases.setdefault(target, {}).update(bias)
    totals = {
        name: np.sum([np.zeros(sizes[name]), *biases[name].values()], axis=0) for name in met[1:]
    }
    return Routes(flat, output, totals, routes)


def _ends(node: Any) -> bool:
    """Whether a branch may begin or end there."""
    return isinstance(node, (nir.Input, nir.Output)) or type(node).__name__ in READERS


def vector(name: str, node: Any, field: str, size: int) -> Float64:
    """A field of a node as float64 ``[size]``, row by row; one number serves for all."""
    values = numbers(name, node, field)
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


def numbers(name: str, node: Any, field: str) -> Float64:
    """A field of a node as float64."""
    values = np.asarray(getattr(node, field))
    if values.dtype.kind not in "iuf" or not np.all(np.isfinite(values)):
        raise UsageError(f"{field} of node {name!r} must be finite numbers, got {values.dtype}.")
    return values.astype(np.float64)


def _paths(flat: FlatGraph, at: str, path: list[str]) -> Iterator[list[str]]:
    """The names behind a source, up to the next neurons or the output."""
    for name in flat.following[at]:
        node = flat.nodes[name]
        if _ends(node):
            yield [*path, name]
        elif isinstance(node, (nir.Scale, nir.Delay, *_WEIGHTS)):
            kinds = "".join(_letter(flat.nodes[one]) for one in [*path, name])
            if len(path) == _LONGEST or not _ORDER.fullmatch(kinds):
                raise UsageError(
                    f"node {name!r}: {type(node).__name__} follows {at!r} without neurons between; "
                    "expected Delay, Linear or Affine, Delay, each at most once."
                )
            yield from _paths(flat, name, [*path, name])
        else:
            raise UsageError(
                f"node {name!r} is {type(node).__name__}, which a delay table cannot express. "
                f"Supported: {_SUPPORTED}."
            )


def _letter(node: Any) -> str:
    return "" if isinstance(node, nir.Scale) else "W" if isinstance(node, _WEIGHTS) else "D"


def _route(
    nodes: dict[str, Any], source: str, path: list[str], n_pre: int
) -> tuple[Route, dict[tuple[str, ...], Float64]]:
    """A branch, and its bias by the nodes from the Affine on."""
    *inner, target = path
    weight, bias, affine = None, np.zeros(n_pre), ()
    scale = np.ones(n_pre)  # of what comes in
    delays = {"before": np.zeros(n_pre), "behind": np.zeros(n_pre)}
    for place, name in enumerate(inner):
        node = nodes[name]
        if isinstance(node, nir.Delay):
            side = "before" if weight is None else "behind"
            delays[side] = vector(name, node, "delay", len(bias))
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
                bias, affine = vector(name, node, "bias", len(weight)), tuple(inner[place:])
    weight = np.diag(scale) if weight is None else weight
    route = Route(source, target, weight, delays["before"], delays["behind"])
    return route, {affine: bias} if affine else {}


def _matrix(name: str, node: Any, n_pre: int) -> Float64:
    weight = numbers(name, node, "weight")
    last: list[int] = list(weight.shape)[-2:]
    if len(last) != 2 or weight.size != last[0] * last[1] or last[1] != n_pre or not last[0]:
        raise UsageError(
            f"weight of node {name!r} must be [post, {n_pre}], got shape {weight.shape}."
            + _batched(n_pre, last[-1])
        )
    return weight.reshape(last)  # axes of 1 before them are a batch's
