"""The benchmark against the published stack compares equals, and runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from drawn_networks import delay_snn
from spikingjelly.activation_based import functional
from torch.nn import functional as F

from snn_delays import DelaySNN, set_sigma
from snn_delays.layers.networks import delay_layers

BENCH = Path(__file__).parent.parent / "scripts" / "bench"
SIZES, MAX_DELAY, STEPS, BATCH = [5, 7, 3], 6, 20, 4


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    return __import__("published")


def networks(published: Any, sizes: list[int]) -> tuple[DelaySNN, Any]:
    """Both in float64, with the same weights and delays."""
    torch.manual_seed(0)
    ours = delay_snn(sizes, MAX_DELAY, tau=1.5, dropout=0.0).double()
    theirs = published.PublishedSNN(sizes, MAX_DELAY + 1, tau=1.5, dropout=0.0).double()
    for mine, other in zip(delay_layers(ours), theirs.synapses(), strict=True):
        other.load(mine.weight, mine.delay)
    return ours, theirs


def spikes() -> torch.Tensor:
    torch.manual_seed(1)
    return (torch.rand(STEPS, BATCH, SIZES[0]) < 0.3).double()


@pytest.mark.parametrize("sigma", [0.5, 3.0])
def test_a_hidden_block_computes_the_same(published: Any, sigma: float) -> None:
    # The whole networks differ by when silence is added, ours all at the input and theirs layer
    # by layer, which BatchNorm sees: so one block of each, over the steps that it gets.
    ours, theirs = networks(published, SIZES)
    set_sigma(ours, sigma)
    theirs.set_sigma(sigma)
    x = spikes()
    late = F.pad(x, (0, 0, 0, 0, 0, MAX_DELAY // 2))
    mine, _ = ours.blocks[0](late, apart=True)
    synapses, norm, lif, dropout = theirs.blocks[:4]
    other = dropout(lif(norm(synapses(x))))
    assert mine.sum() > 0
    torch.testing.assert_close(mine, other, rtol=0, atol=1e-6)
    judge = torch.randn_like(mine)
    (mine * judge).sum().backward()
    (other * judge).sum().backward()
    delay, dcls = delay_layers(ours)[0], synapses.dcls
    torch.testing.assert_close(delay.weight.grad, dcls.weight.grad, rtol=0, atol=1e-5)
    torch.testing.assert_close(delay.delay.grad, -dcls.P.grad[0], rtol=0, atol=1e-5)


def test_whole_networks_agree_when_norm_does_not_see_the_silence(published: Any) -> None:
    ours, theirs = networks(published, SIZES)
    set_sigma(ours, 0.5)
    theirs.set_sigma(0.5)
    # Running statistics; a layer of theirs ends before the tail of ours has arrived there, and
    # nothing that fires later than that reaches the steps compared.
    mine, other = ours.eval()(spikes()), theirs.eval()(spikes())
    assert mine.shape == other.shape
    shared = STEPS + MAX_DELAY // 2
    torch.testing.assert_close(mine[:shared], other[:shared], rtol=0, atol=1e-5)
    torch.testing.assert_close(
        ours.rounded()(spikes())[:shared], theirs.rounded()(spikes())[:shared], rtol=0, atol=1e-5
    )


def test_a_training_step_learns_and_keeps_positions_inside(published: Any) -> None:
    _, theirs = networks(published, SIZES)
    before = [synapses.dcls.P.clone() for synapses in theirs.synapses()]
    published.training_step(theirs, spikes(), torch.tensor([0, 1, 2, 0]))
    for synapses, old in zip(theirs.synapses(), before, strict=True):
        assert not torch.equal(synapses.dcls.P, old)
        assert synapses.dcls.P.abs().max() <= (MAX_DELAY + 1) // 2
    functional.reset_net(theirs)


def test_the_comparison_runs(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, str(BENCH / "compare.py"), "--rows", "b,g", "--small"]
    command += ["--repeats", "1", "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    assert "published/ours" in done.stdout
    entries = json.loads(report.read_text())["entries"]
    assert {entry["row"] for entry in entries} == {"b", "g"}
    assert all(entry["ratio"] > 0 for entry in entries)


def test_shared_machines_are_measured(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, str(BENCH / "shared.py"), "--small", "--repeats", "1"]
    command += ["--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    entries = json.loads(report.read_text())["entries"]
    assert len(entries) == len(done.stdout.splitlines()) - 2 == 6
    assert all(entry["ratio"] > 0 for entry in entries)


def test_convolutions_are_timed() -> None:
    command = [sys.executable, str(BENCH / "delay_conv.py"), "--small", "--repeats", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[2:]]
    assert len(rows) == 18
    assert all(float(row[-1]) > 0 for row in rows)


def test_large_kernels_are_timed_against_the_package() -> None:
    """Which stops where their outputs differ."""
    command = [sys.executable, str(BENCH / "dcls.py"), "--small", "--repeats", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("4 × 10")]
    assert [row[5:8] for row in rows[:-1]] == [
        ["17", "34", "bilinear"],
        ["23", "26", "bilinear"],
        ["23", "26", "gaussian"],
    ]
    assert all(float(number) > 0 for row in rows[:-1] for number in row[8:11])
    assert all(float(number) > 0 for number in rows[-1][5:])


def test_a_gpu_is_measured_in_one_command() -> None:
    """On the CPU in tiny shapes; every table is there, and no figure of ours is missing."""
    command = [sys.executable, str(BENCH / "gpu.py"), "--quick", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    titles = [line for line in done.stdout.splitlines() if line.startswith("### ")]
    assert len(titles) == 5, done.stdout
    assert 'COST["gpu"]: dense 1.0, lowrank' in done.stdout
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| SHD")]
    assert all(float(cell) > 0 for cell in rows[0][1:])


def test_steps_are_timed_with_graphs_and_without() -> None:
    """On the CPU, where there are none."""
    command = [sys.executable, str(BENCH / "graphs.py"), "--quick", "--epochs", "1", "--profile"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| quick")]
    assert [row[2] for row in rows] == ["off", "auto"] * 3
    assert all(float(row[5]) > 0 for row in rows)
    assert done.stdout.count("function calls") == 2


def test_the_gradient_into_spikes_is_timed_by_entries() -> None:
    """The script refuses entries that are not those of the equation."""
    small = ["--shape", "9,6,32", "--repeats", "1"]
    command = [sys.executable, str(BENCH / "sparse_backward.py"), *small]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("entries ÷ all of the gradient by") == 2, done.stdout
