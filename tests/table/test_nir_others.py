"""NIR graphs in the shapes that other programs write them in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from drawn_tables import assert_same, random_table
from nir_euler import run_graph

from snn_delays.errors import UsageError
from snn_delays.table.formats.nir.file import read_nir
from snn_delays.table.formats.nir.graph import to_nir
from snn_delays.table.formats.nir.reading import from_nir
from snn_delays.table.models.constants import NO_LEAK
from snn_delays.table.simulator import simulate
from snn_delays.table.table import DelayTable

RNG = np.random.default_rng(7)
WEIGHTS = [RNG.uniform(-0.3, 0.8, shape).astype(np.float32) for shape in ((5, 6), (3, 5))]
BIASES = [RNG.uniform(-0.1, 0.1, n).astype(np.float32) for n in (5, 3)]
DT = 1e-4  # of snnTorch and SpikingJelly


def lif(*shape: int, beta: float = 0.9, **fields: float) -> nir.LIF:
    """A neuron as snnTorch writes it: v ← beta · v + I."""
    numbers = {"tau": DT / (1 - beta), "r": 1 / (1 - beta), "v_leak": 0.0, "v_threshold": 1.0,
               "v_reset": 0.0, **fields}  # fmt: skip
    arrays: dict[str, Any] = {name: np.full(shape, number) for name, number in numbers.items()}
    return nir.LIF(**arrays)


def graph_of(*nodes: nir.NIRNode, shape: tuple[int, ...] = (6,), out: Any = (3,)) -> nir.NIRGraph:
    """A chain, types unchecked, as files of older programs are."""
    named: dict[str, Any] = {"input": nir.Input({"input": np.array(shape)})}
    named |= {str(index): node for index, node in enumerate(nodes)}
    named["output"] = nir.Output({"output": np.array(out)})
    return nir.NIRGraph(named, list(pairwise(named)), type_check=False)


def affine(layer: int, *axes: int) -> nir.Affine:
    return nir.Affine(WEIGHTS[layer].reshape(*axes, *WEIGHTS[layer].shape), BIASES[layer])


def plain() -> nir.NIRGraph:
    return graph_of(affine(0), lif(5), affine(1), lif(3))


def flatten(*shape: int, start: int = 0) -> nir.Flatten:
    return nir.Flatten({"input": np.array(shape)}, start_dim=start)


def inside(*nodes: nir.NIRNode, n_in: int, n_out: int) -> nir.NIRGraph:
    return graph_of(*nodes, shape=(n_in,), out=(n_out,))


def module_of_modules() -> nir.NIRGraph:
    first = inside(affine(0), inside(lif(5), n_in=5, n_out=5), n_in=6, n_out=5)
    return graph_of(first, inside(affine(1), lif(3), n_in=5, n_out=3))


SHAPES: dict[str, Callable[[], nir.NIRGraph]] = {
    "snnTorch's tutorial": lambda: graph_of(
        flatten(1, 6), affine(0), lif(), affine(1), lif(), shape=(1, 6), out=(1, 3)
    ),
    "without the batch axis": lambda: graph_of(flatten(6), affine(0), lif(5), affine(1), lif(3)),
    "an image": lambda: graph_of(
        flatten(1, 2, 3), affine(0), lif(5), affine(1), lif(3), shape=(1, 2, 3)
    ),
    "Sinabs' Flatten": lambda: graph_of(
        flatten(0, 0, 0, 0, start=1), affine(0), lif(5), affine(1), lif(3), shape=(1, 2, 1, 3)
    ),
    "a batch axis everywhere": lambda: graph_of(
        affine(0, 1), lif(1, 5), affine(1, 1), lif(1, 3), shape=(1, 6), out=(1, 3)
    ),
    "Flatten at the end": lambda: graph_of(affine(0), lif(5), affine(1), lif(3), flatten(1, 3)),
    "subgraphs": module_of_modules,
}


def numbered(table: DelayTable) -> DelayTable:
    """The table with names that do not come from nodes."""
    names = {one.name: f"population{n}" for n, one in enumerate(table.populations)}
    names["input"] = "input"
    return replace(
        table,
        populations=tuple(replace(one, name=names[one.name]) for one in table.populations),
        projections=tuple(
            replace(one, source=names[one.source], target=names[one.target], name="")
            for one in table.projections
        ),
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_other_shapes_are_the_same_network(shape: str, tmp_path: Path) -> None:
    expected = numbered(from_nir(plain(), dt_ms=0.1))
    assert_same(numbered(from_nir(SHAPES[shape](), dt_ms=0.1)), expected)
    # Not compressed: the package's own filters refuse a single number, as snnTorch writes it.
    nir.write(tmp_path / "theirs.nir", SHAPES[shape](), compression=None)  # pyright: ignore
    assert_same(numbered(read_nir(tmp_path / "theirs.nir", dt_ms=0.1)), expected)


def test_the_network_is_what_snntorch_runs() -> None:
    counts = RNG.poisson(0.6, (50, 6)).astype(float)
    (hidden, out), v = ([], []), [np.zeros(5), np.zeros(3)]
    for x in counts:
        for layer, spikes in enumerate((hidden, out)):
            v[layer] = 0.9 * v[layer] + WEIGHTS[layer] @ x + BIASES[layer]
            x = (v[layer] >= 1).astype(float)
            v[layer] = np.where(x > 0, 0, v[layer])
            spikes.append(x)
    got = simulate(from_nir(SHAPES["snnTorch's tutorial"](), dt_ms=0.1), counts)
    assert np.any(hidden)
    assert np.any(out)
    np.testing.assert_array_equal(got.spikes["node_2"], hidden)
    np.testing.assert_array_equal(got.spikes["node_4"], out)


@pytest.mark.parametrize("place", range(5))
def test_scales_go_into_the_weights(place: int) -> None:
    nodes = [nir.Delay(np.arange(6) * DT), affine(0), lif(5), affine(1), lif(3)]
    size = (6, 6, 5, 5, 3)[place]
    nodes[place:place] = [nir.Scale(RNG.uniform(0.5, 2, size)), nir.Scale(np.full(size, 1.5))]
    graph = graph_of(*nodes)
    counts = RNG.poisson(0.6, (60, 6)).astype(float)
    got, expected = simulate(from_nir(graph, dt_ms=0.1, tail_steps=0), counts), run_graph(
        graph, counts, DT
    )  # fmt: skip
    names = [name for name, node in graph.nodes.items() if isinstance(node, nir.LIF)]
    for spikes, name in zip(got.spikes.values(), names, strict=True):
        assert spikes.any()
        np.testing.assert_array_equal(spikes, expected[name])


@pytest.mark.parametrize(
    "dt", [np.float32(0.1), np.float64(0.1), np.array(0.1), 0.1, np.float16(0.1)], ids=repr
)
def test_a_step_of_numpy(dt: Any) -> None:
    assert from_nir(plain(), dt_ms=dt).dt_ms == 0.1


def test_a_whole_step_of_numpy() -> None:
    ten, three = np.array([10, 3])
    table = replace(random_table(1, (3, 4, 2)), dt_ms=10.0)
    assert from_nir(to_nir(table), dt_ms=ten).dt_ms == table.dt_ms == 10
    assert from_nir(plain(), dt_ms=0.1, tail_steps=three).tail_steps == 3


def ring() -> nir.NIRGraph:
    graph = graph_of(nir.Scale(np.ones(6)), nir.Scale(np.ones(6)), lif(6))
    graph.edges.append(("1", "0"))
    return graph


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, logger="snn_delays")
    return caplog


def rleaky() -> nir.NIRGraph:
    """snnTorch's RLeaky and RSynaptic, as a subgraph of its own."""
    graph = inside(lif(5), n_in=5, n_out=5)
    graph.nodes["w_rec"] = nir.Affine(RECURRENT, np.full(5, 0.02))
    graph.edges += [("0", "w_rec"), ("w_rec", "0")]
    return graph_of(affine(0), graph, affine(1), lif(3))


RECURRENT = RNG.uniform(-0.6, 0.9, (5, 5)).astype(np.float32)


def test_recurrence_is_what_snntorch_runs(told: pytest.LogCaptureFixture) -> None:
    """Spikes come back in the next step; so they do in NIRTorch, and thus in Norse."""
    counts = RNG.poisson(0.6, (50, 6)).astype(float)
    hidden, v, spikes = [], np.zeros(5), np.zeros(5)
    for x in counts:
        v = 0.9 * v + WEIGHTS[0] @ x + BIASES[0] + RECURRENT @ spikes + 0.02
        spikes = (v >= 1).astype(float)
        v = np.where(spikes > 0, 0, v)
        hidden.append(spikes)
    table = from_nir(rleaky(), dt_ms=0.1)
    (line,) = told.messages
    assert "'1.0' → '1.0' close cycles without a Delay" in line
    assert [(one.source, one.target, one.min_delay) for one in table.projections] == [
        ("input", "node_1_0", 0),
        ("node_1_0", "node_1_0", 1),
        ("node_1_0", "node_3", 0),
    ]
    np.testing.assert_array_equal(simulate(table, counts).spikes["node_1_0"], hidden)


def joined(
    *edges: str, delays: Mapping[str, float] = MappingProxyType({}), **sizes: int
) -> nir.NIRGraph:
    """Neurons by letter, and ``"x.y"`` for drawn weights from x to y; ``out`` is the output."""
    used = {end for name in edges for end in name.split(".")}
    sizes = {"input": 4, **{name: size for name, size in sizes.items() if name in used}}
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array([4])})}
    nodes |= {name: lif(size) for name, size in sizes.items() if name != "input"}
    nodes["output"] = nir.Output({"output": np.array([3])})
    links = []
    for name in edges:
        source, target = name.split(".")
        if target == "output":
            links.append((source, target))
            continue
        weight = RNG.uniform(-0.4, 1.2, (sizes[target], sizes[source]))
        nodes[name] = nir.Affine(weight, RNG.uniform(-0.1, 0.1, sizes[target]))
        links += [(source, name), (name, target)]
        if name in delays:
            nodes[f"{name}.d"] = nir.Delay(np.full(sizes[source], delays[name] * DT))
            links[-2:] = [(source, f"{name}.d"), (f"{name}.d", name), (name, target)]
    return nir.NIRGraph(nodes, links, type_check=False)


ALL = {"a": 5, "b": 6, "c": 3}
GRAPHS: dict[str, tuple[nir.NIRGraph, tuple[tuple[str, str], ...], str]] = {
    "skips": (
        joined("input.a", "a.b", "input.b", "a.c", "b.c", "input.c", "c.output", **ALL),
        (),
        "abc",
    ),
    "back, one step": (
        joined("input.a", "a.b", "b.c", "b.a", "c.output", **ALL),
        (("b.a", "a"),),
        "abc",
    ),
    "back to the first, from the output": (
        joined("input.a", "a.b", "b.c", "c.a", "c.output", "b.b", **ALL),
        (("c.a", "a"), ("b.b", "b")),
        "abc",
    ),
    "back with a Delay": (
        joined("input.a", "a.b", "b.c", "b.a", "c.output", delays={"b.a": 2}, **ALL),
        (),
        "abc",
    ),
    "forth with a Delay, and back without": (
        joined("input.a", "a.b", "b.a", "a.c", "c.output", delays={"a.b": 2}, **ALL),
        (),
        "bac",
    ),
    "downstream of a loop of two": (
        joined("input.a", "a.b", "b.a", "b.c", "input.c", "c.output", **ALL),
        (("b.a", "a"),),
        "abc",
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_act_as_their_equations(name: str) -> None:
    graph, late, order = GRAPHS[name]
    table = from_nir(graph, dt_ms=0.1, tail_steps=0)
    assert "".join(one.name for one in table.populations) == order
    counts = RNG.poisson(0.6, (60, 4)).astype(float)
    got, expected = simulate(table, counts), run_graph(graph, counts, DT, late)
    for one, spikes in got.spikes.items():
        assert 0 < spikes.mean() < 1
        np.testing.assert_array_equal(spikes, expected[one])


def test_weights_that_sources_share_add_their_bias_once() -> None:
    graph = joined("input.a", "a.b", "input.b", "b.c", "c.output", **ALL)
    graph.nodes["both"] = nir.Affine(RNG.uniform(0, 1, (3, 6)), np.full(3, 0.1))
    graph.nodes["more"] = lif(6)
    graph.nodes["to more"] = nir.Affine(RNG.uniform(0, 1, (6, 4)), np.full(6, 0.1))
    graph.edges += [
        *(("input", "to more"), ("to more", "more")),
        *(("b", "both"), ("more", "both"), ("both", "c")),
    ]
    counts = RNG.poisson(0.3, (60, 4)).astype(float)
    expected = run_graph(graph, counts, DT)
    got = simulate(from_nir(graph, dt_ms=0.1, tail_steps=0), counts)
    for name, spikes in got.spikes.items():
        np.testing.assert_array_equal(spikes, expected[name])


def test_several_ways_to_the_output_add_up() -> None:
    """Neurons of two layers and weights: what they send is the readout's v."""
    graph = joined("input.a", "a.c", "c.output", "a.e", "e.output", a=5, c=3, e=3)
    graph.nodes["w"] = nir.Linear(RNG.uniform(0, 1, (3, 5)))
    graph.edges += [("a", "w"), ("w", "output")]
    counts = RNG.poisson(0.6, (60, 4)).astype(float)
    table = from_nir(graph, dt_ms=0.1, tail_steps=0)
    assert (table.readout, table.output.model.name) == ("mean", "LI")
    expected = run_graph(graph, counts, DT)["output"]
    assert expected.any()
    np.testing.assert_allclose(simulate(table, counts).potentials, expected, rtol=1e-6)


def two_inputs() -> nir.NIRGraph:
    graph = inside(lif(6), n_in=6, n_out=6)
    graph.nodes["more"] = nir.Input({"input": np.array([6])})
    graph.edges.append(("more", "0"))
    return graph_of(graph)


def astray() -> nir.NIRGraph:
    graph = inside(lif(6), n_in=6, n_out=6)
    graph.edges.append(("0", "nowhere"))
    return graph_of(graph)


def dangling() -> nir.NIRGraph:
    graph = graph_of(lif(6))
    graph.nodes["flat"] = flatten(6)
    graph.edges.append(("0", "flat"))
    return graph


def graph_with_a_wrong_size() -> nir.NIRGraph:
    graph = joined("input.a", "a.c", "c.output", **ALL)
    graph.edges.append(("a", "c"))
    return graph


def non_spiking_in_the_middle() -> nir.NIRGraph:
    graph = joined("input.li", "li.c", "c.output", li=5, **ALL)
    one = np.ones(5)
    graph.nodes["li"] = nir.LI(tau=one, r=one, v_leak=one)
    return graph


REFUSED: dict[str, Callable[[], nir.NIRGraph]] = {
    "weight of node '1' must be [post, 24], got shape (5, 6). A batch of 4? Export with a single": (
        lambda: graph_of(flatten(4, 6), affine(0), lif(5), shape=(4, 6))
    ),
    "tau of node '1' must have 5 elements, got shape (4, 5). A batch of 4?": (
        lambda: graph_of(affine(0), lif(4, 5))
    ),
    "node 'input': the input must be a vector, got shape [2, 3]. Flatten": (
        lambda: graph_of(affine(0), lif(5), shape=(2, 3))
    ),
    "node 'c' is read out and leads to 'a' without a Delay": lambda: joined(
        "input.a", "a.c", "c.a", "c.output", delays={"a.c": 1}, **ALL
    ),
    "node 'a.b' is on no way": lambda: joined("input.a", "a.c", "a.b", "c.output", **ALL),
    "branches into 'c' must have one size, got 3 and 5": graph_with_a_wrong_size,
    "node 'li' is LI, which never spikes": non_spiking_in_the_middle,
    "subgraph '0' must have one Input node, got 2": two_inputs,
    "edge '0.0' → '0.nowhere' names no node '0.nowhere'": astray,
    "without neurons between": ring,
    "node 'flat' is on no way": dangling,
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_fit_is_named(message: str) -> None:
    with pytest.raises(UsageError) as refused:
        from_nir(REFUSED[message](), dt_ms=0.1)
    text = str(refused.value)
    assert message in text
    assert "\n" not in text


def test_a_file_of_another_program_is_not_to_be_exported_again(tmp_path: Path) -> None:
    path = tmp_path / "theirs.nir"
    path.write_bytes(b"no HDF5")
    with pytest.raises(UsageError, match="Write it again with the program that it comes") as error:
        read_nir(path, dt_ms=1.0)
    assert "xport it" not in str(error.value)
    nir.write(path, dangling(), compression=None)  # pyright: ignore
    with pytest.raises(UsageError, match=r"theirs\.nir: NIR: node 'flat' is on no way") as error:
        read_nir(path, dt_ms=0.1)
    assert "not a valid" not in str(error.value)
    nir.write(path, plain())
    with h5py.File(path, "r+") as file:
        del file["node/nodes/1/type"]
        file["node/nodes/1/type"] = "Izhikevich"
    with pytest.raises(UsageError, match="nodes/1 is of type .*Izhikevich.*does not know"):
        read_nir(path, dt_ms=0.1)


@pytest.mark.parametrize("v_reset", [1.0, 1.5])
def test_neurons_that_never_stop_are_told(told: pytest.LogCaptureFixture, v_reset: float) -> None:
    table = from_nir(graph_of(affine(0), lif(5, v_reset=v_reset)), dt_ms=0.1)
    (line,) = told.messages
    assert line.startswith("NIR: v_reset of node '1' is not below v_threshold in 5 of 5 neurons")
    spikes = simulate(table, np.full((40, 6), 1.0)).spikes["node_1"]
    assert spikes[20:].all()


def test_a_time_constant_in_milliseconds_is_told(told: pytest.LogCaptureFixture) -> None:
    from_nir(graph_of(affine(0), lif(5, tau=20.0)), dt_ms=1.0)
    (line,) = told.messages
    assert line.startswith("NIR: tau of node '1' is 20 s or more in 5 of 5 neurons")
    assert "in seconds" in line


@pytest.mark.parametrize(
    ("tau", "dt_ms"), [(0.02, 1.0), (2.0, 10.0), (1e-3 * NO_LEAK, 1.0)], ids=repr
)
def test_no_such_line_without_a_reason(
    told: pytest.LogCaptureFixture, tau: float, dt_ms: float
) -> None:
    from_nir(graph_of(affine(0), lif(5, tau=tau)), dt_ms=dt_ms)
    assert not told.messages
