"""NIR graphs in the shapes that other programs write them in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from drawn_tables import assert_same, random_table
from nir_euler import run_graph

from snn_delays.errors import UsageError
from snn_delays.table.formats.nir_file import read_nir
from snn_delays.table.formats.nir_graph import NO_LEAK, to_nir
from snn_delays.table.formats.nir_import import from_nir
from snn_delays.table.simulator import simulate

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


@pytest.mark.parametrize("shape", SHAPES)
def test_other_shapes_are_the_same_network(shape: str, tmp_path: Path) -> None:
    expected = from_nir(plain(), dt_ms=0.1)
    assert_same(from_nir(SHAPES[shape](), dt_ms=0.1), expected)
    # Not compressed: the package's own filters refuse a single number, as snnTorch writes it.
    nir.write(tmp_path / "theirs.nir", SHAPES[shape](), compression=None)  # pyright: ignore
    assert_same(read_nir(tmp_path / "theirs.nir", dt_ms=0.1), expected)


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
    np.testing.assert_array_equal(got.spikes[0], hidden)
    np.testing.assert_array_equal(got.potentials, out)  # firing rates


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
    for spikes, name in zip(got.spikes, names, strict=True):
        assert spikes.any()
        np.testing.assert_array_equal(spikes, expected[name])


@pytest.mark.parametrize(
    "dt", [np.float32(0.1), np.float64(0.1), np.array(0.1), 0.1, np.float16(0.1)], ids=repr
)
def test_a_step_of_numpy(dt: Any) -> None:
    assert from_nir(plain(), dt_ms=dt).dt_ms == 0.1


def test_a_whole_step_of_numpy() -> None:
    table, ten, three = random_table(1, (3, 4, 2)), np.array([10, 3])[0], np.array([10, 3])[1]
    assert from_nir(to_nir(table), dt_ms=ten).dt_ms == table.dt_ms == 10
    assert from_nir(plain(), dt_ms=0.1, tail_steps=three).tail_steps == 3


def ring() -> nir.NIRGraph:
    graph = graph_of(nir.Scale(np.ones(6)), nir.Scale(np.ones(6)), lif(6))
    graph.edges.append(("1", "0"))
    return graph


def rleaky() -> nir.NIRGraph:
    """snnTorch's RLeaky."""
    graph = inside(lif(5), n_in=5, n_out=5)
    graph.nodes["w_rec"] = nir.Linear(np.ones((5, 5)))
    graph.edges += [("0", "w_rec"), ("w_rec", "0")]
    return graph_of(affine(0), graph)


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


REFUSED: dict[str, Callable[[], nir.NIRGraph]] = {
    "weight of node '1' must be [post, 24], got shape (5, 6). A batch of 4? Export with a single": (
        lambda: graph_of(flatten(4, 6), affine(0), lif(5), shape=(4, 6))
    ),
    "r of node '1' must have 5 elements, got shape (4, 5). A batch of 4?": (
        lambda: graph_of(affine(0), lif(4, 5))
    ),
    "node 'input': the input must be a vector, got shape [2, 3]. Flatten": (
        lambda: graph_of(affine(0), lif(5), shape=(2, 3))
    ),
    "node '1.0' leads back to '1.0'; recurrent": rleaky,
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
    nir.write(path, rleaky())
    with pytest.raises(UsageError, match=r"theirs\.nir: NIR: node '1\.0' leads back") as error:
        read_nir(path, dt_ms=0.1)
    assert "not a valid" not in str(error.value)
    nir.write(path, plain())
    with h5py.File(path, "r+") as file:
        del file["node/nodes/1/type"]
        file["node/nodes/1/type"] = "Izhikevich"
    with pytest.raises(UsageError, match="nodes/1 is of type .*Izhikevich.*does not know"):
        read_nir(path, dt_ms=0.1)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, logger="snn_delays")
    return caplog


@pytest.mark.parametrize("v_reset", [1.0, 1.5])
def test_neurons_that_never_stop_are_told(told: pytest.LogCaptureFixture, v_reset: float) -> None:
    table = from_nir(graph_of(affine(0), lif(5, v_reset=v_reset)), dt_ms=0.1)
    (line,) = told.messages
    assert line.startswith("NIR: v_reset of node '1' is not below v_threshold in 5 of 5 neurons")
    spikes = simulate(table, np.full((40, 6), 1.0)).spikes[0]
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
