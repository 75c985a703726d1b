"""SONATA as others read it: libsonata sees every neuron and synapse where ours put it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import libsonata
import numpy as np
import pytest
from drawn_tables import assert_same, random_table, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays.errors import UsageError
from snn_delays.table.formats.sonata import edge_index, read_sonata, write_sonata
from snn_delays.table.schema import arrays_of
from snn_delays.table.table import DelayTable


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sonata")


@given(table=tables())
@settings(max_examples=20, deadline=None)
def test_libsonata_finds_every_synapse(table: DelayTable, folder: Path) -> None:
    write_sonata(table, folder)
    circuit = libsonata.CircuitConfig.from_file(str(folder / "circuit_config.json"))
    assert circuit.config_status == libsonata.CircuitConfigStatus.complete
    assert circuit.edge_populations == {one.name for one in table.projections}
    for one in table.projections:
        edges = circuit.edge_population(one.name)
        assert (edges.size, edges.source, edges.target) == (len(one), one.source, one.target)
        if not edges.size:
            continue  # libsonata selects nothing from nothing
        every = edges.select_all()
        np.testing.assert_array_equal(edges.source_nodes(every), one.pre)
        np.testing.assert_array_equal(edges.target_nodes(every), one.post)
        np.testing.assert_array_equal(edges.get_attribute("delay", every), one.delay * 2.5)
        np.testing.assert_array_equal(edges.get_attribute("syn_weight", every), one.current_weight)
        for ids, size, query in (
            (one.pre, table.size(one.source), edges.efferent_edges),
            (one.post, table.size(one.target), edges.afferent_edges),
        ):
            for node in range(size):
                assert sorted(query(node).flatten()) == np.flatnonzero(ids == node).tolist()


@given(table=tables())
@settings(max_examples=10, deadline=None)
def test_libsonata_finds_every_neuron(table: DelayTable, folder: Path) -> None:
    write_sonata(table, folder)
    circuit = libsonata.CircuitConfig.from_file(str(folder / "circuit_config.json"))
    assert circuit.node_population("input").size == table.input_channels
    for one in table.populations:
        nodes = circuit.node_population(one.name)
        assert nodes.size == one.size
        every = nodes.select_all()
        assert nodes.attribute_names == set(arrays_of(one))
        for name, values in arrays_of(one).items():
            np.testing.assert_array_equal(nodes.get_attribute(name, every), values)


@given(
    ids=st.lists(st.integers(0, 5), min_size=1, max_size=30),
    others=st.lists(st.integers(0, 5), min_size=30, max_size=30),
)
@settings(max_examples=20, deadline=None)
def test_index_is_the_one_that_libsonata_makes(
    ids: list[int], others: list[int], folder: Path
) -> None:
    path = folder / "bare.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("edges/bare")
        group["source_node_id"] = np.array(ids, np.uint64)
        group["target_node_id"] = np.array(others[: len(ids)], np.uint64)
    libsonata.EdgePopulation.write_indices(str(path), "bare", 6, 6)
    with h5py.File(path, "r") as file:
        for name, column in (("source_to_target", ids), ("target_to_source", others[: len(ids)])):
            index = file[f"edges/bare/indices/{name}"]
            to_ranges, to_edges = edge_index(np.array(column, np.int32), 6)
            # libsonata may leave out the last nodes, and names the place of empty ones.
            theirs = index["node_id_to_ranges"][()]
            for node, (first, last) in enumerate(to_ranges.tolist()):
                ours = to_edges[first:last].tolist()
                start, end = theirs[node].tolist() if node < len(theirs) else (0, 0)
                assert ours == index["range_to_edge_id"][()][start:end].tolist()


def test_types_are_listed(tmp_path: Path) -> None:
    write_sonata(random_table(0, (3, 4, 2)), tmp_path)
    with (tmp_path / "node_types.csv").open() as file:
        rows = list(csv.DictReader(file, delimiter=" "))
    assert [(row["pop_name"], row["model_type"]) for row in rows] == [
        ("input", "virtual"), ("hidden0", "point_neuron"), ("readout", "point_neuron")
    ]  # fmt: skip
    with h5py.File(tmp_path / "nodes.h5") as file:
        for row in rows:
            ids = file[f"nodes/{row['pop_name']}/node_type_id"][()]
            assert set(ids.tolist()) == {int(row["node_type_id"])}
    with (tmp_path / "edge_types.csv").open() as file:
        rows = list(csv.DictReader(file, delimiter=" "))
    assert [(row["source"], row["target"]) for row in rows] == [
        ("input", "hidden0"), ("hidden0", "readout")
    ]  # fmt: skip


def test_rows_that_another_program_reordered(tmp_path: Path) -> None:
    """edge_group_index says which row of the attributes belongs to an edge."""
    table = random_table(0, (5, 4, 2))
    write_sonata(table, tmp_path)
    order = np.random.default_rng(0).permutation(len(table.projections[0]))
    with h5py.File(tmp_path / "edges.h5", "r+") as file:
        group = file["edges/input_to_hidden0"]
        for name in ("syn_weight", "delay"):
            values = group[f"0/{name}"][()]
            del group[f"0/{name}"]
            group[f"0/{name}"] = values[order]
        refill(group, "edge_group_index", np.argsort(order))
        group["source_node_id"].attrs["node_population"] = "input"  # of variable length
    assert_same(read_sonata(tmp_path), table)


def test_a_hole_of_zeros_is_noticed(tmp_path: Path) -> None:
    """Zeros are a valid Fletcher checksum of zeros."""
    write_sonata(random_table(0, (5, 4, 2), density=1.0), tmp_path)
    path = tmp_path / "edges.h5"
    with h5py.File(path) as file:
        chunk = file["edges/input_to_hidden0/0/syn_weight"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    with pytest.raises(UsageError, match="edges.h5: .* array 'syn_weight' is not what was written"):
        read_sonata(tmp_path)


def refill(group: h5py.Group, name: str, values: np.ndarray) -> None:
    attributes = dict(group[name].attrs)
    del group[name]
    group[name] = values
    group[name].attrs.update(attributes)
    group[name].attrs.pop("crc32")


E = "edges/input_to_hidden0"
CHANGES: dict[str, tuple[str, Callable[[h5py.File], object]]] = {
    "magic must be 0xa7a, got None": ("nodes.h5", lambda f: f.attrs.__delitem__("magic")),
    "magic must be 0xa7a": ("edges.h5", lambda f: f.attrs.__setitem__("magic", 1)),
    "version must be 0.x": ("edges.h5", lambda f: f.attrs.__setitem__("version", [1, 0])),
    "group 'hidden0' is missing": ("nodes.h5", lambda f: f.__delitem__("nodes/hidden0")),
    "array 'beta' is missing": ("nodes.h5", lambda f: f.__delitem__("nodes/hidden0/0/beta")),
    "array 'delay' must have 11 elements, got 3": (
        "edges.h5", lambda f: refill(f[f"{E}/0"], "delay", np.ones(3))
    ),
    "whole multiple of dt_ms": (
        "edges.h5", lambda f: refill(f[f"{E}/0"], "delay", np.full(11, 4.0))
    ),
    "must hold numbers": (
        "edges.h5", lambda f: refill(f[f"{E}/0"], "delay", np.full(11, b"4"))
    ),
    "delay must be within 0 … 6": (
        "edges.h5", lambda f: refill(f[f"{E}/0"], "delay", np.full(11, -10.0))
    ),
    "weight must be finite": (
        "edges.h5", lambda f: refill(f[f"{E}/0"], "syn_weight", np.full(11, np.nan))
    ),
    "pre must be within 0 … 2": (
        "edges.h5", lambda f: refill(f[E], "source_node_id", np.full(11, 3))
    ),
    "all edges must be in group 0": (
        "edges.h5", lambda f: refill(f[E], "edge_group_id", np.ones(11))
    ),
    "edge_group_index must name every row": (
        "edges.h5", lambda f: refill(f[E], "edge_group_index", np.zeros(11))
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", CHANGES)
def test_wrong_field_is_named(message: str, tmp_path: Path) -> None:
    table = random_table(3, (3, 4, 2), density=1.0)
    first, *others = table.projections
    first = replace(first, **{name: values[:11] for name, values in arrays_of(first).items()})
    write_sonata(replace(table, projections=(first, *others)), tmp_path)
    name, change = CHANGES[message]
    with h5py.File(tmp_path / name, "r+") as file:
        change(file)
    with pytest.raises(UsageError) as refused:
        read_sonata(tmp_path)
    assert message in str(refused.value)
    assert str(tmp_path / name) in str(refused.value)
    assert "\n" not in str(refused.value)
