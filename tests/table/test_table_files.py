"""What is written is what is read, and a damaged file is one clear line."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from drawn_tables import assert_same, random_table, tables
from hypothesis import given, settings

from snn_delays.errors import UsageError
from snn_delays.files.atomic import write_atomically
from snn_delays.table.formats.text import write_csv
from snn_delays.table.hdf5 import read_table, write_table
from snn_delays.table.table import DelayTable


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@given(table=tables())
@settings(max_examples=40, deadline=None)
def test_table_survives_the_file(table: DelayTable, folder: Path) -> None:
    path = folder / "drawn.h5"
    write_table(table, path)
    assert_same(read_table(path), table)
    assert [file.name for file in folder.iterdir() if file.suffix == ".tmp"] == []


@given(table=tables())
@settings(max_examples=20, deadline=None)
def test_csv_holds_every_synapse_exactly(table: DelayTable, folder: Path) -> None:
    paths = write_csv(table, folder / "csv")[: len(table.projections)]
    assert [path.stem for path in paths] == [one.name for one in table.projections]
    for path, one in zip(paths, table.projections, strict=True):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(one)
        for name in ("pre", "post", "delay"):
            assert [int(row[name]) for row in rows] == getattr(one, name).tolist()
        weights = np.array([row["weight"] for row in rows]).astype(one.current_weight.dtype)
        np.testing.assert_array_equal(weights, one.current_weight)


def test_same_table_same_bytes(tmp_path: Path) -> None:
    write_table(random_table(1, (5, 6, 3)), tmp_path / "a.h5")
    write_table(random_table(1, (5, 6, 3)), tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old.bin"
    write_atomically(path, b"old")

    def disk_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(UsageError, match=r"old\.bin: No space left on device"):
        write_atomically(path, b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["old.bin"]
    assert path.read_bytes() == b"old"


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("")
    with pytest.raises(UsageError, match=r"cannot write .*occupied"):
        write_table(random_table(0, (2, 2)), tmp_path / "occupied" / "delays.h5")


def test_unknown_additions_are_ignored(tmp_path: Path) -> None:
    table, path = random_table(2, (3, 4, 2)), tmp_path / "delays.h5"
    write_table(table, path)
    with h5py.File(path, "r+") as file:
        file.attrs["git_commit"] = "abc"
        file["populations/hidden0"].attrs["core"] = 3
        file["projections/input_to_hidden0/probability"] = np.ones(4)
        file.create_group("calibration")
    assert_same(read_table(path), table)


def test_strings_of_variable_length_and_other_byte_orders_are_read(tmp_path: Path) -> None:
    """As other programs write them."""
    table, path = random_table(2, (3, 4, 2)), tmp_path / "delays.h5"
    write_table(table, path)
    with h5py.File(path, "r+") as file:
        file.attrs["readout"] = "sum_softmax"
        group = file["projections/input_to_hidden0"]
        group.attrs["source"] = "input"
        del group["pre"]
        group["pre"] = table.projections[0].pre.astype(">i4")
    assert_same(read_table(path), table)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.h5", tmp_path):
        with pytest.raises(UsageError, match="no such delay table") as refused:
            read_table(path)
        assert str(path) in str(refused.value)


HIDDEN, FIRST = "populations/hidden0", "projections/input_to_hidden0"


def refill(file: h5py.File, name: str, values: np.ndarray | None) -> None:
    """Another array in place of one, or a group."""
    del file[name]
    if values is None:
        file.create_group(name)
    else:
        file[name] = values


CHANGES: dict[str, Callable[[h5py.File], None]] = {
    "format must be 'snn-delays-table'": lambda f: f.attrs.__setitem__("format", "nir"),
    "version 3 is newer": lambda f: f.attrs.__setitem__("version", 3),
    "version must be 2, got 1. Export the network again": lambda f: f.attrs.__setitem__(
        "version", 1
    ),
    "'version' must be an integer": lambda f: f.attrs.__setitem__("version", "1"),
    "'dt_ms' is missing": lambda f: f.attrs.__delitem__("dt_ms"),
    "'dt_ms' must be a finite number, got 'ten'": lambda f: f.attrs.__setitem__("dt_ms", "ten"),
    "'class_names' must be a list of strings, got '[1'": lambda f: f.attrs.__setitem__(
        "class_names", "[1"
    ),
    "'class_names' must be a list of strings, got [1]": lambda f: f.attrs.__setitem__(
        "class_names", "[1]"
    ),
    "'created_by' must be a string": lambda f: f.attrs.__setitem__("created_by", np.eye(40)),
    "class_names must name the 2 neurons of readout": lambda f: f.attrs.__setitem__(
        "class_names", '["a"]'
    ),
    "group 'populations' is missing": lambda f: f.__delitem__("populations"),
    "'populations' must be a group": lambda f: refill(f, "populations", np.ones(1)),
    "group 'projections' is missing": lambda f: f.__delitem__("projections"),
    "once each, got [1]": lambda f: f.__delitem__(HIDDEN),
    "order of populations must be 0, 1, … once each, got [0, 5]": lambda f: f[
        "populations/readout"
    ].attrs.__setitem__("order", 5),
    "hidden0: size is 7, but there are 4 values": lambda f: f[HIDDEN].attrs.__setitem__("size", 7),
    "population hidden0: model must be one of": lambda f: f[HIDDEN].attrs.__setitem__(
        "model", "Izhikevich"
    ),
    "population hidden0: 'reset' is missing": lambda f: f[HIDDEN].attrs.__delitem__("reset"),
    "population hidden0: array 'beta' is missing": lambda f: f.__delitem__(f"{HIDDEN}/beta"),
    "leads from or to 'retina'": lambda f: f[FIRST].attrs.__setitem__("source", "retina"),
    "'pre' must be an array": lambda f: refill(f, f"{FIRST}/pre", None),
    "projection input_to_hidden0: array 'pre' is missing": lambda f: f.__delitem__(f"{FIRST}/pre"),
    "array 'bias' must be a vector": lambda f: refill(
        f, f"{HIDDEN}/bias", np.zeros((4, 1), np.float32)
    ),
    "projection hidden0_to_readout: delay must be within": lambda f: f[
        "projections/hidden0_to_readout"
    ].attrs.__setitem__("max_delay", 1),
}


@pytest.mark.parametrize("message", CHANGES)
def test_wrong_field_is_named(message: str, tmp_path: Path) -> None:
    path = tmp_path / "delays.h5"
    write_table(random_table(3, (3, 4, 2)), path)
    with h5py.File(path, "r+") as file:
        CHANGES[message](file)
    _assert_one_line(path, message)


@pytest.mark.parametrize("share", np.linspace(0, 0.999, 25).round(3).tolist())
def test_truncated_file(share: float, tmp_path: Path) -> None:
    path = tmp_path / "delays.h5"
    write_table(random_table(4, (6, 8, 3)), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    _assert_one_line(path, "not a readable delay table")


def test_damaged_file(tmp_path: Path) -> None:
    """A burst of noise is noticed, or hit bytes that carry no meaning; nothing in between."""
    table, path = random_table(5, (6, 8, 3)), tmp_path / "delays.h5"
    write_table(table, path)
    intact = path.read_bytes()
    rng = np.random.default_rng(0)
    noticed = 0
    for _ in range(60):
        content = bytearray(intact)
        start = int(rng.integers(0, len(content) - 8))
        content[start : start + 8] = rng.bytes(8)
        path.write_bytes(content)
        outcome = _table_or_message(path)
        if isinstance(outcome, DelayTable):
            assert_same(outcome, table)
        else:
            noticed += 1
            assert str(path) in outcome
            assert "\n" not in outcome
    assert noticed > 40


def _table_or_message(path: Path) -> DelayTable | str:
    try:
        return read_table(path)
    except UsageError as error:
        return str(error)


def test_not_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "delays.h5"
    path.write_text("pre,post,delay,weight\n0,0,1,0.5\n")
    _assert_one_line(path, "not HDF5")


def _assert_one_line(path: Path, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_table(path)
    assert str(path) in str(refused.value)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
