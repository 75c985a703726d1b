"""The examples run away from the package, on exported files alone, and agree on every spike."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_tables import random_table

from snn_delays.table import DelayTable, predict, simulate, write_sample, write_table
from snn_delays.table.table import NeuronTable, SynapseTable

EXAMPLES = Path(__file__).resolve().parents[1] / "scripts" / "examples"
needs_nest = pytest.mark.skipif(
    find_spec("nest") is None, reason="nest-simulator is not installed (no wheel for this platform)"
)
OTHER_PYTHON = os.environ.get("SNN_DELAYS_BRIAN2_PYTHON")
needs_brian2 = pytest.mark.skipif(
    OTHER_PYTHON is None,
    reason="SNN_DELAYS_BRIAN2_PYTHON names no Python with Brian2, PyNN and h5py",
)


def small_table(**options: Any) -> DelayTable:
    """Two synapses per pair, delays from 0, betas from 0 to 1, another neuron everywhere."""
    first, second = (random_table(seed, (6, 9, 8, 3), **options) for seed in (5, 6))
    layers = []
    for layer, other in zip(first.layers, second.layers, strict=True):
        columns = {
            field.name: np.append(
                getattr(layer.synapses, field.name), getattr(other.synapses, field.name)
            )
            for field in fields(layer.synapses)
        }
        neuron = layer.neuron
        assert isinstance(neuron, NeuronTable)
        beta = neuron.beta.copy()
        beta[:2] = 0, 1
        neuron = replace(neuron, beta=beta)
        layers.append(replace(layer, synapses=SynapseTable(**columns), neuron=neuron))
    return replace(first, layers=tuple(layers))


def export(table: DelayTable, folder: Path, wrong: int = 0) -> None:
    """What the examples read; ``wrong`` spikes of the reference are turned over."""
    counts = np.random.default_rng(1).poisson(0.8, (30, table.input_channels))
    counts[3, 2] = 11
    found = simulate(table, counts)
    assert min(int(spikes.sum()) for spikes in found.spikes) > 40
    for cell in range(wrong):
        found.spikes[0][cell, 0] ^= True
    write_table(table, folder / "delays.h5")
    write_sample(folder / "sample.npz", counts, 1, found, predict(found, table.readout))
    write_pynn(table, folder / "pynn")


def write_pynn(table: DelayTable, folder: Path) -> None:
    folder.mkdir()
    layers = []
    for index, layer in enumerate(table.layers):
        rows, neuron = layer.synapses, layer.neuron
        assert isinstance(neuron, NeuronTable)
        np.savetxt(
            folder / f"layer_{index}.txt",
            np.stack([rows.pre, rows.post, layer.current_weight, rows.delay * table.dt_ms], axis=1),
            header='columns = ["i", "j", "weight", "delay"]',
        )
        np.savetxt(
            folder / f"neurons_{index}.csv",
            np.stack([layer.bias, neuron.beta, neuron.v_threshold, neuron.v_reset], axis=1),
            delimiter=",",
            header="bias,beta,v_threshold,v_reset",
            comments="",
        )
        layers.append(
            {
                "n_pre": layer.n_pre,
                "n_post": layer.n_post,
                "weight_scale": layer.weight_scale,
                "model": neuron.model,
                "reset": neuron.reset,
            }
        )
    header = {
        "format": "snn-delays-network",
        "dt_ms": table.dt_ms,
        "class_names": table.class_names,
        "readout": table.readout,
        "tail_steps": table.tail_steps,
        "input_channels": table.input_channels,
        "layers": layers,
    }
    (folder / "network.json").write_text(json.dumps(header), encoding="utf-8")


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
        timeout=120,
        check=False,
    )


def assert_agrees(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 0, result.stdout + result.stderr
    line = result.stdout.splitlines()[-1]
    found = re.search(r"; (\d+) of (\d+) hidden spikes agree, 0 differ; .* most (\S+)$", line)
    assert found is not None, line
    assert found[1] == found[2]
    assert float(found[3]) < 1e-6


@needs_nest
@pytest.mark.parametrize("readout", ["sum_softmax", "max", "mean"])
def test_nest(readout: str, tmp_path: Path) -> None:
    export(small_table(readout=readout), tmp_path)
    assert_agrees(run("nest", "delays.h5", tmp_path))


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
    (tmp_path / "layer_0.csv").write_text("pre,post,delay,weight\n")
    result = run("nest", "layer_0.csv", tmp_path)
    assert result.returncode == 2
    assert "error: layer_0.csv is not HDF5. Give the delays.h5" in result.stderr


def test_what_is_not_installed_is_named(tmp_path: Path) -> None:
    for example, package in (("brian2", "brian2"), ("pynn", "pyNN")):
        if find_spec(package) is None:
            result = run(example, "delays.h5", tmp_path)
            assert result.returncode == 2
            assert " is not installed: pip install " in result.stderr
            assert len(result.stderr.splitlines()) == 1


@needs_brian2
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_brian2(reset: str, tmp_path: Path) -> None:
    export(small_table(reset=reset), tmp_path)
    assert_agrees(run("brian2", "delays.h5", tmp_path, str(OTHER_PYTHON)))


@needs_brian2
def test_pynn(tmp_path: Path) -> None:
    export(small_table(), tmp_path)
    assert_agrees(run("pynn", "pynn", tmp_path, str(OTHER_PYTHON)))


def test_the_examples_import_nothing_of_ours() -> None:
    for path in EXAMPLES.glob("*.py"):
        assert not re.search(r"^\s*(import|from) (snn_delays|torch)", path.read_text(), re.M), path
