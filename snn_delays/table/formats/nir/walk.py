"""A NIR graph as neurons and the synapses between them, or one line that names what does not fit.

Between a source and the neurons that it leads to there may be any number of parallel branches,
each with at most one Linear or Affine, one Delay before and one behind it, and Scales anywhere,
which go into the weights. A branch without weights is the identity. Subgraphs, Flatten nodes and
batch axes of 1 compute nothing: numbers in row-major order stay where they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.formats.network_json import Float64, multiples
from snn_delays.table.models import MODELS

# pre, post, delay in steps and weight.
Rows = tuple[NDArray[Any], NDArray[Any], NDArray[Any], Float64]
Edges = list[tuple[str, str]]

# The description of the neurons that a type of node is.
READERS = {kind: model for model in MODELS.values() for kind in model.nir_types}

# The nodes of a branch, without those that are no letter: weights between two delays.
_ORDER = re.compile("D?W?|D?WD")
_LETTERS = {nir.Linear: "W", nir.Affine: "W", nir.Delay: "D", nir.Scale: ""}
_PASSING = (nir.Input, nir.Output, nir.Flatten)
_SUPPORTED = (
    f"Input, Linear, Affine, Scale, Delay, Flatten, {', '.join(READERS)}, Output and subgraphs"
)


@dataclass(frozen=True, eq=False)
class Network:
    """What a graph computes.

    Args:
        nodes: by name; those of a subgraph ``sub`` are ``sub.name``.
        source, channels: the input, and its size.
        output: the neurons that are read out; the Output node itself where weights lead there.
        biases: of all neurons, in the order in which a walk from the input meets them; float64
            ``[size]`` each.
        branches: the synapses of every branch, by source and target.
    """

    nodes: dict[str, Any]
    source: str
    channels: int
    output: str
    biases: dict[str, Float64]
    branches: dict[tuple[str, str], list[Rows]]


def network_of(graph: nir.NIRGraph, dt_ms: float) -> Network:
    """The neurons of a graph, and all branches between them."""
    nodes, edges, source, output = _flat(graph, "")
    ends = {source, output, *(name for name in nodes if type(nodes[name]).__name__ in READERS)}
    following: dict[str, list[str]] = {name: [] for name in nodes}
    for before, after in edges:
        if after in following[before]:
            raise UsageError(f"edge {before!r} → {after!r} is there twice.")
        following[before].append(after)
    back = [(after, before) for before, after in edges]
    for start, ways in ((source, edges), (output, back)):
        if missed := nodes.keys() - reached(start, ways) - {start}:
            raise UsageError(f"node {min(missed)!r} is on no way from the input to the output.")
    paths = {name: list(_paths(nodes, following, ends, [name])) for name in nodes if name in ends}
    channels = _channels(source, nodes, paths[source])
    # One population that leads straight to the output is the output.
    last = [path for some in paths.values() for path in some if path[-1] == output]
    read = output
    if (
        len(last) == 1
        and last[0][0] != source
        and all(isinstance(nodes[name], _PASSING) for name in last[0][1:])
    ):
        read = last[0][0]
    sizes = {source: channels}
    biases: dict[str, dict[tuple[str, ...], Float64]] = {source: {}}
    branches: dict[tuple[str, str], list[Rows]] = {}
    met = [source]
    for start in met:  # which grows
        for path in paths[start]:
            target = path[-1]
            if target == output != read:
                continue
            kind = type(nodes[start]).__name__
            if kind in READERS and not READERS[kind].spiking:
                raise UsageError(
                    f"node {start!r} is {kind}, which never spikes, but weights or neurons follow "
                    "it; only the last one may be that."
                )
            rows, size, bias = _branch(nodes, path, sizes[start], dt_ms)
            if sizes.setdefault(target, size) != size:
                raise UsageError(
                    f"branches into {target!r} must have one size, got {sizes[target]} and {size}."
                )
            if target not in met:
                met.append(target)
            branches.setdefault((start, target), []).append(rows)
            # An Affine that several sources share adds its bias once.
            biases.setdefault(target, {}).update(bias)
    totals = {
        name: np.sum([np.zeros(sizes[name]), *biases[name].values()], axis=0) for name in met[1:]
    }
    return Network(nodes, source, channels, read, totals, branches)


def _flat(graph: nir.NIRGraph, prefix: str) -> tuple[dict[str, Any], Edges, str, str]:
    """All nodes and edges, subgraphs' among them, and the names of the input and the output."""
    nodes: dict[str, Any] = {}
    edges: Edges = []
    ends: dict[str, tuple[str, str]] = {}  # where edges to a node lead, and those from it begin
    for name, node in graph.nodes.items():
        outer = f"{prefix}{name}"
        if isinstance(node, nir.NIRGraph):
            inner, inside, *ends[name] = _flat(node, f"{outer}.")  # pyright: ignore
            edges += inside
        else:
            inner, ends[name] = {outer: node}, (outer, outer)
        if taken := inner.keys() & nodes.keys():
            raise UsageError(f"two nodes are called {min(taken)!r}, one of them in a subgraph.")
        nodes |= inner
    for before, after in graph.edges:
        if before not in ends or after not in ends:
            lacking = prefix + (before if before not in ends else after)
            raise UsageError(
                f"edge {prefix + before!r} → {prefix + after!r} names no node {lacking!r}."
            )
        edges.append((ends[before][1], ends[after][0]))
    only = []
    for kind in (nir.Input, nir.Output):
        found = [name for name, node in graph.nodes.items() if isinstance(node, kind)]
        if len(found) != 1:
            what = f"subgraph {prefix[:-1]!r}" if prefix else "the graph"
            raise UsageError(f"{what} must have one {kind.__name__} node, got {len(found)}.")
        only.append(prefix + found[0])
    return nodes, edges, *only


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


def _paths(
    nodes: dict[str, Any], following: dict[str, list[str]], ends: set[str], path: list[str]
) -> Iterator[list[str]]:
    """All ways on from a path that begins at a source, up to the next neurons or the output."""
    for name in following[path[-1]]:
        node = nodes[name]
        if name in ends:
            yield [*path, name]
            continue
        if not isinstance(node, (*_LETTERS, *_PASSING)):
            raise UsageError(
                f"node {name!r} is {type(node).__name__}, which a delay table cannot express. "
                f"Supported: {_SUPPORTED}."
            )
        kinds = "".join(_LETTERS.get(type(nodes[one]), "") for one in [*path[1:], name])
        if name in path or not _ORDER.fullmatch(kinds):
            raise UsageError(
                f"node {name!r}: {type(node).__name__} follows {path[-1]!r} without neurons "
                "between; expected Delay, Linear or Affine, Delay, each at most once."
            )
        yield from _paths(nodes, following, ends, [*path, name])


def _channels(source: str, nodes: dict[str, Any], paths: list[list[str]]) -> int:
    """The size of the input: a vector, or flattened before anything else."""
    shape = np.ravel(np.asarray(nodes[source].input_type.get("input")))
    firsts = [
        next(node for node in map(nodes.get, path[1:]) if not isinstance(node, nir.Input))
        for path in paths
    ]
    flattened = all(isinstance(node, nir.Flatten) for node in firsts)
    if (
        shape.dtype.kind not in "iu"
        or not shape.size
        or np.any(shape < 1)
        or not (np.count_nonzero(shape > 1) <= 1 or flattened)
    ):
        raise UsageError(
            f"node {source!r}: the input must be a vector, got shape {shape.tolist()}. "
            "Flatten the input."
        )
    return int(np.prod(shape))


def _branch(
    nodes: dict[str, Any], path: list[str], n_pre: int, dt_ms: float
) -> tuple[Rows, int, dict[tuple[str, ...], Float64]]:
    """The synapses of a branch, how many neurons it leads to, and its bias by the nodes from the
    Affine on."""
    weight, bias, affine = None, np.zeros(n_pre), ()
    scale = np.ones(n_pre)  # of what comes in
    delays = [np.zeros(n_pre), np.zeros(n_pre)]  # before and behind the weights
    for place, name in enumerate(path[1:-1], start=1):
        node = nodes[name]
        if isinstance(node, nir.Delay):
            delays[weight is not None] = given = vector(name, node, "delay", len(bias))
            if np.any(given < 0):
                raise UsageError(f"delay of node {name!r} must be >= 0 s, got {given.min():g}.")
            if np.any(bias):
                raise UsageError(f"node {name!r} delays the bias of an Affine; put it before.")
        elif isinstance(node, nir.Scale):
            factor = vector(name, node, "scale", len(bias))
            if weight is None:
                scale = scale * factor
            else:
                weight, bias = factor[:, None] * weight, factor * bias
        elif isinstance(node, (nir.Linear, nir.Affine)):
            weight = _matrix(name, node, n_pre) * scale
            bias = delays[1] = np.zeros(len(weight))
            if isinstance(node, nir.Affine):
                bias, affine = vector(name, node, "bias", len(weight)), tuple(path[place:])
    weight = np.diag(scale) if weight is None else weight
    post, pre = np.nonzero(weight)
    delay_ms = (delays[0][pre] + delays[1][post]) * 1000
    steps = multiples(f"delay into {path[-1]!r} (ms)", delay_ms, "dt_ms", dt_ms)
    return (pre, post, steps, weight[post, pre]), len(weight), {affine: bias} if affine else {}


def vector(name: str, node: Any, field: str, size: int) -> Float64:
    """A field of a node as float64 ``[size]``, row by row; one number serves for all."""
    values = numbers(name, node, field)
    if values.size not in (1, size):
        raise UsageError(
            f"{field} of node {name!r} must have {size} elements, got shape {values.shape}."
            + _batched(values.size, size)
        )
    return np.broadcast_to(values.reshape(-1), (size,)).copy()


def numbers(name: str, node: Any, field: str) -> Float64:
    """A field of a node as float64."""
    values = np.asarray(getattr(node, field))
    if values.dtype.kind not in "iuf" or not np.all(np.isfinite(values)):
        raise UsageError(f"{field} of node {name!r} must be finite numbers, got {values.dtype}.")
    return values.astype(np.float64)


def _matrix(name: str, node: Any, n_pre: int) -> Float64:
    weight = numbers(name, node, "weight")
    last: list[int] = list(weight.shape)[-2:]
    if len(last) != 2 or weight.size != last[0] * last[1] or last[1] != n_pre or not last[0]:
        raise UsageError(
            f"weight of node {name!r} must be [post, {n_pre}], got shape {weight.shape}."
            + _batched(n_pre, last[-1])
        )
    return weight.reshape(last)  # axes of 1 before them are a batch's


def _batched(got: int, expected: int) -> str:
    """What to do about a size that is some times another, as a batch of samples has it."""
    if expected and got > expected and got % expected == 0:
        return f" A batch of {got // expected}? Export with a single sample."
    return ""
