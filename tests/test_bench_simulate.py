"""The simulator's benchmark runs, and its figures belong together."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "scripts" / "bench"


def test_the_benchmark_runs(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, str(BENCH / "simulate.py"), "--small", "--repeats", "1"]
    done = subprocess.run(
        [*command, "--json", str(report)], capture_output=True, text=True, timeout=800, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "× real time" in done.stdout
    found = json.loads(report.read_text())
    assert found["bound_ns"] > 0
    (result,) = found["results"]
    assert result["steps"] == 12 + 36
    # A quarter of the steps have input, in about half of their channels; no synapse more than once.
    assert 14 * 16 / 10 < result["additions"] < 14 * 16 + 16 * 16 + 16 * 4
    assert result["real_time"][0] == pytest.approx(1000 * 10 / result["run_us"])
