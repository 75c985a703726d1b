"""A network as SONATA: populations of nodes and edges in HDF5, for libsonata, BMTK or NEST.

Nodes are ``input`` (virtual) and the table's populations, edges its projections, under their own
names. What SONATA has no field for is in ``network.json``.

Reference:
    Dai et al., The SONATA data format for efficient description of large-scale network models,
    PLOS Computational Biology 2020, https://github.com/AllenInstitute/sonata.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from snn_delays.atomic import write_atomically
from snn_delays.errors import UsageError
from snn_delays.hdf5.fields import (
    array,
    attribute,
    dataset,
    subgroup,
    text,
    write_array,
    write_text,
)
from snn_delays.hdf5.opened import created, naming_group, opened
from snn_delays.table import schema
from snn_delays.table.formats.columns import Float64, multiples
from snn_delays.table.formats.network_json import (
    NetworkJson,
    header_last,
    read_header,
    whole_network,
)
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection
from snn_delays.table.table import INPUT, DelayTable

NODES, EDGES = "nodes.h5", "edges.h5"
MAGIC = np.uint32(0x0A7A)
VERSION = (0, 1)

Ids = NDArray[np.uint64]


def write_sonata(table: DelayTable, folder: Path | str) -> list[Path]:
    """Write nodes, edges, their types, ``circuit_config.json`` and ``network.json``.

    Edges keep the order of the synapses. Delays are in ms, weights the current that one spike
    adds. Arrays have checksums but no compression, which libsonata's HDF5 does not know.

    Raises:
        UsageError: the folder cannot be written to.
    """
    folder = Path(folder)
    contents = {
        NODES: _file(_write_nodes, table),
        EDGES: _file(_write_edges, table),
        "node_types.csv": _node_types(table),
        "edge_types.csv": _edge_types(table),
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
    header = read_header(folder)
    with opened(folder / NODES, "SONATA file") as file:
        nodes = _members(file, "nodes")
        populations = [_read_population(nodes, header, name) for name in header.populations]
    with opened(folder / EDGES, "SONATA file") as file:
        edges = _members(file, "edges")
        projections = [_read_projection(edges, header, name) for name in header.projections]
    return whole_network(header, populations, projections, folder)


def _file(write: Callable[[DelayTable, h5py.File], None], table: DelayTable) -> bytes:
    buffer = io.BytesIO()
    with created(buffer) as file:
        file.attrs["magic"] = MAGIC
        file.attrs["version"] = np.array(VERSION, np.uint32)
        write(table, file)
    return buffer.getvalue()


def _write_nodes(table: DelayTable, file: h5py.File) -> None:
    every = [(INPUT, table.input_channels, {})]
    every += [(one.name, one.size, schema.arrays_of(one)) for one in table.populations]
    for type_id, (name, size, attributes) in enumerate(every):
        group = file.create_group(f"nodes/{name}")
        _write(group, {"node_id": np.arange(size, dtype=np.uint64)})
        _write_elements(group, "node", type_id, size, attributes)


def _write_edges(table: DelayTable, file: h5py.File) -> None:
    file.create_group("edges")
    for type_id, one in enumerate(table.projections):
        group = file.create_group(f"edges/{one.name}")
        for end, population, ids, way in (
            ("source", one.source, one.pre, "source_to_target"),
            ("target", one.target, one.post, "target_to_source"),
        ):
            _write(group, {f"{end}_node_id": ids.astype(np.uint64)})
            write_text(dataset(group, f"{end}_node_id"), "node_population", population)
            index = edge_index(ids, table.size(population))
            names = ("node_id_to_ranges", "range_to_edge_id")
            _write(group.create_group(f"indices/{way}"), dict(zip(names, index, strict=True)))
        delay_ms = one.delay.astype(np.float64) * table.dt_ms
        attributes = {"syn_weight": one.current_weight, "delay": delay_ms}
        _write_elements(group, "edge", type_id, len(one), attributes)


def _write_elements(
    group: h5py.Group, kind: str, type_id: int, size: int, attributes: schema.Arrays
) -> None:
    """All elements are in attribute group 0, in their own order."""
    _write(
        group,
        {
            f"{kind}_type_id": np.full(size, type_id, np.uint64),
            f"{kind}_group_id": np.zeros(size, np.uint16),
            f"{kind}_group_index": np.arange(size, dtype=np.uint64),
        },
    )
    _write(group.create_group("0"), attributes)


def _write(group: h5py.Group, arrays: schema.Arrays) -> None:
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


def _node_types(table: DelayTable) -> bytes:
    """``node_types.csv``: one type for each population."""
    rows = [f"0 {INPUT} virtual NULL"]
    rows += [
        f"{index} {one.name} point_neuron snn_delays:{one.model.name}"
        for index, one in enumerate(table.populations, start=1)
    ]
    return _lines("node_type_id pop_name model_type model_template", rows)


def _edge_types(table: DelayTable) -> bytes:
    """``edge_types.csv``: one type for each projection."""
    rows = [
        f"{index} {one.source} {one.target} static_synapse"
        for index, one in enumerate(table.projections)
    ]
    return _lines("edge_type_id source target model_template", rows)


def _lines(header: str, rows: list[str]) -> bytes:
    return "\n".join([header, *rows, ""]).encode("ascii")


def _circuit_config(table: DelayTable) -> bytes:
    """``circuit_config.json``: where nodes and edges are, and of which kind."""
    nodes = {INPUT: "virtual", **{one.name: "point_neuron" for one in table.populations}}
    edges = {one.name: "point" for one in table.projections}
    networks = {
        kind: [
            {
                f"{kind}_file": f"$BASE_DIR/{file}",
                f"{kind[:-1]}_types_file": f"$BASE_DIR/{kind[:-1]}_types.csv",
                "populations": {name: {"type": of} for name, of in populations.items()},
            }
        ]
        for kind, file, populations in (("nodes", NODES, nodes), ("edges", EDGES, edges))
    }
    content = {"manifest": {"$BASE_DIR": "."}, "networks": networks}
    return (json.dumps(content, indent=2) + "\n").encode("ascii")


def _members(file: h5py.File, kind: str) -> h5py.Group:
    if attribute(file, "magic") != MAGIC:
        raise UsageError(f"magic must be {MAGIC:#x}, got {attribute(file, 'magic')!r}.")
    version = np.ravel(attribute(file, "version")).tolist()
    if version[:1] != [VERSION[0]]:
        raise UsageError(f"version must be {VERSION[0]}.x, got {version}.")
    return subgroup(file, kind)


def _read_population(nodes: h5py.Group, header: NetworkJson, name: str) -> tuple[int, Population]:
    group = subgroup(nodes, name)
    with naming_group(group):
        size, arrays = header.populations[name]["size"], header.population_arrays(name)
        return header.population(name, _attributes(group, "node", size, arrays))


def _read_projection(edges: h5py.Group, header: NetworkJson, name: str) -> Projection:
    group = subgroup(edges, name)
    with naming_group(group):
        for end in ("source", "target"):
            expected = header.projections[name][end]
            got = text(dataset(group, f"{end}_node_id"), "node_population")
            if got != expected:
                raise UsageError(
                    f"node_population of {end}_node_id must be {expected!r}, got {got!r}."
                )
        pre, post = (_numbers(group, f"{end}_node_id") for end in ("source", "target"))
        found = _attributes(group, "edge", len(pre), ("delay", "syn_weight"))
        delay = multiples("delay (ms)", found["delay"], "dt_ms", header.network["dt_ms"])
        columns = {"pre": pre, "post": post, "delay": delay, "weight": found["syn_weight"]}
        return header.projection(name, columns)


def _attributes(
    group: h5py.Group, kind: str, size: int, names: tuple[str, ...]
) -> dict[str, Float64]:
    """Attributes of every element, from the rows of group 0 that belong to them."""
    place, found = _group_index(group, kind, size), {}
    for name in names:
        values = _numbers(subgroup(group, "0"), name)
        if values.shape != place.shape:
            raise UsageError(f"array {name!r} must have {size} elements, got {values.size}.")
        found[name] = values[place]
    return found


def _group_index(population: h5py.Group, kind: str, size: int) -> NDArray[np.int64]:
    """Which row of attribute group 0 belongs to each element."""
    ids = _numbers(population, f"{kind}_group_id")
    rows = _numbers(population, f"{kind}_group_index")
    if ids.shape != (size,) or rows.shape != (size,):
        raise UsageError(
            f"{kind}_group_id and {kind}_group_index must have {size} elements, "
            f"got {ids.size} and {rows.size}."
        )
    if ids.any():
        raise UsageError(f"all {kind}s must be in group 0, got others.")
    if not np.array_equal(np.sort(rows), np.arange(size)):
        raise UsageError(f"{kind}_group_index must name every row of group 0 once.")
    return rows.astype(np.int64)


def _numbers(group: h5py.Group, name: str) -> Float64:
    values = array(group, name)
    if values.dtype.kind not in "iuf":
        raise UsageError(f"array {name!r} must hold numbers, got {values.dtype}.")
    return values.astype(np.float64)
