"""A network as SONATA: populations of nodes and edges in HDF5, for libsonata, BMTK or NEST.

Nodes are ``input`` (virtual) and the table's populations, edges its projections, under their own
names. What SONATA has no field for is in ``network.json``.

Reference:
    Dai et al., The SONATA data format for efficient description of large-scale network models,
    PLOS Computational Biology 2020, https://github.com/AllenInstitute/sonata.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.files.atomic import write_atomically
from snn_delays.files.hdf5 import (
    array,
    attributes,
    created,
    dataset,
    opened,
    subgroup,
    write_array,
    write_text,
)
from snn_delays.table import schema
from snn_delays.table.formats.network_json import (
    Float64,
    header_last,
    neuron_arrays,
    population,
    projection,
    read_network,
)
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection
from snn_delays.table.require import naming
from snn_delays.table.table import INPUT, DelayTable

NODES, EDGES = "nodes.h5", "edges.h5"
MAGIC = 0x0A7A
VERSION = (0, 1)

Ids = NDArray[np.uint64]


def write_sonata(table: DelayTable, folder: Path | str) -> list[Path]:
    """Write nodes, edges, their types, ``circuit_config.json`` and ``network.json``.

    Edges keep the order of the synapses. Delays are in ms, weights the current that one spike
    adds. Arrays have checksums but no compression, which libsonata's HDF5 does not know.

    Raises:
        UsageError: the folder cannot be written to.
    """

    def nodes(file: h5py.File) -> None:
        _write_version(file)
        every: list[tuple[str, int, schema.Arrays]] = [(INPUT, table.input_channels, {})]
        every += [(one.name, one.size, schema.arrays_of(one)) for one in table.populations]
        for type_id, (name, size, values) in enumerate(every):
            group = file.create_group(f"nodes/{name}")
            _write(group, node_id=np.arange(size, dtype=np.uint64))
            _write_elements(group, "node", type_id, size, values)

    def edges(file: h5py.File) -> None:
        _write_version(file)
        file.create_group("edges")
        for type_id, one in enumerate(table.projections):
            group = file.create_group(f"edges/{one.name}")
            ends = (
                ("source", "target", one.source, one.pre),
                ("target", "source", one.target, one.post),
            )
            for end, other, of, ids in ends:
                _write(group, **{f"{end}_node_id": ids.astype(np.uint64)})
                write_text(dataset(group, f"{end}_node_id"), "node_population", of)
                ranges, rows = edge_index(ids, table.size(of))
                index = group.create_group(f"indices/{end}_to_{other}")
                _write(index, node_id_to_ranges=ranges, range_to_edge_id=rows)
            delay_ms = one.delay.astype(np.float64) * table.dt_ms
            values = {"syn_weight": one.current_weight, "delay": delay_ms}
            _write_elements(group, "edge", type_id, len(one), values)

    neurons = [
        (one.name, "point_neuron", f"snn_delays:{one.model.name}") for one in table.populations
    ]
    synapses = [(one.source, one.target, "static_synapse") for one in table.projections]
    folder = Path(folder)
    contents = {
        NODES: created(nodes),
        EDGES: created(edges),
        "node_types.csv": _types(
            "node_type_id pop_name model_type model_template",
            [(INPUT, "virtual", "NULL"), *neurons],
        ),
        "edge_types.csv": _types("edge_type_id source target model_template", synapses),
        "circuit_config.json": _circuit_config(table),
    }
    with header_last(table, folder) as last:
        for name, content in contents.items():
            write_atomically(folder / name, content)
    return [*(folder / name for name in contents), last]


def read_sonata(folder: Path | str) -> DelayTable:
    """Read what ``write_sonata`` wrote: the same table, rows in the same order.

    Raises:
        UsageError: one line with the path of the file that is missing, damaged or out of range.
    """
    folder = Path(folder)

    def neurons(header: schema.Header, name: str) -> Population:
        with opened(folder / NODES, "SONATA file") as file, naming(f"population {name}"):
            size, wanted = header["populations"][name]["size"], neuron_arrays(header, name)
            group = _group(file, "nodes", name)
            return population(header, name, _elements(group, "node", size, wanted))

    def synapses(header: schema.Header, name: str) -> Projection:
        with opened(folder / EDGES, "SONATA file") as file, naming(f"projection {name}"):
            group = _group(file, "edges", name)
            columns = {}
            for end, column in (("source", "pre"), ("target", "post")):
                array = f"{end}_node_id"
                expected = header["projections"][name][end]
                got = attributes(dataset(group, array)).get("node_population")
                if got != expected:
                    raise UsageError(
                        f"node_population of {array} must be {expected!r}, got {got!r:.60}."
                    )
                columns[column] = _numbers(group, array)
            found = _elements(group, "edge", len(columns["pre"]), ("delay", "syn_weight"))
            columns |= {"delay_ms": found["delay"], "weight": found["syn_weight"]}
            return projection(header, name, columns)

    return read_network(folder, neurons, synapses)


def _write_version(file: h5py.File) -> None:
    file.attrs["magic"] = np.uint32(MAGIC)
    file.attrs["version"] = np.array(VERSION, np.uint32)


def _write_elements(
    group: h5py.Group, kind: str, type_id: int, size: int, values: schema.Arrays
) -> None:
    """All elements are in attribute group 0, in their own order."""
    ids = {
        f"{kind}_type_id": np.full(size, type_id, np.uint64),
        f"{kind}_group_id": np.zeros(size, np.uint16),
        f"{kind}_group_index": np.arange(size, dtype=np.uint64),
    }
    _write(group, **ids)
    _write(group.create_group("0"), **values)


def _write(group: h5py.Group, **arrays: NDArray[Any]) -> None:
    for name, values in arrays.items():
        write_array(group, name, values, gzip=False)


def edge_index(ids: NDArray[np.integer], n_nodes: int) -> tuple[Ids, Ids]:
    """Where the edges of every node are: runs of neighbouring edges with the same node.

    Shape:
        ids ``[E]`` → node_id_to_ranges ``[n_nodes, 2]``, first and one past the last of the
        node's rows in range_to_edge_id ``[R, 2]``, whose rows are the first and one past the
        last edge of a run. A node without edges has [0, 0].
    """
    first = np.flatnonzero(np.diff(ids, prepend=-1))
    ranges = np.stack([first, np.append(first[1:], len(ids))[: len(first)]], axis=1)
    owner = ids[first]
    count = np.bincount(owner, minlength=n_nodes)
    end = count.cumsum()
    of_node = np.stack([end - count, end], axis=1)
    of_node[count == 0] = 0
    return of_node.astype(np.uint64), ranges[np.argsort(owner, kind="stable")].astype(np.uint64)


def _types(header: str, rows: Sequence[tuple[str, ...]]) -> bytes:
    """A table of types, one for each population or projection."""
    lines = [" ".join((str(index), *row)) for index, row in enumerate(rows)]
    return "\n".join([header, *lines, ""]).encode("ascii")


def _circuit_config(table: DelayTable) -> bytes:
    """Where nodes and edges are, and of which kind."""
    nodes = {INPUT: "virtual", **{one.name: "point_neuron" for one in table.populations}}
    edges = {one.name: "point" for one in table.projections}
    networks = {
        f"{kind}s": [
            {
                f"{kind}s_file": f"$BASE_DIR/{file}",
                f"{kind}_types_file": f"$BASE_DIR/{kind}_types.csv",
                "populations": {name: {"type": of} for name, of in populations.items()},
            }
        ]
        for kind, file, populations in (("node", NODES, nodes), ("edge", EDGES, edges))
    }
    content = {"manifest": {"$BASE_DIR": "."}, "networks": networks}
    return (json.dumps(content, indent=2) + "\n").encode("ascii")


def _group(file: h5py.File, kind: str, name: str) -> h5py.Group:
    said = attributes(file)
    if (magic := said.get("magic")) != MAGIC:
        raise UsageError(f"magic must be {MAGIC:#x}, got {magic!r:.60}.")
    version = np.ravel(said.get("version", ())).tolist()
    if version[:1] != [VERSION[0]]:
        raise UsageError(f"version must be {VERSION[0]}.x, got {version!r:.60}.")
    return subgroup(subgroup(file, kind), name)


def _elements(group: h5py.Group, kind: str, size: int, names: Sequence[str]) -> dict[str, Float64]:
    """Attributes of every element, from the rows of group 0 that belong to them."""

    def sized(owner: h5py.Group, name: str) -> Float64:
        values = _numbers(owner, name)
        if values.size != size:
            raise UsageError(f"array {name!r} must have {size} elements, got {values.size}.")
        return values

    if sized(group, f"{kind}_group_id").any():
        raise UsageError(f"all {kind}s must be in group 0, got others.")
    rows = sized(group, f"{kind}_group_index")
    if not np.array_equal(np.sort(rows), np.arange(size)):
        raise UsageError(f"{kind}_group_index must name every row of group 0 once.")
    place = rows.astype(np.int64)
    return {name: sized(subgroup(group, "0"), name)[place] for name in names}


def _numbers(group: h5py.Group, name: str) -> Float64:
    values = array(group, name)
    if values.dtype.kind not in "iuf":
        raise UsageError(f"array {name!r} must hold numbers, got {values.dtype}.")
    return values.astype(np.float64)
