"""A network as SONATA: populations of nodes and edges in HDF5, for libsonata, BMTK or NEST.

Nodes are ``input`` (virtual) and the table's populations, edges its projections, under their own
names. What SONATA has no field for is in ``network.json``.

Reference:
    Dai et al., The SONATA data format for efficient description of large-scale network models,
    PLOS Computational Biology 2020, https://github.com/AllenInstitute/sonata.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from snn_delays.atomic import write_atomically
from snn_delays.errors import HDF5_DAMAGE, UsageError, held_elsewhere, one_line
from snn_delays.hdf5.fields import (
    array,
    attribute,
    dataset,
    subgroup,
    text,
    write_array,
    write_text,
)
from snn_delays.table import schema
from snn_delays.table.formats.columns import Float64, multiples, naming
from snn_delays.table.formats.network_json import NetworkJson
from snn_delays.table.formats.sidecar import (
    read_header,
    remove_header,
    whole_network,
    write_header,
)
from snn_delays.table.formats.sonata_circuit import (
    EDGES,
    NODES,
    circuit_config,
    edge_types,
    node_types,
)
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection
from snn_delays.table.table import INPUT, DelayTable

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
    remove_header(folder)
    contents = {
        NODES: _nodes(table),
        EDGES: _edges(table),
        "node_types.csv": node_types(table),
        "edge_types.csv": edge_types(table),
        "circuit_config.json": circuit_config(table),
    }
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [*(folder / name for name in contents), write_header(table, folder)]


def read_sonata(folder: Path | str) -> DelayTable:
    """Read what ``write_sonata`` wrote: the same table, rows in the same order.

    Raises:
        UsageError: one line with the path of the file that is missing, damaged or out of range.
    """
    folder = Path(folder)
    header = read_header(folder)
    with _opened(folder / NODES) as nodes:
        populations = [_read_population(nodes, header, name) for name in header.populations]
    with _opened(folder / EDGES) as edges:
        projections = [_read_projection(edges, header, name) for name in header.projections]
    return whole_network(header, populations, projections, folder)


@contextmanager
def _new_file(buffer: io.BytesIO) -> Iterator[h5py.File]:
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:
        file.attrs["magic"] = MAGIC
        file.attrs["version"] = np.array(VERSION, np.uint32)
        yield file


def _nodes(table: DelayTable) -> bytes:
    buffer = io.BytesIO()
    with _new_file(buffer) as file:
        _write_nodes(file, INPUT, table.input_channels, 0)
        for index, population in enumerate(table.populations, start=1):
            group = _write_nodes(file, population.name, population.size, index)
            for name, values in schema.arrays_of(population).items():
                write_array(group, name, values, gzip=False)
    return buffer.getvalue()


def _write_nodes(file: h5py.File, name: str, size: int, type_id: int) -> h5py.Group:
    population = file.create_group(f"nodes/{name}")
    write_array(population, "node_id", np.arange(size, dtype=np.uint64), gzip=False)
    write_array(population, "node_type_id", np.full(size, type_id, np.uint64), gzip=False)
    _write_group(population, "node", size)
    return population.create_group("0")


def _write_group(population: h5py.Group, kind: str, size: int) -> None:
    """All elements are in attribute group 0, in their own order."""
    write_array(population, f"{kind}_group_id", np.zeros(size, np.uint16), gzip=False)
    write_array(population, f"{kind}_group_index", np.arange(size, dtype=np.uint64), gzip=False)


def _edges(table: DelayTable) -> bytes:
    buffer = io.BytesIO()
    with _new_file(buffer) as file:
        file.create_group("edges")
        for index, one in enumerate(table.projections):
            group = file.create_group(f"edges/{one.name}")
            ends = (
                ("source", one.source, one.pre, "source_to_target"),
                ("target", one.target, one.post, "target_to_source"),
            )
            for end, population, ids, way in ends:
                member = write_array(group, f"{end}_node_id", ids.astype(np.uint64), gzip=False)
                write_text(member, "node_population", population)
                to_ranges, to_edges = edge_index(ids, table.size(population))
                index_group = group.create_group(f"indices/{way}")
                write_array(index_group, "node_id_to_ranges", to_ranges, gzip=False)
                write_array(index_group, "range_to_edge_id", to_edges, gzip=False)
            type_id = np.full(len(one), index, np.uint64)
            write_array(group, "edge_type_id", type_id, gzip=False)
            _write_group(group, "edge", len(one))
            attributes = group.create_group("0")
            write_array(attributes, "syn_weight", one.current_weight, gzip=False)
            delay_ms = one.delay.astype(np.float64) * table.dt_ms
            write_array(attributes, "delay", delay_ms, gzip=False)
    return buffer.getvalue()


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


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """A SONATA file; whatever goes wrong inside the block is one line with its path."""
    if not path.is_file():
        raise UsageError(f"{path}: no such SONATA file. Export the network again.")
    try:
        with naming(path, "SONATA file"), h5py.File(path, "r") as file:
            if attribute(file, "magic") != MAGIC:
                raise UsageError(f"magic must be {MAGIC:#x}, got {attribute(file, 'magic')!r}.")
            version = np.ravel(attribute(file, "version")).tolist()
            if version[:1] != [VERSION[0]]:
                raise UsageError(f"version must be {VERSION[0]}.x, got {version}.")
            yield file
    except UsageError:
        raise
    except HDF5_DAMAGE as error:
        if held := held_elsewhere(error):
            raise UsageError(f"{path} {held}") from error
        raise UsageError(
            f"{path}: not a readable SONATA file (truncated, damaged or not HDF5): "
            f"{one_line(error)}. Export it again."
        ) from error


def _read_population(file: h5py.File, header: NetworkJson, name: str) -> tuple[int, Population]:
    group = subgroup(subgroup(file, "nodes"), name)
    with _naming_group(group):
        attributes = subgroup(group, "0")
        place = _group_index(group, "node", header.populations[name]["size"])
        arrays = header.population_arrays(name)
        return header.population(name, {key: _numbers(attributes, key, place) for key in arrays})


def _read_projection(file: h5py.File, header: NetworkJson, name: str) -> Projection:
    group = subgroup(subgroup(file, "edges"), name)
    with _naming_group(group):
        columns: dict[str, Float64] = {}
        for end, column in (("source", "pre"), ("target", "post")):
            expected = header.projections[name][end]
            got = text(dataset(group, f"{end}_node_id"), "node_population")
            if got != expected:
                raise UsageError(
                    f"node_population of {end}_node_id must be {expected!r}, got {got!r}."
                )
            columns[column] = _numbers(group, f"{end}_node_id")
        attributes = subgroup(group, "0")
        place = _group_index(group, "edge", len(columns["pre"]))
        delay_ms = _numbers(attributes, "delay", place)
        columns["delay"] = multiples("delay (ms)", delay_ms, "dt_ms", header.network["dt_ms"])
        columns["weight"] = _numbers(attributes, "syn_weight", place)
        return header.projection(name, columns)


@contextmanager
def _naming_group(group: h5py.Group) -> Iterator[None]:
    """Put the group in front of what is wrong with it."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{group.name}: {error}") from error


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


def _numbers(group: h5py.Group, name: str, place: NDArray[np.int64] | None = None) -> Float64:
    values = array(group, name)
    if values.dtype.kind not in "iuf":
        raise UsageError(f"array {name!r} must hold numbers, got {values.dtype}.")
    if place is None:
        return values.astype(np.float64)
    if values.shape != place.shape:
        raise UsageError(f"array {name!r} must have {place.size} elements, got {values.size}.")
    return values.astype(np.float64)[place]
