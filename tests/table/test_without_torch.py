"""The table's room works where torch is not installed, and reads tables without numba."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from drawn_tables import random_table

from snn_delays.table import FORMATS, read_table, simulate, write_table

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "spikingjelly"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import numpy as np
from snn_delays.table import FORMATS, read_table, simulate, write_table, write_verified

table = read_table(sys.argv[1])
counts = np.load(sys.argv[2])
np.save(sys.argv[3], simulate(table, counts).potentials)
write_verified(table, sys.argv[4], FORMATS)
write_table(table, sys.argv[5])
assert not {"torch", "spikingjelly"} & set(sys.modules)
"""


def test_a_table_is_read_run_and_written_in_every_format_without_torch(tmp_path: Path) -> None:
    table = random_table(3, (5, 7, 3))
    counts = np.random.default_rng(3).integers(0, 3, (20, table.input_channels))
    given, found = tmp_path / "delays.h5", tmp_path / "again.h5"
    write_table(table, given)
    np.save(tmp_path / "counts.npy", counts)
    there = ("delays.h5", "counts.npy", "potentials.npy", "formats", "again.h5")
    subprocess.run(
        [sys.executable, "-c", SCRIPT, *(str(tmp_path / name) for name in there)],
        cwd=ROOT,
        check=True,
        timeout=800,
    )
    assert found.read_bytes() == given.read_bytes()
    expected = simulate(table, counts).potentials
    np.testing.assert_array_equal(np.load(tmp_path / "potentials.npy"), expected)
    assert {path.name for path in (tmp_path / "formats").iterdir()} == set(FORMATS)
    assert read_table(found).class_names == table.class_names


WITHOUT_NUMBA = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "numba":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import numpy as np
from snn_delays.errors import UsageError
from snn_delays.table import read_table
from snn_delays.table.simulator import Simulator
from snn_delays.table.simulator.reference import ReferenceSimulator

table = read_table(sys.argv[1])
np.save(sys.argv[3], ReferenceSimulator(table).run(np.load(sys.argv[2])).potentials)
try:
    Simulator(table)
except UsageError as error:
    print(error)
"""


def test_without_numba_the_reference_runs_a_table(tmp_path: Path) -> None:
    table = random_table(3, (5, 7, 3))
    counts = np.random.default_rng(3).integers(0, 3, (20, table.input_channels))
    write_table(table, tmp_path / "delays.h5")
    np.save(tmp_path / "counts.npy", counts)
    there = ("delays.h5", "counts.npy", "potentials.npy")
    said = subprocess.run(
        [sys.executable, "-c", WITHOUT_NUMBA, *(str(tmp_path / name) for name in there)],
        cwd=ROOT,
        check=True,
        timeout=800,
        capture_output=True,
        text=True,
    ).stdout
    assert said.startswith("Simulator needs numba: pip install numba. Without it")
    found = np.load(tmp_path / "potentials.npy")
    np.testing.assert_array_equal(found, simulate(table, counts).potentials)
