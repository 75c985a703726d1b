"""NIR: ours comes back as it was, acts as NIR's equations say, and so do other programs' graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from drawn_tables import assert_same, random_table, tables
from hypothesis import assume, given, settings
from nir_euler import run_graph

from snn_delays.errors import UsageError
from snn_delays.table import schema
from snn_delays.table.equality import canonical, same_network
from snn_delays.table.formats.nir.file import read_nir, write_nir
from snn_delays.table.formats.nir.graph import METADATA, to_nir
from snn_delays.table.formats.nir.reading import from_nir
from snn_delays.table.models.constants import NO_LEAK
from snn_delays.table.projection import Projection
from snn_delays.table.simulator import simulate
from snn_delays.table.table import DelayTable


def sorted_table(table: DelayTable) -> DelayTable:
    """What NIR can give back: rows in canonical order, without those of weight zero."""
    return table.map(projection=canonical)


@given(table=tables("to_nir"))
@settings(max_examples=40, deadline=None)
def test_graph_gives_the_same_table(table: DelayTable) -> None:
    assert_same(from_nir(to_nir(table)), sorted_table(table))


@given(table=tables("to_nir"))
@settings(max_examples=15, deadline=None)
def test_file_gives_the_same_table(
    table: DelayTable, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("nir")
    (path,) = write_nir(table, folder)
    assert_same(read_nir(folder), sorted_table(table))
    # nir's own reader and its checks of types take the file, and its writer the graph.
    graph = nir.read(path)
    assert graph.check_types()
    nir.write(folder / "again.nir", graph)
    assert_same(read_nir(folder / "again.nir"), sorted_table(table))


LOOPS = ((0, 1), (1, 2), (2, 3), (3, 4), (2, 2), (3, 1), (1, 3), (0, 3))


@pytest.mark.parametrize("options", [
    {"min_delay": 0},
    {"min_delay": 2},
    {"links": LOOPS},
    {"links": (*LOOPS, (4, 2)), "readout": "spike_count"},
], ids=str)  # fmt: skip
def test_graph_acts_as_the_table(options: dict[str, Any]) -> None:
    """Every node on its own, stepped by Euler, gives the simulator's potentials and spikes."""
    table = random_table(4, (6, 7, 5, 6, 3), tail_steps=8, **options)
    counts = np.random.default_rng(0).poisson(0.6, (30, 6)).astype(float)
    expected = simulate(table, counts)
    padded = np.concatenate([counts, np.zeros((8, 6))])
    got = run_graph(to_nir(table), padded, table.dt_ms / 1000)
    for name, spikes in expected.spikes.items():
        assert spikes.any()
        np.testing.assert_array_equal(got[name], spikes)
    v = got[f"{table.output.name}.v"]
    np.testing.assert_allclose(v, expected.potentials, rtol=1e-4, atol=1e-5)


def test_graph_of_integer_neurons_is_their_real_numbered_form() -> None:
    table = random_table(4, (6, 7, 3), weight_type="int8", integer=True, tail_steps=0)
    graph = to_nir(table)
    for population in table.populations:
        node = graph.nodes[population.name]
        beta = population.parameters["beta"] / 2 ** population.scalars["beta_shift"]
        np.testing.assert_allclose(1 - 0.0025 / node.tau, beta, atol=1e-6)
        if population.spiking:
            threshold = population.parameters["v_threshold"] * table.unit(population)
            np.testing.assert_allclose(node.v_threshold, threshold)
    rows = table.projections[0]
    weights = sum(
        node.weight for name, node in graph.nodes.items() if f"{rows.name}_weight" in name
    )
    np.testing.assert_allclose(weights[rows.post, rows.pre], rows.weight * 0.0123, rtol=1e-6)


def test_nodes_of_a_projection() -> None:
    table = random_table(0, (3, 4, 2), max_delay=2)
    nodes = to_nir(table).nodes
    name = "input_to_hidden0"
    np.testing.assert_allclose(nodes[f"{name}_delay_2"].delay, [0.005] * 3)
    assert f"{name}_delay_0" not in nodes
    assert isinstance(nodes[f"{name}_weight_0"], nir.Affine)
    assert isinstance(nodes[f"{name}_weight_1"], nir.Linear)
    rows = table.projections[0]
    now = rows.delay == 2
    expected = np.zeros((4, 3), np.float32)
    expected[rows.post[now], rows.pre[now]] = rows.weight[now]
    np.testing.assert_array_equal(nodes[f"{name}_weight_2"].weight, expected)


def test_a_bias_is_there_once_and_without_any_projection_too() -> None:
    table = random_table(0, (3, 4, 2), max_delay=2, links=((0, 1), (0, 2), (1, 2), (1, 1)))
    assert affines(table) == {"input_to_hidden0_weight_0", "input_to_readout_weight_0"}
    alone = random_table(0, (3, 4, 2), max_delay=2, links=((1, 2),))
    assert affines(alone) == {"hidden0_bias", "hidden0_to_readout_weight_0"}
    assert_same(from_nir(to_nir(alone)), sorted_table(alone))
    graph = to_nir(alone)
    del graph.metadata[METADATA]
    got = from_nir(graph, dt_ms=2.5, tail_steps=0)
    counts = np.ones((20, 3))
    np.testing.assert_allclose(
        simulate(got, counts).potentials,
        simulate(replace(alone, tail_steps=0), counts).potentials,
        rtol=1e-4,
        atol=1e-5,
    )


def affines(table: DelayTable) -> set[str]:
    nodes = to_nir(table).nodes
    return {name for name, node in nodes.items() if isinstance(node, nir.Affine)}


def test_a_population_may_be_called_output() -> None:
    table = random_table(0, (3, 2))
    (rows,) = table.projections
    table = replace(
        table,
        populations=(replace(table.output, name="output"),),
        projections=(replace(rows, target="output"),),
    )
    assert_same(from_nir(to_nir(table)), sorted_table(table))


def test_two_nodes_of_one_name_are_refused() -> None:
    table = random_table(0, (3, 4, 2), max_delay=0)
    hidden, readout = table.populations
    first, second = table.projections
    table = replace(
        table,
        populations=(replace(hidden, name="a_weight_0"), readout),
        projections=(
            replace(first, target="a_weight_0", name="a"),
            replace(second, source="a_weight_0"),
        ),
    )
    with pytest.raises(UsageError, match="NIR: two nodes would be called 'a_weight_0'"):
        to_nir(table)


def test_neurons_that_do_not_leak() -> None:
    table = random_table(0, (3, 2))
    table.output.parameters["beta"][:] = 1, 0.5
    node = to_nir(table).nodes["readout"]
    np.testing.assert_allclose(node.tau, [0.0025 * NO_LEAK, 0.005], rtol=1e-6)
    assert np.float32(1 - 0.0025 / node.tau[0]) == 1
    assert same_network(from_nir(to_nir(table)), table) is None


def test_repeated_synapses_are_refused() -> None:
    def first_twice(one: Projection) -> Projection:
        arrays = schema.arrays_of(one)
        return replace(one, **{key: np.append(arrays[key], arrays[key][:1]) for key in arrays})

    table = random_table(0, (3, 2)).map(projection=first_twice)
    with pytest.raises(UsageError, match=r"projection input_to_readout: 1 of \d synapses repeat"):
        to_nir(table)


def test_too_large_for_matrices() -> None:
    table = replace(random_table(0, (6, 6), max_delay=9), input_channels=10_000_000)
    with pytest.raises(UsageError, match="GiB, more than 1. Use the format sonata"):
        to_nir(table)


def changed(table: DelayTable, change: Callable[[nir.NIRGraph], Any]) -> nir.NIRGraph:
    graph = to_nir(table)
    change(graph)
    return graph


def renamed(graph: nir.NIRGraph, old: str, new: str) -> None:
    graph.nodes[new] = graph.nodes.pop(old)
    graph.edges = [tuple(new if end == old else end for end in edge) for edge in graph.edges]


EDITS: dict[str, Callable[[nir.NIRGraph], Any]] = {
    "tau of node 'hidden0'": lambda g: g.nodes["hidden0"].tau.__imul__(2),
    "v_threshold of node 'hidden0'": lambda g: g.nodes["hidden0"].v_threshold.__iadd__(1),
    "bias of node 'input_to_hidden0_weight_0'": lambda g: g.nodes[
        "input_to_hidden0_weight_0"
    ].bias.__iadd__(1),
    "set of nodes and edges": lambda g: renamed(g, "input_to_hidden0_delay_1", "more"),
    "must have metadata": lambda g: g.nodes["hidden0"].metadata.clear(),
    "must be JSON text": lambda g: g.metadata.__setitem__(METADATA, np.ones(3)),
    "got 20.0": lambda g: None,
}


@pytest.mark.parametrize("message", EDITS)
def test_edited_graph_is_not_passed_off_as_the_exported_one(message: str) -> None:
    graph = changed(random_table(1, (3, 4, 2), max_delay=2), EDITS[message])
    with pytest.raises(UsageError, match=message) as refused:
        from_nir(graph, dt_ms=20.0 if message == "got 20.0" else None)
    assert "\n" not in str(refused.value)


def test_weights_are_taken_from_the_graph() -> None:
    """So that what another tool pruned or scaled comes back."""
    table = random_table(1, (3, 4, 2), max_delay=2)
    graph = to_nir(table)
    graph.nodes["input_to_hidden0_weight_1"].weight *= 2
    expected, got = sorted_table(table).projections[0], from_nir(graph).projections[0]
    factor = np.where(expected.delay == 1, 2, 1).astype(np.float32)
    np.testing.assert_array_equal(got.weight, expected.weight * factor)


def test_weights_off_the_integer_grid_are_refused() -> None:
    graph = to_nir(random_table(1, (3, 4), weight_type="int8", max_delay=1))
    graph.nodes["input_to_readout_weight_1"].weight *= 1.1
    with pytest.raises(UsageError, match="whole multiple of weight_scale = 0.0123"):
        from_nir(graph)


def test_edited_graph_can_be_imported_as_it_is() -> None:
    table = random_table(1, (4, 6, 3), reset="hard", tail_steps=12)
    graph = to_nir(table)
    del graph.metadata[METADATA]
    got = from_nir(graph, dt_ms=2.5, readout="sum_softmax", class_names=table.class_names)
    assert got.tail_steps == sum(int(one.delay.max()) for one in table.projections)
    assert_close(got, table)


def assert_close(got: DelayTable, table: DelayTable) -> None:
    """The same network, but for what single precision and NIR's constants lose."""
    expected = {(one.source, one.target): one for one in sorted_table(table).projections}
    assert {(one.source, one.target) for one in got.projections} == set(expected)
    for one in got.projections:
        other = expected[one.source, one.target]
        for name in ("pre", "post", "delay"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_allclose(one.weight, other.current_weight, rtol=1e-6)
    assert set(got.order) == set(table.order)
    for one in got.populations:
        other = table[one.name]
        np.testing.assert_allclose(one.bias, other.bias, rtol=1e-5, atol=1e-6)
        assert one.model is other.model
        for name, values in other.parameters.items():
            np.testing.assert_allclose(one.parameters[name], values, rtol=1e-5, atol=1e-6)


@given(table=tables("to_nir"))
@settings(max_examples=40, deadline=None)
def test_our_graph_can_be_read_as_others_are(table: DelayTable) -> None:
    """Its Delays break its cycles: nothing waits for another step."""
    assume(not table.output.integer)
    assume(all(one.scalars.get("reset", "hard") == "hard" for one in table.populations))
    graph = to_nir(table)
    del graph.metadata[METADATA]
    assert_close(from_nir(graph, dt_ms=2.5), table)


RNG = np.random.default_rng(3)


def drawn(*shape: int, low: float = -1, high: float = 1) -> np.ndarray:
    return RNG.uniform(low, high, shape).astype(np.float32)


def lif(n: int, **fields: Any) -> nir.LIF:
    return nir.LIF(**{
        "tau": drawn(n, low=0.002, high=0.02), "r": drawn(n, low=1, high=9),
        "v_leak": drawn(n), "v_threshold": drawn(n, low=0.4), "v_reset": drawn(n, high=0.2),
        **fields,
    })  # fmt: skip


def li(n: int) -> nir.LI:
    return nir.LI(tau=drawn(n, low=0.002, high=0.02), r=drawn(n), v_leak=drawn(n))


PLAIN: dict[str, Callable[[], list[nir.NIRNode]]] = {
    "affine-lif-li": lambda: [nir.Affine(drawn(5, 4), drawn(5)), lif(5),
                              nir.Linear(drawn(3, 5)), li(3)],
    "no weights before": lambda: [lif(4), nir.Linear(drawn(3, 4)), li(3)],
    "if and i": lambda: [
        nir.Linear(drawn(5, 4, high=3)),
        nir.IF(r=drawn(5, low=800, high=1000), v_threshold=drawn(5, low=0.3)),
        nir.Affine(drawn(2, 5), drawn(2)), nir.I(r=drawn(2)),
    ],
    "delays on both sides": lambda: [
        nir.Delay(np.array([0, 0.001, 0.003, 0.002])), nir.Linear(drawn(5, 4, high=2)),
        nir.Delay(np.arange(5) * 0.001), lif(5), nir.Linear(drawn(2, 5)), li(2),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_graph_of_another_program_acts_as_its_equations(name: str, tmp_path: Path) -> None:
    graph = nir.NIRGraph.from_list(*PLAIN[name]())
    nir.write(tmp_path / "plain.nir", graph)
    table = read_nir(tmp_path / "plain.nir", dt_ms=1.0, tail_steps=0)
    counts = RNG.poisson(0.5, (60, 4)).astype(float)
    got, expected = simulate(table, counts), run_graph(graph, counts, 0.001)
    neurons = [name for name, node in graph.nodes.items() if isinstance(node, (nir.LIF, nir.IF))]
    assert set(neurons) == set(got.spikes)
    for node, spikes in got.spikes.items():
        assert spikes.any()
        np.testing.assert_array_equal(spikes, expected[node])
    np.testing.assert_allclose(got.potentials, expected["output"], rtol=1e-4, atol=1e-4)


def test_parallel_branches_add_up() -> None:
    weights = [drawn(3, 4), drawn(3, 4)]
    graph = nir.NIRGraph(
        nodes={
            "input": nir.Input({"input": np.array([4])}),
            "a": nir.Linear(weights[0]),
            "wait": nir.Delay(np.full(4, 0.002)),
            "b": nir.Affine(weights[1], drawn(3)),
            "out": li(3),
            "output": nir.Output({"output": np.array([3])}),
        },
        edges=[("input", "a"), ("input", "wait"), ("wait", "b"), ("a", "out"), ("b", "out"),
               ("out", "output")],
    )  # fmt: skip
    counts = RNG.poisson(0.5, (20, 4)).astype(float)
    table = from_nir(graph, dt_ms=1.0)
    assert (table.tail_steps, table.synapses) == (2, 24)
    padded = np.concatenate([counts, np.zeros((2, 4))])
    np.testing.assert_allclose(
        simulate(table, counts).potentials, run_graph(graph, padded, 0.001)["output"], atol=1e-4
    )


def test_spiking_end_is_read_out_by_counting() -> None:
    graph = nir.NIRGraph.from_list(nir.Linear(drawn(3, 4, low=0.2)), lif(3))
    table = from_nir(graph, dt_ms=1.0)
    assert (table.readout, table.class_names) == ("spike_count", ("0", "1", "2"))
    counts = RNG.poisson(0.7, (40, 4))
    result = simulate(table, counts)
    assert result.spikes["lif"].any()
    np.testing.assert_array_equal(result.spikes["lif"], run_graph(graph, counts, 0.001)["lif"])


def test_weights_at_the_end_are_read_out_as_they_are() -> None:
    weight = drawn(3, 4)
    table = from_nir(nir.NIRGraph.from_list(nir.Linear(weight)), dt_ms=1.0)
    counts = RNG.poisson(0.7, (5, 4))
    np.testing.assert_allclose(simulate(table, counts).potentials, counts @ weight.T, rtol=1e-6)


def test_missing_v_reset_is_zero(tmp_path: Path) -> None:
    """As files before NIR 1.0.5 have it."""
    nir.write(tmp_path / "old.nir", nir.NIRGraph.from_list(nir.Linear(drawn(3, 4)), lif(3)))
    with h5py.File(tmp_path / "old.nir", "r+") as file:
        del file["node/nodes/lif/v_reset"]
    table = read_nir(tmp_path / "old.nir", dt_ms=1.0)
    np.testing.assert_array_equal(table.output.parameters["v_reset"], np.zeros(3))


def listed(*nodes: nir.NIRNode) -> nir.NIRGraph:
    return nir.NIRGraph.from_list(*nodes)


def cuba(n: int) -> nir.CubaLIF:
    one = np.ones(n)
    return nir.CubaLIF(tau_syn=one, tau_mem=one, r=one, v_leak=one, v_threshold=one)


REFUSED: dict[str, Callable[[], nir.NIRGraph]] = {
    "CubaLIF must leak to its v_reset": lambda: listed(nir.Linear(drawn(3, 3)), cuba(3)),
    "node 'threshold' is Threshold": lambda: listed(nir.Threshold(np.ones(3)), lif(3)),
    "without neurons between": lambda: listed(nir.Linear(drawn(3, 3)), nir.Linear(drawn(3, 3))),
    "tau of node 'lif' must be at least a step": lambda: listed(lif(3, tau=np.full(3, 1e-4))),
    "must be finite numbers": lambda: listed(lif(3, tau=np.full(3, np.nan))),
    "whole multiple of dt_ms": lambda: listed(nir.Delay(np.full(3, 0.0015)), lif(3)),
    "delay of node 'delay' must be >= 0 s, got -0.001": lambda: listed(
        nir.Delay(np.array([0.001, -0.001, 0.0])), nir.Linear(drawn(3, 3)), lif(3)
    ),
    "delays the bias of an Affine": lambda: listed(
        nir.Affine(drawn(3, 3), drawn(3)), nir.Delay(np.ones(3)), lif(3)
    ),
    "the input must be a vector": lambda: listed(
        nir.Input({"input": np.array([3, 2])}), nir.Output({"output": np.array([3, 2])})
    ),
    "node 'li' is LI, which never spikes": lambda: listed(
        nir.Linear(drawn(3, 3)), li(3), nir.Linear(drawn(3, 3)), li(3)
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_a_table_cannot_express_is_named(message: str) -> None:
    with pytest.raises(UsageError) as refused:
        from_nir(REFUSED[message](), dt_ms=1.0)
    text = str(refused.value)
    assert text.startswith("NIR: ")
    assert "\n" not in text
    assert message in text


def test_step_must_be_given() -> None:
    with pytest.raises(UsageError, match="give dt_ms > 0, got None"):
        from_nir(listed(lif(3)))


@pytest.mark.usefixtures("unchecked")
def test_a_path_is_no_graph() -> None:
    with pytest.raises(UsageError, match=r"takes a nir.NIRGraph, got str. read_nir reads a file"):
        from_nir("network.nir")  # pyright: ignore[reportArgumentType]
