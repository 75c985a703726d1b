"""A file that another program has open for writing is no damaged one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import pytest

from snn_delays.data import load_shd
from snn_delays.data.events.check import check_files
from snn_delays.data.heidelberg import official_file
from snn_delays.errors import UsageError
from snn_delays.files.hdf5 import opened
from snn_delays.table.formats.nir.file import read_nir
from snn_delays.table.hdf5 import read_table

HOLD = """
import sys, h5py
file = h5py.File(sys.argv[1], "r+", **({"libver": "latest"} if sys.argv[2] == "swmr" else {}))
file["one_more"] = 1
file.flush()
if sys.argv[2] == "swmr":
    file.swmr_mode = True
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path, how: str) -> Iterator[None]:
    """Another process has the file open for writing."""
    command = [sys.executable, "-c", HOLD, str(path), how]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield
        finally:
            holder.communicate(timeout=300)


def refusal(read: Callable[[Path], Any], path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read(path)
    return str(caught.value)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """An HDF5 file that can be opened for writing and reading at once."""
    path = tmp_path / "some.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["anything"] = 1
    return path


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("lock", "is locked by another program, which has it open for writing. Close it there"),
        ("swmr", "is open for writing in another program. Close it there"),
    ],
)
def test_every_reader_says_so(written: Path, how: str, expected: str) -> None:
    def spikes(path: Path) -> None:
        with official_file(path.parent, path.name, "SHD").opened():
            pass

    def sonata(path: Path) -> None:
        with opened(path, "SONATA file"):
            pass

    with held(written, how):
        for read in (spikes, read_table, sonata, read_nir):
            line = refusal(read, written)
            assert expected in line
            assert str(written) in line
            for wrong in ("damaged", "Download", "Export it again", "\n"):
                assert wrong not in line


def test_data_are_read_once_the_other_program_is_done(shd_root: Path) -> None:
    path = shd_root / "shd_train.h5"
    with held(path, "lock"):
        assert "is locked by another program" in refusal(load_shd, shd_root)
        (file,) = check_files([official_file(shd_root, path.name, "SHD")], n_units=700).files
        assert "is locked by another program" in file.error
    assert load_shd(shd_root).n_channels == 140
