"""How every command starts: threads wait asleep, which must be said before OpenMP is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import snn_delays

ROOT = Path(__file__).resolve().parents[2]
ENTRIES: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]["scripts"]
OURS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")

# Stops at the first import of whatever brings OpenMP, and says what it would have read.
STOP = """
import os, runpy, sys

class Stop:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "numba", "scipy", "sklearn"):
            print(name, os.environ.get("OMP_WAIT_POLICY"))
            sys.exit(0)

sys.meta_path.insert(0, Stop())
"""


def python(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**environment, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=800,
        check=True,
    )


def starts() -> dict[str, str]:
    """Each console script as pip writes it, and each file of scripts/ that does the same."""
    found = {}
    for name, place in ENTRIES.items():
        module, function = place.split(":")
        found[name] = f"from {module} import {function}; {function}()"
        script = ROOT / "scripts" / f"{name.removeprefix('snn-delays-')}.py"
        found[script.name] = f"runpy.run_path({str(script)!r}, run_name='__main__')"
    return found


@pytest.mark.parametrize("start", starts().values(), ids=starts())
def test_a_command_sets_passive_waiting_before_anything_brings_openmp(start: str) -> None:
    assert python(STOP + start).stdout == "torch passive\n"


def test_what_the_user_set_stays() -> None:
    start = STOP + starts()["snn-delays-train"]
    assert python(start, OMP_WAIT_POLICY="active").stdout == "torch active\n"


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP, which says what it has read")
def test_the_runtime_of_torch_reads_it() -> None:
    load = "from snn_delays.cli.commands import wait_passively; wait_passively()\nimport torch"

    def spins(**variables: str) -> set[str]:
        said = python(load, OMP_DISPLAY_ENV="verbose", **variables).stderr
        return {line.split("'")[1] for line in said.splitlines() if "GOMP_SPINCOUNT" in line}

    assert spins() == {"0"}
    assert spins(GOMP_SPINCOUNT="2000") == {"2000"}


def test_an_import_alone_sets_nothing_and_loads_nothing() -> None:
    script = "import os, sys, snn_delays.cli.commands; from snn_delays import UsageError\n"
    python(script + "assert 'torch' not in sys.modules and 'OMP_WAIT_POLICY' not in os.environ")


def test_every_public_name_is_there_and_ours() -> None:
    for name in snn_delays.__all__:
        found = getattr(snn_delays, name)
        assert getattr(found, "__module__", found.__name__).startswith("snn_delays.")
    assert set(snn_delays.__all__) <= set(dir(snn_delays))
    with pytest.raises(AttributeError, match="snn_delays.*no attribute 'DelayLayers'"):
        snn_delays.DelayLayers  # noqa: B018
