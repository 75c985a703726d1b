"""Every format gives back the network that it was given, and nothing else passes for one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_tables import assert_same, random_table, tables
from hypothesis import given, settings

from snn_delays.errors import UsageError
from snn_delays.table.equality import canonical, same_network
from snn_delays.table.formats import FORMATS, write_verified, written
from snn_delays.table.formats.csv import read_csv, write_csv
from snn_delays.table.formats.pynn import read_pynn, write_pynn
from snn_delays.table.formats.sonata import read_sonata, write_sonata
from snn_delays.table.table import DelayTable, SynapseTable

IN_ORDER = {
    "csv": (write_csv, read_csv),
    "pynn": (write_pynn, read_pynn),
    "sonata": (write_sonata, read_sonata),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("formats")


@pytest.mark.parametrize("name", IN_ORDER)
@given(table=tables())
@settings(max_examples=30, deadline=None)
def test_read_what_was_written(name: str, table: DelayTable, folder: Path) -> None:
    """To the bit, and rows in their order; the folder held another network before."""
    write, read = IN_ORDER[name]
    paths = write(table, folder / name)
    assert all(path.is_file() for path in paths)
    assert_same(read(folder / name), table)


@given(table=tables())
@settings(max_examples=15, deadline=None)
def test_verified_writing_of_all_formats(table: DelayTable, folder: Path) -> None:
    written = write_verified(table, folder / "all", FORMATS)
    assert tuple(written) == FORMATS
    for name, paths in written.items():
        assert {path.parent for path in paths} == {folder / "all" / name}


@pytest.mark.parametrize("name", IN_ORDER)
def test_repeated_synapses_and_awkward_numbers(name: str, tmp_path: Path) -> None:
    """Rows that repeat each other stay apart; the ends of float32's range survive."""
    table = random_table(0, (3, 4))
    rows = table.layers[0].synapses
    weight = np.resize(
        np.array([1e-45, -3.4028235e38, 0.1, 1 / 3, -1e-30, 16777217], np.float32), len(rows)
    )
    rows = SynapseTable(rows.pre, rows.post, rows.delay, weight)
    twice = SynapseTable(
        *(np.tile(getattr(rows, one), 2) for one in ("pre", "post", "delay", "weight"))
    )
    table = replace(table, dt_ms=0.1, layers=(replace(table.layers[0], synapses=twice),))
    write, read = IN_ORDER[name]
    write(table, tmp_path)
    assert_same(read(tmp_path), table)


@pytest.mark.parametrize("dt_ms", [0.1, 1 / 3, 1e-3, 7.3])
@pytest.mark.parametrize("name", FORMATS)
def test_delays_in_milliseconds_are_whole_steps_again(
    name: str, dt_ms: float, tmp_path: Path
) -> None:
    table = replace(random_table(0, (6, 9), max_delay=5000), dt_ms=dt_ms)
    write_verified(table, tmp_path, [name])


def test_every_float32_survives_as_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 2**32, 20_000, dtype=np.uint32).view(np.float32)
    weight = weight[np.isfinite(weight)]
    table = random_table(0, (1, 1))
    none = np.zeros(len(weight), np.int32)
    layer = replace(table.layers[0], synapses=SynapseTable(none, none, none, weight))
    table = replace(table, layers=(layer,))
    write_csv(table, tmp_path)
    assert_same(read_csv(tmp_path), table)


def test_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="csv, pynn, sonata, nir; got 'onnx'"):
        write_verified(random_table(0, (2, 2)), tmp_path / "new", ["csv", "onnx"])
    assert not (tmp_path / "new").exists()


def test_a_writer_that_loses_something_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(table: DelayTable, folder: Path) -> list[Path]:
        layer = table.layers[0]
        rows = layer.synapses
        rounded = replace(rows, weight=rows.weight.round(2))
        return write_csv(replace(table, layers=(replace(layer, synapses=rounded),)), folder)

    monkeypatch.setitem(written._PAIRS, "csv", (careless, read_csv))
    with pytest.raises(UsageError, match=r"layer 0: synapse weight: .* Do not deploy") as refused:
        write_verified(random_table(0, (3, 2)), tmp_path, ["csv"])
    assert str(tmp_path / "csv") in str(refused.value)


def test_an_interrupted_writer_leaves_no_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(random_table(0, (3, 3, 3)), tmp_path)

    def disk_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(UsageError, match="No space left"):
        write_csv(random_table(1, (3, 3, 3)), tmp_path)
    with pytest.raises(UsageError, match=r"network\.json: no such network header"):
        read_csv(tmp_path)


DIFFERENCES: dict[str, Callable[[DelayTable], DelayTable]] = {
    "dt_ms: 10.0 and 1.0": lambda t: replace(t, dt_ms=1.0),
    "readout": lambda t: replace(t, readout="max"),
    "tail_steps": lambda t: replace(t, tail_steps=9),
    "class_names": lambda t: replace(t, class_names=("a", "b")),
    "number of layers": lambda t: random_table(0, (3, 2)),
    "layer 1: max_delay": lambda t: with_layer(t, 1, max_delay=7),
    "layer 0: bias: 1 of 4 differ": lambda t: with_layer(t, 0, bias=nudged(t.layers[0].bias)),
    "layer 0: neuron beta": lambda t: with_neuron(t, 0, "beta"),
    "layer 0: neuron v_threshold": lambda t: with_neuron(t, 0, "v_threshold"),
    "layer 0: neuron v_reset": lambda t: with_neuron(t, 0, "v_reset"),
    "layer 1: synapse weight": lambda t: with_rows(t, "weight"),
    "layer 1: synapse delay": lambda t: with_rows(t, "delay"),
    "layer 1: synapse pre": lambda t: with_layer(
        t, 1, synapses=replace(t.layers[1].synapses, **{
            name: getattr(t.layers[1].synapses, name)[1:]
            for name in ("pre", "post", "delay", "weight")
        })
    ),
}  # fmt: skip


def with_layer(table: DelayTable, index: int, **changes: Any) -> DelayTable:
    layers = list(table.layers)
    layers[index] = replace(layers[index], **changes)
    return replace(table, layers=tuple(layers))


def nudged(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values[1] = np.nextafter(values[1], np.float32(0.5))
    return values


def with_neuron(table: DelayTable, index: int, name: str) -> DelayTable:
    neuron = table.layers[index].neuron
    return with_layer(table, index, neuron=replace(neuron, **{name: nudged(getattr(neuron, name))}))


def with_rows(table: DelayTable, name: str) -> DelayTable:
    rows = table.layers[1].synapses
    values = nudged(rows.weight) if name == "weight" else (rows.delay + 1) % 7
    return with_layer(table, 1, synapses=replace(rows, **{name: values.astype(values.dtype)}))


@pytest.mark.parametrize("message", DIFFERENCES)
def test_the_first_difference_is_named(message: str) -> None:
    table = random_table(0, (3, 4, 2))
    assert message in (same_network(table, DIFFERENCES[message](table)) or "")


def test_float_and_integer_networks_differ() -> None:
    integer = random_table(0, (3, 2), weight_type="int8", integer=True)
    assert "weight_scale" in (same_network(random_table(0, (3, 2)), integer) or "")
    other = with_layer(integer, 0, neuron=replace(integer.layers[0].neuron, weight_shift=3))
    assert same_network(integer, other) == "layer 0: neuron weight_shift: 2 and 3"
    wider = with_layer(integer, 0, synapses=replace(
        integer.layers[0].synapses, weight=integer.layers[0].synapses.weight.astype(np.int16)
    ))  # fmt: skip
    assert "int8 of shape" in (same_network(integer, wider) or "")


@given(table=tables())
@settings(max_examples=20, deadline=None)
def test_order_and_zero_weights_are_not_part_of_a_network(table: DelayTable) -> None:
    rng = np.random.default_rng(0)
    layers = []
    for layer in table.layers:
        rows = layer.synapses
        order = rng.permutation(len(rows))
        columns = [getattr(rows, name)[order] for name in ("pre", "post", "delay", "weight")]
        nothing = [0, 0, layer.max_delay, 0]
        columns = [np.append(one, np.array(last, one.dtype))
                   for one, last in zip(columns, nothing, strict=True)]  # fmt: skip
        layers.append(replace(layer, synapses=SynapseTable(*columns)))
    other = replace(table, layers=tuple(layers), created_by="someone else")
    assert same_network(table, other) is None
    for layer in other.layers:
        rows = canonical(layer.synapses)
        assert not np.any(rows.weight == 0)
        places = np.stack([rows.pre, rows.post, rows.delay], axis=1).tolist()
        assert places == sorted(places)


HEADER_CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "version 2 is newer": lambda c: c.__setitem__("version", 2),
    "version must be >= 1": lambda c: c.__setitem__("version", 0),
    "'version' must be an integer": lambda c: c.__setitem__("version", True),
    "format must be 'snn-delays-network', got 'nir'": lambda c: c.__setitem__("format", "nir"),
    "'dt_ms' is missing": lambda c: c.pop("dt_ms"),
    "'dt_ms' must be a number": lambda c: c.__setitem__("dt_ms", "10"),
    "'dt_ms' must be a finite number": lambda c: c.__setitem__("dt_ms", float("nan")),
    "dt_ms must be > 0": lambda c: c.__setitem__("dt_ms", 0),
    "'tail_steps' must be an integer": lambda c: c.__setitem__("tail_steps", 10**400),
    "tail_steps must be >= 0": lambda c: c.__setitem__("tail_steps", -1),
    "'class_names' must be a list": lambda c: c.__setitem__("class_names", [1, 2]),
    "'class_names' must be a list of": lambda c: c.__setitem__("class_names", ["\ud800", "b"]),
    "readout must be one of": lambda c: c.__setitem__("readout", "argmax"),
    "layers must be a list": lambda c: c.__setitem__("layers", {}),
    "layer 1 must be an object": lambda c: c["layers"].__setitem__(1, 4),
    "layer 0: 'source' must be an integer": lambda c: c["layers"][0].__setitem__("source", "eye"),
    "layer 1: 'n_post' is missing": lambda c: c["layers"][1].pop("n_post"),
    "layer 0: weight_type must be": lambda c: c["layers"][0].__setitem__("weight_type", "int4"),
    "layer 0: model must be one of": lambda c: c["layers"][0].__setitem__("model", "AdLIF"),
    "layer 1: reset must be one of none": lambda c: c["layers"][1].__setitem__("reset", "hard"),
    "columns must be bias, decay": lambda c: c["layers"][0].update(
        model="IntLIF", decay_shift=4, weight_shift=2
    ),
    "'decay_shift' is missing": lambda c: c["layers"][0].update(model="IntLIF"),
    "must have one number for each of 9": lambda c: c["layers"][0].__setitem__("n_post", 9),
    "synapse delay must be within": lambda c: c["layers"][0].__setitem__("max_delay", 1),
    "at least one layer": lambda c: c.__setitem__("layers", []),
}


@pytest.mark.parametrize("message", HEADER_CHANGES)
def test_wrong_header_is_one_line(message: str, tmp_path: Path) -> None:
    write_csv(random_table(3, (3, 4, 2)), tmp_path)
    path = tmp_path / "network.json"
    content = json.loads(path.read_text("utf-8"))
    HEADER_CHANGES[message](content)
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(UsageError) as refused:
        read_csv(tmp_path)
    assert message in str(refused.value)
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_unknown_keys_and_columns_are_ignored(tmp_path: Path) -> None:
    table = random_table(3, (3, 4, 2))
    write_csv(table, tmp_path)
    path = tmp_path / "network.json"
    content = json.loads(path.read_text("utf-8"))
    content["chip"] = {"cores": 3}
    content["layers"][0]["core"] = 1
    path.write_text(json.dumps(content), "utf-8")
    layer = tmp_path / "layer_0.csv"
    first, *rows = layer.read_text().splitlines()
    # As a spreadsheet saves it: a mark at the start, its own line ends, a column more.
    lines = [f"{first},core", *(f"{row},7" for row in rows)]
    layer.write_text("\r\n".join(lines), "utf-8-sig", newline="")
    assert_same(read_csv(tmp_path), table)


CSV_CHANGES: dict[str, Callable[[str], str]] = {
    "line 3 must be 4 numbers, got '0,1,x,0.5'": lambda text: with_line(text, 2, "0,1,x,0.5"),
    "line 3 must be 4 numbers, got '0,1,2'": lambda text: with_line(text, 2, "0,1,2"),
    "line 2 must be 4 numbers, got '0,1,2,0,5'": lambda text: with_line(text, 1, "0,1,2,0,5"),
    "post must be whole numbers": lambda text: with_line(text, 1, "0,1.5,2,0.5"),
    "got nan in row 0": lambda text: with_line(text, 1, "nan,1,2,0.5"),
    "got 1e+30": lambda text: with_line(text, 1, "0,1,1e30,0.5"),
    "synapse pre must be within 0 … 2": lambda text: with_line(text, 1, "-1,1,2,0.5"),
    "synapse weight must be finite": lambda text: with_line(text, 1, "0,1,2,nan"),
    "synapse weight must be finite, got 1": lambda text: with_line(text, 1, "0,1,2,1e300"),
    "columns must be pre, post, delay, weight": lambda text: with_line(text, 0, "pre,post,delay"),
    "columns must be pre, post": lambda text: "",
    "got 'pre,pre,post": lambda text: with_line(text, 0, "pre,pre,post,delay,weight"),
}  # fmt: skip


def with_line(text: str, number: int, line: str) -> str:
    lines = text.split("\n")
    lines[number] = line
    return "\n".join(lines)


@pytest.mark.parametrize("message", CSV_CHANGES)
def test_wrong_rows_are_one_line(message: str, tmp_path: Path) -> None:
    write_csv(random_table(3, (3, 4, 2)), tmp_path)
    path = tmp_path / "layer_0.csv"
    path.write_text(CSV_CHANGES[message](path.read_text()))
    with pytest.raises(UsageError) as refused:
        read_csv(tmp_path)
    assert message in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_weights_off_the_grid_and_too_large(tmp_path: Path) -> None:
    write_csv(random_table(3, (3, 2), weight_type="int8"), tmp_path)
    path = tmp_path / "layer_0.csv"
    text = path.read_text()
    for weight, message in (("0.01", "whole multiple of weight_scale"), ("12.3", "-128 … 127")):
        path.write_text(with_line(text, 1, f"0,1,2,{weight}"))
        with pytest.raises(UsageError, match=message):
            read_csv(tmp_path)


def test_neurons_out_of_range(tmp_path: Path) -> None:
    write_csv(random_table(3, (3, 2, 2)), tmp_path)
    path = tmp_path / "neurons_0.csv"
    text = path.read_text()
    for line, message in (
        ("0,1.5,1,0", "beta must be within"),
        ("0,0.5,inf,0", "v_threshold must be finite"),
        ("inf,0.5,1,0", "bias must be finite"),
    ):
        path.write_text(with_line(text, 1, line))
        with pytest.raises(UsageError, match=message):
            read_csv(tmp_path)


def test_pynn_delays_between_steps(tmp_path: Path) -> None:
    write_pynn(random_table(3, (3, 2)), tmp_path)
    path = tmp_path / "layer_0.txt"
    path.write_text(with_line(path.read_text(), 1, "0 1 0.5 12.5"))
    with pytest.raises(UsageError, match=r"layer_0.txt: .*dt_ms = 10.0, got 12.5 in row 0"):
        read_pynn(tmp_path)
    path.write_text(with_line(path.read_text(), 0, "i j weight delay"))
    with pytest.raises(UsageError, match="the first line must be # columns = "):
        read_pynn(tmp_path)


def test_pynn_reads_its_files(tmp_path: Path) -> None:
    """PyNN's own connector on its simulator without a simulator."""
    sim = pytest.importorskip("pyNN.mock", reason="PyNN is not installed")
    table = random_table(3, (5, 6), min_delay=1)
    path = write_pynn(table, tmp_path)[0]
    sim.setup(timestep=table.dt_ms, min_delay=table.dt_ms)
    pre, post = sim.Population(5, sim.SpikeSourceArray()), sim.Population(6, sim.IF_curr_exp())
    projection = sim.Projection(
        pre, post, sim.FromFileConnector(str(path)), sim.StaticSynapse(), receptor_type="excitatory"
    )
    got = sorted(map(tuple, projection.get(["weight", "delay"], format="list")))
    rows = table.layers[0].synapses
    expected = zip(
        rows.pre.tolist(), rows.post.tolist(), rows.weight.tolist(), (rows.delay * 10.0).tolist(),
        strict=True,
    )  # fmt: skip
    np.testing.assert_allclose(got, sorted(expected), rtol=1e-6)
