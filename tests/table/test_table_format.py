"""The reader printed in docs/table-format.md runs, and agrees with the simulator."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_tables import random_table

from snn_delays.table.hdf5 import write_table
from snn_delays.table.simulator import simulate

PAGE = Path(__file__).parents[2] / "docs" / "table-format.md"


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize(
    ("weight_type", "integer"),
    [("float32", False), ("int8", False), ("int8", True), ("int16", True)],
)
def test_documented_reader(reset: str, weight_type: str, integer: bool, tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    table = random_table(10, (6, 7, 5, 3), reset=reset, weight_type=weight_type, integer=integer)
    write_table(table, tmp_path / "delays.h5")
    counts = np.random.default_rng(0).poisson(0.5, (14, 6))
    got = simulate(table, counts)
    assert all(spikes.any() for spikes in got.spikes)
    potentials = names["run"](tmp_path / "delays.h5", counts)
    np.testing.assert_allclose(potentials, got.potentials)
