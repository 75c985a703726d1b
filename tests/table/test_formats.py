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
from snn_delays.table.formats import FORMATS, PAIRS, write_verified
from snn_delays.table.formats.text import read_csv, read_pynn, write_csv, write_pynn
from snn_delays.table.projection import Projection
from snn_delays.table.schema import arrays_of
from snn_delays.table.table import DelayTable

# NIR keeps the network, but not the order of rows.
IN_ORDER = {name: pair for name, pair in PAIRS.items() if name != "nir"}


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


@given(table=tables("to_nir"))
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
    (rows,) = table.projections
    awkward = np.array([1e-45, -3.4028235e38, 0.1, 1 / 3, -1e-30, 16777217], np.float32)
    rows = replace(rows, weight=np.resize(awkward, len(rows)))
    twice = {name: np.tile(values, 2) for name, values in arrays_of(rows).items()}
    table = replace(table, dt_ms=0.1, projections=(replace(rows, **twice),))
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
    columns = {"pre": none, "post": none, "delay": none, "weight": weight}
    table = replace(table, projections=(replace(table.projections[0], **columns),))
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
        rounded = table.map(projection=lambda one: replace(one, weight=one.weight.round(2)))
        return write_csv(rounded, folder)

    monkeypatch.setitem(PAIRS, "csv", (careless, read_csv))
    with pytest.raises(
        UsageError, match=r"projection input_to_readout: weight: .* Do not deploy"
    ) as refused:
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
    "dt_ms: 2.5 and 1.0": lambda t: replace(t, dt_ms=1.0),
    "readout": lambda t: replace(t, readout="max"),
    "tail_steps": lambda t: replace(t, tail_steps=9),
    "class_names": lambda t: replace(t, class_names=("a", "b")),
    "populations: hidden0, readout and readout": lambda t: random_table(0, (3, 2)),
    "projections: input_to_hidden0, hidden0_to_readout and input_to_hidden0": lambda t: replace(
        t, projections=t.projections[:1]
    ),
    "population hidden0: order: 0 and 1": lambda t: random_order(),
    "projection hidden0_to_readout: max_delay": lambda t: with_projection(t, max_delay=7),
    "projection hidden0_to_readout: weight": lambda t: with_rows(t, "weight"),
    "projection hidden0_to_readout: delay": lambda t: with_rows(t, "delay"),
    "projection hidden0_to_readout: pre": lambda t: with_projection(
        t, **{name: values[1:] for name, values in arrays_of(t.projections[1]).items()}
    ),
    **{
        f"population hidden0: {name}: 1 of 4 differ": lambda t, name=name: with_neurons(t, name)
        for name in ("bias", "beta", "v_threshold", "v_reset")
    },
}


def with_projection(table: DelayTable, **changes: Any) -> DelayTable:
    """The second one changed."""
    first, second = table.projections
    return replace(table, projections=(first, replace(second, **changes)))


def nudged(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values[1] = np.nextafter(values[1], np.float32(0.5))
    return values


def with_neurons(table: DelayTable, name: str) -> DelayTable:
    first, last = table.populations
    if name == "bias":
        changed = replace(first, bias=nudged(first.bias))
    else:
        changed = replace(
            first, parameters={**first.parameters, name: nudged(first.parameters[name])}
        )
    return replace(table, populations=(changed, last))


def with_rows(table: DelayTable, name: str) -> DelayTable:
    rows = table.projections[1]
    values = nudged(rows.weight) if name == "weight" else (rows.delay + 1) % 7
    return with_projection(table, **{name: values.astype(values.dtype)})


def random_order(*, swapped: bool = True) -> DelayTable:
    """Two hidden populations side by side, in either order."""
    table = random_table(0, (3, 4, 4, 2), links=((0, 1), (0, 2), (1, 3), (2, 3)))
    one, other, last = table.populations
    return replace(table, populations=(other, one, last)) if swapped else table


@pytest.mark.parametrize("message", DIFFERENCES)
def test_the_first_difference_is_named(message: str) -> None:
    table = random_order(swapped=False) if "order" in message else random_table(0, (3, 4, 2))
    assert message in (same_network(table, DIFFERENCES[message](table)) or "")


def test_float_and_integer_networks_differ() -> None:
    integer = random_table(0, (3, 2), weight_type="int8", integer=True)
    found = same_network(random_table(0, (3, 2)), integer)
    assert found == "population readout: model: 'LI' and 'IntLI'"
    scalars = {**integer.output.scalars, "weight_shift": 3}
    other = integer.map(population=lambda one: replace(one, scalars=scalars))
    assert same_network(integer, other) == "population readout: weight_shift: 2 and 3"
    wider = integer.map(projection=lambda one: replace(one, weight=one.weight.astype(np.int16)))
    assert "int8 of shape" in (same_network(integer, wider) or "")


@given(table=tables())
@settings(max_examples=20, deadline=None)
def test_order_and_zero_weights_are_not_part_of_a_network(table: DelayTable) -> None:
    rng = np.random.default_rng(0)

    def disordered(one: Projection) -> Projection:
        order, nothing = rng.permutation(len(one)), (0, 0, one.max_delay, 0)
        columns = zip(arrays_of(one).items(), nothing, strict=True)
        return replace(
            one,
            **{name: np.append(x[order], np.array(last, x.dtype)) for (name, x), last in columns},
        )

    other = replace(table.map(projection=disordered), created_by="someone else")
    assert same_network(table, other) is None
    for one in other.projections:
        rows = canonical(one)
        assert not np.any(rows.weight == 0)
        places = np.stack([rows.pre, rows.post, rows.delay], axis=1).tolist()
        assert places == sorted(places)


def hidden(content: dict[str, Any]) -> dict[str, Any]:
    return content["populations"]["hidden0"]


def first(content: dict[str, Any]) -> dict[str, Any]:
    return content["projections"]["input_to_hidden0"]


HEADER_CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "version 3 is newer": lambda c: c.__setitem__("version", 3),
    "version must be 2, got 1. Export the network again": lambda c: c.__setitem__("version", 1),
    "'version' must be an integer": lambda c: c.__setitem__("version", True),
    "format must be 'snn-delays-network', got 'nir'": lambda c: c.__setitem__("format", "nir"),
    "'dt_ms' is missing": lambda c: c.pop("dt_ms"),
    "'dt_ms' must be a finite number, got '10'": lambda c: c.__setitem__("dt_ms", "10"),
    "'dt_ms' must be a finite number, got nan": lambda c: c.__setitem__("dt_ms", float("nan")),
    "'dt_ms' must be a finite number, got True": lambda c: c.__setitem__("dt_ms", True),
    "dt_ms must be a number of ms > 0": lambda c: c.__setitem__("dt_ms", 0),
    "'tail_steps' must be an integer": lambda c: c.__setitem__("tail_steps", 10**400),
    "tail_steps must be a whole number of steps >= 0": lambda c: c.__setitem__("tail_steps", -1),
    "'class_names' must be a list of strings, got [1": lambda c: c.__setitem__(
        "class_names", [1, 2]
    ),
    "'class_names' must be a list of": lambda c: c.__setitem__("class_names", ["\ud800", "b"]),
    "readout must be one of": lambda c: c.__setitem__("readout", "argmax"),
    "'populations' must be an object": lambda c: c.__setitem__("populations", []),
    "at least one population": lambda c: c.update(populations={}, projections={}),
    "'hidden0' must be an object": lambda c: c["populations"].__setitem__("hidden0", 4),
    "names of projections must be letters, digits and _; got '../x'": lambda c: c[
        "projections"
    ].__setitem__("../x", first(c)),
    "projection input_to_hidden0: 'source' must be a string": lambda c: first(c).update(source=0),
    "leads from or to 'eye'": lambda c: first(c).update(source="eye"),
    "projection input_to_hidden0: weight_type must be": lambda c: first(c).update(
        weight_type="int4"
    ),
    "projection input_to_hidden0: synapses is 900, but there are": lambda c: first(c).update(
        synapses=900
    ),
    "projection input_to_hidden0: 'min_delay' is missing": lambda c: first(c).pop("min_delay"),
    "delay must be within": lambda c: first(c).update(max_delay=1),
    "population hidden0: 'size' is missing": lambda c: hidden(c).pop("size"),
    "population hidden0: size is 9, but there are 4": lambda c: hidden(c).update(size=9),
    "population hidden0: model must be one of": lambda c: hidden(c).update(model="Izhikevich"),
    "reset of LIF neurons must be one of hard": lambda c: hidden(c).update(reset="none"),
    "population hidden0: 'beta_shift' is missing": lambda c: hidden(c).update(model="IntLIF"),
    "bias must be whole numbers": lambda c: hidden(c).update(
        model="IntLIF", beta_shift=4, weight_shift=2
    ),
    "order of populations must be 0, 1": lambda c: hidden(c).update(order=1),
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


@pytest.mark.parametrize(
    ("write", "read", "suffix"), [(write_csv, read_csv, "csv"), (write_pynn, read_pynn, "txt")]
)
def test_a_projection_that_has_lost_rows_is_no_smaller_network(
    write: Any, read: Any, suffix: str, tmp_path: Path
) -> None:
    table = random_table(3, (3, 4, 2))
    write(table, tmp_path)
    file = tmp_path / f"input_to_hidden0.{suffix}"
    file.write_text("\n".join(file.read_text().splitlines()[:-2]) + "\n")
    count = len(table.projections[0])
    with pytest.raises(UsageError, match=f"synapses is {count}, but there are {count - 2}"):
        read(tmp_path)


def test_unknown_keys_and_columns_are_ignored(tmp_path: Path) -> None:
    table = random_table(3, (3, 4, 2))
    write_csv(table, tmp_path)
    path = tmp_path / "network.json"
    content = json.loads(path.read_text("utf-8"))
    content["chip"] = {"cores": 3}
    hidden(content)["core"] = first(content)["core"] = 1
    path.write_text(json.dumps(content), "utf-8")
    file = tmp_path / "input_to_hidden0.csv"
    names, *rows = file.read_text().splitlines()
    # As a spreadsheet saves it: a mark at the start, its own line ends, a column more.
    lines = [f"{names},core", *(f"{row},7" for row in rows)]
    file.write_text("\r\n".join(lines), "utf-8-sig", newline="")
    assert_same(read_csv(tmp_path), table)


CSV_CHANGES: dict[str, Callable[[str], str]] = {
    "line 3 must be 4 numbers, got '0,1,x,0.5'": lambda text: with_line(text, 2, "0,1,x,0.5"),
    "line 3 must be 4 numbers, got '0,1,2'": lambda text: with_line(text, 2, "0,1,2"),
    "line 2 must be 4 numbers, got '0,1,2,0,5'": lambda text: with_line(text, 1, "0,1,2,0,5"),
    "post must be whole numbers": lambda text: with_line(text, 1, "0,1.5,2,0.5"),
    "got nan in row 0": lambda text: with_line(text, 1, "nan,1,2,0.5"),
    "got 1e+30": lambda text: with_line(text, 1, "0,1,1e30,0.5"),
    "pre must be within 0 … 2": lambda text: with_line(text, 1, "-1,1,2,0.5"),
    "weight must be finite": lambda text: with_line(text, 1, "0,1,2,nan"),
    "weight must be finite, got 1": lambda text: with_line(text, 1, "0,1,2,1e300"),
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
    path = tmp_path / "input_to_hidden0.csv"
    path.write_text(CSV_CHANGES[message](path.read_text()))
    with pytest.raises(UsageError) as refused:
        read_csv(tmp_path)
    assert message in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_weights_off_the_grid_and_too_large(tmp_path: Path) -> None:
    write_csv(random_table(3, (3, 2), weight_type="int8"), tmp_path)
    path = tmp_path / "input_to_readout.csv"
    text = path.read_text()
    for weight, message in (("0.01", "whole multiple of weight_scale"), ("12.3", "-128 … 127")):
        path.write_text(with_line(text, 1, f"0,1,2,{weight}"))
        with pytest.raises(UsageError, match=message):
            read_csv(tmp_path)


def test_neurons_out_of_range(tmp_path: Path) -> None:
    write_csv(random_table(3, (3, 2, 2)), tmp_path)
    path = tmp_path / "neurons_hidden0.csv"
    text = path.read_text()
    for line, message in (
        ("0,1.5,1,0", "beta must be within"),
        ("0,0.5,inf,0", "v_threshold must be finite"),
        ("inf,0.5,1,0", "bias must be finite"),
    ):
        path.write_text(with_line(text, 1, line))
        with pytest.raises(UsageError, match=message):
            read_csv(tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    table = random_table(3, (3, 2, 2))
    one = replace(table.projections[0], name="neurons_Hidden0")
    table = replace(table, projections=(one, table.projections[1]))
    with pytest.raises(UsageError, match=r"two files would be called neurons_hidden0\.csv"):
        write_csv(table, tmp_path)
    assert not any(tmp_path.iterdir())
    write_pynn(table, tmp_path)
    assert_same(read_pynn(tmp_path), table)


def test_pynn_delays_between_steps(tmp_path: Path) -> None:
    write_pynn(random_table(3, (3, 2)), tmp_path)
    path = tmp_path / "input_to_readout.txt"
    path.write_text(with_line(path.read_text(), 1, "0 1 0.5 13.5"))
    with pytest.raises(UsageError, match=r"input_to_readout.txt: .*dt_ms = 2.5, got 13.5 in row 0"):
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
    (rows,) = table.projections
    expected = zip(
        rows.pre.tolist(), rows.post.tolist(), rows.weight.tolist(), (rows.delay * 2.5).tolist(),
        strict=True,
    )  # fmt: skip
    np.testing.assert_allclose(got, sorted(expected), rtol=1e-6)
