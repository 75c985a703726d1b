"""The examples run away from the package, on exported files alone, and agree on every spike."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_tables import random_table

from snn_delays.table import DelayTable, predict, simulate, write_sample, write_table
from snn_delays.table.formats import write_pynn
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection
from snn_delays.table.schema import arrays_of

EXAMPLES = Path(__file__).resolve().parents[1] / "scripts" / "examples"
needs_nest = pytest.mark.skipif(
    find_spec("nest") is None, reason="nest-simulator is not installed (no wheel for this platform)"
)
OTHER_PYTHON = os.environ.get("SNN_DELAYS_BRIAN2_PYTHON")
needs_brian2 = pytest.mark.skipif(
    OTHER_PYTHON is None,
    reason="SNN_DELAYS_BRIAN2_PYTHON names no Python with Brian2, PyNN and h5py",
)


# Skips, and a population that leads to itself.
GRAPH = ((0, 1), (1, 1), (1, 2), (0, 2), (2, 3), (1, 3))


def small_table(**options: Any) -> DelayTable:
    """Two synapses per pair, delays from 0, betas from 0 to 1, another neuron everywhere."""
    first, second = (random_table(seed, (6, 9, 8, 3), **options) for seed in (5, 6))
    others = {one.name: one for one in second.projections}

    def twice(one: Projection) -> Projection:
        columns = zip(arrays_of(one).items(), arrays_of(others[one.name]).values(), strict=True)
        return replace(one, **{name: np.append(mine, more) for (name, mine), more in columns})

    def extreme(one: Population) -> Population:
        beta = one.parameters["beta"].copy()
        beta[:2] = 0, 1
        return replace(one, parameters={**one.parameters, "beta": beta})

    return first.map(projection=twice, population=extreme)


def export(table: DelayTable, folder: Path, wrong: int = 0) -> None:
    """What the examples read; ``wrong`` spikes of the reference are turned over."""
    counts = np.random.default_rng(1).poisson(0.8, (30, table.input_channels))
    counts[3, 2] = 11
    found = simulate(table, counts)
    assert min(int(spikes.sum()) for spikes in found.spikes.values()) > 40
    for cell in range(wrong):
        found.spikes["hidden0"][cell, 0] ^= True
    write_table(table, folder / "delays.h5")
    write_sample(folder / "sample.npz", counts, 1, found, predict(found, table.readout))
    write_pynn(table, folder / "pynn")


def run(
    example: str, network: str, folder: Path, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, str(EXAMPLES / f"{example}_example.py"), network, "--spikes", "sample.npz"],
        cwd=folder,
        # Neither the package nor its torch can be imported by accident.
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )


def assert_agrees(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 0, result.stdout + result.stderr
    line = result.stdout.splitlines()[-1]
    found = re.search(r"; (\d+) of (\d+) spikes agree, 0 differ; .* most (\S+)$", line)
    assert found is not None, line
    assert found[1] == found[2]
    assert float(found[3]) < 1e-6


@needs_nest
@pytest.mark.parametrize("readout", ["sum_softmax", "max", "mean", "spike_count"])
def test_nest(readout: str, tmp_path: Path) -> None:
    export(small_table(readout=readout), tmp_path)
    assert_agrees(run("nest", "delays.h5", tmp_path))


@needs_nest
@pytest.mark.parametrize("readout", ["mean", "spike_count"])
def test_nest_with_loops_and_skips(readout: str, tmp_path: Path) -> None:
    export(small_table(readout=readout, links=GRAPH), tmp_path)
    assert_agrees(run("nest", "delays.h5", tmp_path))


@needs_nest
def test_a_loop_that_nest_cannot_run(tmp_path: Path) -> None:
    """From hidden0 to hidden1 in the same step, and back in the next."""
    export(small_table(links=((0, 1), (1, 2), (2, 1), (2, 3))), tmp_path)
    result = run("nest", "delays.h5", tmp_path)
    assert result.returncode == 2
    assert result.stderr == (
        "error: a loop of this network is too short for a simulator of delays >= 1 steps.\n"
    )


@needs_nest
def test_a_difference_is_told(tmp_path: Path) -> None:
    export(small_table(), tmp_path, wrong=3)
    result = run("nest", "delays.h5", tmp_path)
    assert result.returncode == 1, result.stderr
    assert " 3 differ" in result.stdout


@needs_nest
def test_a_network_that_nest_cannot_run(tmp_path: Path) -> None:
    export(small_table(reset="soft"), tmp_path)
    result = run("nest", "delays.h5", tmp_path)
    assert result.returncode == 2
    assert "hard reset only" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@needs_nest
def test_a_sample_of_another_network(tmp_path: Path) -> None:
    export(small_table(), tmp_path)
    with np.load(tmp_path / "sample.npz") as sample:
        arrays = dict(sample)
    np.savez(tmp_path / "sample.npz", **arrays | {"counts": arrays["counts"][:, :4]})
    result = run("nest", "delays.h5", tmp_path)
    assert result.returncode == 2
    assert "error: sample.npz has input (30, 4), the network takes [T, 6]" in result.stderr


@needs_nest
def test_files_of_another_kind(tmp_path: Path) -> None:
    export(small_table(), tmp_path)
    np.savez(tmp_path / "sample.npz", sample=np.zeros(3))
    result = run("nest", "delays.h5", tmp_path)
    assert result.returncode == 2
    assert "error: sample.npz is not a sample.npz as snn-delays-export writes it" in result.stderr
    (tmp_path / "input_to_hidden0.csv").write_text("pre,post,delay,weight\n")
    result = run("nest", "input_to_hidden0.csv", tmp_path)
    assert result.returncode == 2
    assert "error: input_to_hidden0.csv is not HDF5. Give the delays.h5" in result.stderr


def test_what_is_not_installed_is_named(tmp_path: Path) -> None:
    for example, package in (("brian2", "brian2"), ("pynn", "pyNN")):
        if find_spec(package) is None:
            result = run(example, "delays.h5", tmp_path)
            assert result.returncode == 2
            assert " is not installed: pip install " in result.stderr
            assert len(result.stderr.splitlines()) == 1


@needs_brian2
@pytest.mark.parametrize("readout", ["mean", "spike_count"])
@pytest.mark.parametrize("links", [None, (*GRAPH, (2, 1))])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_brian2(reset: str, links: Any, readout: str, tmp_path: Path) -> None:
    export(small_table(reset=reset, links=links, readout=readout), tmp_path)
    assert_agrees(run("brian2", "delays.h5", tmp_path, str(OTHER_PYTHON)))


@needs_brian2
@pytest.mark.parametrize("readout", ["mean", "spike_count"])
def test_pynn(readout: str, tmp_path: Path) -> None:
    export(small_table(readout=readout), tmp_path)
    assert_agrees(run("pynn", "pynn", tmp_path, str(OTHER_PYTHON)))


@needs_brian2
def test_pynn_with_loops_and_skips(tmp_path: Path) -> None:
    export(small_table(links=GRAPH, min_delay=2), tmp_path)
    assert_agrees(run("pynn", "pynn", tmp_path, str(OTHER_PYTHON)))


def test_the_examples_import_nothing_of_ours() -> None:
    for path in set(EXAMPLES.glob("*.py")) - {EXAMPLES / "own_network.py"}:
        assert not re.search(r"^\s*(import|from) (snn_delays|torch)", path.read_text(), re.M), path


def test_own_network_trains_exports_and_agrees(tmp_path: Path) -> None:
    script = EXAMPLES / "own_network.py"
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 60
    run = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=800,
        check=True,
    )
    found = re.search(r"(\d+)% in the simulator, (\d+) of (\d+) spikes differ", run.stdout)
    assert found is not None, run.stdout
    accuracy, differing, total = map(int, found.groups())
    assert accuracy > 90
    assert differing == 0
    assert total > 500
    assert {path.name for path in tmp_path.iterdir()} == {"delays.h5"}
