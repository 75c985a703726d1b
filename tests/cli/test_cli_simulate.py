"""``snn-delays-simulate``, as a user types it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_networks import delay_snn
from omegaconf import OmegaConf
from typed_commands import Shell

from snn_delays.data import load_synthetic
from snn_delays.deploy import integer_table
from snn_delays.table import (
    DelayTable,
    predict,
    read_table,
    simulate,
    synaptic_operations,
    write_table,
)

Run = Callable[..., tuple[int, str, str]]
SIZES = {"n_train": 24, "n_valid": 24, "n_test": 24}
DATA = (
    *("dataset=synthetic", "dataset.root=data"),
    *(f"dataset.{key}={n}" for key, n in SIZES.items()),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An exported run, as far as this command looks at one: configuration and table."""
    monkeypatch.chdir(tmp_path)
    data = load_synthetic("data", **SIZES)
    torch.manual_seed(1)
    net = delay_snn([12, 16, 8], 9, tau=2.0, batch_norm=False).rounded()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("weight"):
                parameter.mul_(3)
    table = integer_table(net, dt_ms=10.0, class_names=data.class_names)
    write_table(table, tmp_path / "runs/mine/export/delays.h5")
    dataset = {"_target_": "snn_delays.data.load_synthetic", "root": "data", **SIZES}
    config = {"dataset": dataset, "model": {}, "trainer": {}}
    OmegaConf.save(OmegaConf.create(config), tmp_path / "runs/mine/config.yaml")
    return tmp_path


@pytest.fixture
def run(shell: Shell) -> Run:
    """``snn-delays-simulate`` of these arguments: exit code, output, complaint."""
    return partial(shell.ends, "simulate")


def cells(out: str) -> dict[str, str]:
    """The printed table by row."""
    return {name.strip(): value.strip() for name, value in re.findall(r"│(.*)│(.*)│", out)}


def expected(table: DelayTable, indices: list[int]) -> dict[str, float]:
    """What the table should print, sample by sample."""
    test = load_synthetic("data", **SIZES).test
    right, spikes, events, operations = 0, 0, 0.0, Counter[str]()
    for index in indices:
        alone = test.collate([index])
        counts = alone.spikes[:, 0].numpy()
        found = simulate(table, counts)
        right += predict(found, table.readout) == int(alone.labels[0])
        spikes, events = spikes + found.spike_counts["hidden0"], events + counts.sum()
        operations.update(synaptic_operations(table, counts, found))
    n = len(indices)
    return {
        "samples": n,
        "accuracy": 100 * right / n,
        "input events per sample": events / n,
        "spikes per sample, hidden0": spikes / n,
        **{
            f"synaptic operations per sample, {name}": count / n
            for name, count in operations.items()
        },
        "… in all": operations.total() / n,
    }


def assert_printed(out: str, wanted: dict[str, float]) -> None:
    found = cells(out)
    for name, value in wanted.items():
        printed = float(found[name].replace(",", "").removesuffix(" %"))
        assert printed == pytest.approx(value, abs=0.51 if name != "accuracy" else 0.051), name
    assert float(found["× real time"].replace(",", "")) > 0
    assert found["time per sample, one core"].endswith(" ms")


def test_a_run_is_simulated_on_its_own_data(run: Run, folder: Path) -> None:
    table = read_table("runs/mine/export/delays.h5")
    code, out, err = run("run=runs/mine")
    assert (code, err) == (0, "")
    wanted = expected(table, list(range(24)))
    assert wanted["spikes per sample, hidden0"] > 20
    assert_printed(out, wanted)
    (folder / "data").rename(folder / "moved")
    code, out, _ = run("run=runs/mine", "root=moved", "samples=5")
    (folder / "moved").rename(folder / "data")
    assert code == 0
    assert_printed(out, expected(table, [0, 4, 9, 14, 19]))


def test_another_table_and_no_run(run: Run, folder: Path) -> None:
    table = read_table("runs/mine/export/delays.h5")
    first, *others = table.projections
    more = replace(first, weight=first.weight * 2)
    other = replace(table, projections=(more, *others))
    write_table(other, "other.h5")
    for source in (("run=runs/mine",), DATA):
        code, out, err = run("table=other.h5", *source, "samples=1000")
        assert (code, err) == (0, "")
        assert "other.h5 on the test set" in out
        assert_printed(out, expected(other, list(range(24))))


def test_spikes_are_saved_and_never_overwritten_unasked(run: Run, folder: Path) -> None:
    arguments = ("run=runs/mine", "samples=6", "save=out/spikes.npz")
    code, out, _ = run(*arguments)
    assert code == 0
    assert "→ out/spikes.npz" in out
    before = (folder / "out/spikes.npz").read_bytes()
    with np.load(folder / "out/spikes.npz") as file:
        assert file["sample"].tolist() == [0, 4, 8, 12, 16, 20]
        assert len(file["hidden0_events"]) > 0
    code, _, err = run(*arguments)
    assert code == 2
    assert "out/spikes.npz exists. Choose another file, or overwrite: force=true." in err
    assert (folder / "out/spikes.npz").read_bytes() == before
    assert run(*arguments, "force=true", "samples=3")[0] == 0
    with np.load(folder / "out/spikes.npz") as file:
        assert file["sample"].tolist() == [0, 8, 16]
    assert [path.name for path in (folder / "out").iterdir()] == ["spikes.npz"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "give run=DIR, a trained run that has been exported, or table=FILE.h5"),
        (("table=runs/mine/export/delays.h5",), "together with dataset=NAME"),
        (("run=nowhere",), "nowhere/config.yaml not found"),
        (("run=runs/mine", "table=none.h5"), "none.h5: no such delay table"),
        (("run=runs/mine", "table=3"), "table must be a path, got 3"),
        (("run=runs/mine", "table=runs/mine/config.yaml"), "not a readable delay table"),
        (("run=runs/mine", "dataset=shd"), "leave out either run or dataset"),
        (("run=runs/mine", "samples=0"), "samples must be a whole number >= 1, or null"),
        (("run=runs/mine", "samples=few"), "got 'few'"),
        (("run=runs/mine", "save=a.csv"), "save must be a file NAME.npz, got a.csv"),
        (("run=runs/mine", "force=perhaps"), "force must be true or false"),
        (("run=runs/mine", "sampels=3"), "did you mean samples?"),
        (("run=runs/mine", "root=dta"), "root=dta: no such folder"),
        (("run=runs/mine", "dataset.root=x"), "With run=DIR give root=…."),
        (("dataset.root=x",), "is a setting of dataset=audio, dataset=events, dataset=gsc"),
        (("table=t.h5", "root=data", "dataset=synthetic"), "Use dataset.root=DIR."),
        (
            ("table=runs/mine/export/delays.h5", *DATA, "dataset.n_channels=9"),
            "the table has 12 input channels, the data 9",
        ),
        (
            ("table=runs/mine/export/delays.h5", *DATA, "dataset.dt_ms=5"),
            "the table has 10 ms per step, the data 5",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistakes_get_one_line(
    run: Run, folder: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith("snn-delays-simulate: error: ")
    assert complaint in line


def test_the_script_runs(folder: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "simulate.py"
    done = subprocess.run(
        [sys.executable, str(script), "run=runs/mine", "samples=4"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert cells(done.stdout)["samples"] == "4"
