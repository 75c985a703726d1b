"""Damaged files of every format: one line with the path or a whole table, and always an end."""

from __future__ import annotations

import faulthandler
import shutil
from pathlib import Path

import numpy as np
import pytest
from drawn_tables import random_table

from snn_delays.errors import UsageError
from snn_delays.table.equality import same_network
from snn_delays.table.formats import PAIRS
from snn_delays.table.table import DelayTable

# Far above what any of these files takes; who is stuck is ended, with its stack on stderr.
SECONDS = 60
JUNK = [b"", b"nan", b"inf", b"-1", b"1e999", b"0.5", b"x", b"\xff", b"\0", b"9" * 5000, b"\n",
        b",", b"{", b"[" * 3000, b'"', b"null", b"true", b"99999999999"]  # fmt: skip
READ_BY_OTHERS = {"node_types.csv", "edge_types.csv", "circuit_config.json"}
# HDF5 with checksums: what is not refused is what was written.
CHECKED = {"nodes.h5", "edges.h5"}


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with one of seven kinds of damage."""
    values = np.frombuffer(content, np.uint8).copy()
    first = int(rng.integers(len(values)))
    block = slice(first, first + int(rng.integers(1, 300)))
    match int(rng.integers(7)):
        case 0:  # a few bits
            places = rng.integers(len(values), size=int(rng.integers(1, 9)))
            values[places] ^= np.uint8(1) << rng.integers(8, size=len(places), dtype=np.uint8)
        case 1:
            values = values[:first]
        case 2:
            values[block] = 0
        case 3:
            values[block] = rng.integers(256, size=len(values[block]), dtype=np.uint8)
        case 4:  # where an HDF5 file keeps its structure
            places = rng.integers(min(4096, len(values)), size=int(rng.integers(1, 30)))
            values[places] = rng.integers(256, size=len(places), dtype=np.uint8)
        case 5:  # a piece lost
            return content[:first] + content[block.stop :]
        case _:  # one field of a text replaced
            junk = JUNK[int(rng.integers(len(JUNK)))]
            end = first + int(rng.integers(0, 8))
            return content[:first] + junk + content[end:]
    return values.tobytes()


def read_damaged(name: str, folder: Path, seeds: range) -> tuple[int, int]:
    """How many damaged networks were refused, and how many were read."""
    write, read = PAIRS[name]
    integer = {"weight_type": "int8", "integer": True}
    originals = {
        "float": random_table(5, (6, 8, 3)),
        "integer": random_table(6, (6, 8, 3), **integer, links=((0, 1), (1, 1), (1, 2), (0, 2))),
    }
    contents = {}
    for kind, table in originals.items():
        paths = write(table, folder / kind)
        contents[kind] = {path: path.read_bytes() for path in paths}
    refused = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        kind = ("float", "integer")[seed % 2]
        files = [path for path in contents[kind] if path.name not in READ_BY_OTHERS]
        path = files[int(rng.integers(len(files)))]
        content = damaged(contents[kind][path], rng)
        path.write_bytes(content)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            table = read(folder / kind)
        except UsageError as error:
            refused += 1
            text = str(error)
            assert str(folder / kind) in text, (seed, text)
            assert "\n" not in text, (seed, text)
            assert len(text) < 1000, (seed, text)
        else:
            assert isinstance(table, DelayTable)
            if path.name in CHECKED:
                assert same_network(table, originals[kind]) is None, seed
        finally:
            faulthandler.cancel_dump_traceback_later()
        path.write_bytes(contents[kind][path])
    return refused, len(seeds)


@pytest.mark.parametrize("name", PAIRS)
def test_damaged_files(name: str, tmp_path: Path) -> None:
    refused, total = read_damaged(name, tmp_path, range(200))
    assert refused > total / 3


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_thousands_of_damaged_files(name: str, tmp_path: Path) -> None:
    read_damaged(name, tmp_path, range(1000, 5000))


@pytest.mark.parametrize("name", PAIRS)
def test_missing_files_and_folders(name: str, tmp_path: Path) -> None:
    write, read = PAIRS[name]
    with pytest.raises(UsageError, match="no such"):
        read(tmp_path / "nowhere")
    for path in write(random_table(5, (6, 8, 3)), tmp_path / "whole"):
        if path.name in READ_BY_OTHERS:
            continue
        shutil.copytree(tmp_path / "whole", tmp_path / "part", dirs_exist_ok=True)
        gone = tmp_path / "part" / path.name
        gone.unlink()
        with pytest.raises(UsageError, match="no such") as refused:
            read(tmp_path / "part")
        assert str(gone) in str(refused.value)
        gone.write_bytes(b"")
        with pytest.raises(UsageError) as refused:
            read(tmp_path / "part")
        assert str(gone) in str(refused.value)


@pytest.mark.parametrize("name", PAIRS)
def test_a_file_in_place_of_the_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("")
    with pytest.raises(UsageError, match=r"cannot write .*occupied"):
        PAIRS[name][0](random_table(0, (2, 2)), tmp_path / "occupied")


def test_a_heap_of_zeros_ends(tmp_path: Path) -> None:
    """HDF5 would look for the names of the edges in it for ever."""
    write_nir, read_nir = PAIRS["nir"]
    (path,) = write_nir(random_table(0, (3, 4, 2)), tmp_path)
    content = path.read_bytes()
    heap = content.index(b"GCOL")  # its header of 16 bytes stays
    path.write_bytes(content[: heap + 16] + bytes(4080) + content[heap + 4096 :])
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    try:
        with pytest.raises(UsageError, match=r"network.nir: .* damaged: a list of 0 bytes"):
            read_nir(tmp_path)
    finally:
        faulthandler.cancel_dump_traceback_later()
