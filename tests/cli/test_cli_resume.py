"""``resume=true``: the run that was begun goes on, or nothing of it is touched."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from typed_commands import SHORT, SMALL, Shell, contents

from snn_delays.run.lock import training_in

RESUME = ("run=runs/learned", "resume=true")

EDITS = [
    ({"trainer.epochs": 5}, "trainer.epochs is 5, was 2. Restore it, or begin a new run."),
    ({"model.delays": "fixed"}, "model.delays is 'fixed', was 'learned'. Restore"),
    ({"model.hidden": [8, 8]}, "model.hidden.1 is 8, was missing. Restore"),
    ({"model.tau_ms": 20.1}, "model.tau_ms is 20.1, was 10.05. Restore"),
    ({"dataset.n_train": 64}, "dataset.n_train is 64, was 96. Restore"),
    ({"schedule._target_": "snn_delays.schedules.Linear"}, "schedule._target_ is"),
    ({"schedule.until": 0.5, "seed": 1}, "schedule.until is 0.5, was 0.25, seed is 1, was 0."),
    ({"augmentation.cutmix": 0.5}, "augmentation.cutmix is 0.5, was 0.0."),
    ({"trainer.weight_lr": None}, "trainer.weight_lr is None, was 0.005."),
    ({"colour": "red"}, "colour is 'red', was missing."),
]


def edit(changes: dict[str, Any]) -> None:
    path = Path("runs/learned/config.yaml")
    config = OmegaConf.load(path)
    for key, value in changes.items():
        OmegaConf.update(config, key, value, merge=False, force_add=True)
    OmegaConf.save(config, path)


@pytest.mark.parametrize(("changes", "expected"), EDITS)
def test_an_edited_configuration_is_refused_before_anything_happens(
    there: Path, shell: Shell, changes: dict[str, Any], expected: str
):
    edit(changes)
    before = contents("."), set(Path().rglob("*"))
    line = shell.fails("train", *RESUME)
    assert "runs/learned/config.yaml is not what the run was trained with: " in line
    assert expected in line
    assert (contents("."), set(Path().rglob("*"))) == before


def test_data_that_have_changed_since_training_are_told(there: Path, shell: Shell):
    """Going on with other recordings is refused; trying the run on them is not."""
    (valid,), (test,) = (list(Path("data").glob(f"*_{name}.h5")) for name in ("valid", "test"))
    shutil.copy(valid, test)
    edit({"dataset.root": "data"})
    before = contents("runs"), set(Path("runs").rglob("*"))
    line = shell.fails("train", *RESUME)
    assert "runs/learned is not what the run was trained with: data.test is '32 recordings" in line
    assert "data.train" not in line
    assert (contents("runs"), set(Path("runs").rglob("*"))) == before
    told = "runs/learned: its data have changed since training: test is 32 recordings, SHA-256 "
    for command, more in (("evaluate", ()), ("export", ("folder=other", "verify=false"))):
        assert told in shell(command, "run=runs/learned", *more)
    os.remove(test)  # it is made again
    assert "changed since training" not in shell("evaluate", "run=runs/learned")


def test_a_run_may_go_on_elsewhere(there: Path, shell: Shell):
    """Its data and its device are no part of what it is."""
    Path("data").rename("moved")
    edit({"dataset.root": "moved", "trainer.accelerator": "auto"})
    before = json.loads(Path("runs/learned/summary.json").read_text())
    shell("train", *RESUME)
    after = json.loads(Path("runs/learned/summary.json").read_text())
    assert (after["best"], after["last"]) == (before["best"], before["last"])


def test_a_run_in_training_is_refused_and_may_be_read(there: Path, shell: Shell):
    with training_in(Path("runs/learned")):
        before = contents("runs/learned")
        line = shell.fails("train", *RESUME)
        assert f"runs/learned is being trained by process {os.getpid()} on " in line
        shell("evaluate", "run=runs/learned", "checkpoint=last")
        assert contents("runs/learned") == before
    shell("train", *RESUME)


def test_results_are_never_replaced_by_a_run_begun_anew(there: Path, shell: Shell):
    for name in ("last", "previous"):
        Path(f"runs/learned/checkpoints/{name}.ckpt").unlink()
    before = contents("runs/learned")
    line = shell.fails("train", *RESUME)
    assert "last.ckpt not found, but best.ckpt, metrics.csv, summary.json: going on would" in line
    assert contents("runs/learned") == before


def test_nor_by_a_new_run_where_the_configuration_is_gone(there: Path, shell: Shell):
    Path("runs/learned/config.yaml").unlink()
    before = contents("runs/learned")
    line = shell.fails("train", *SMALL, *SHORT, "run=runs/learned")
    assert "already holds a run" in line
    assert contents("runs/learned") == before


def test_a_damaged_checkpoint_costs_one_epoch_and_a_line(there: Path, shell: Shell):
    before = json.loads(Path("runs/learned/summary.json").read_text())
    metrics = timeless("runs/learned")
    last = Path("runs/learned/checkpoints/last.ckpt")
    last.write_bytes(last.read_bytes()[:-1000])
    out = shell("train", *RESUME)
    assert "last.ckpt is damaged: going on from previous.ckpt, after epoch 1; epoch 2 is" in out
    after = json.loads(Path("runs/learned/summary.json").read_text())
    assert (after["best"], after["last"]) == (before["best"], before["last"])
    assert timeless("runs/learned") == metrics
    shell("evaluate", "run=runs/learned", "checkpoint=last")


def timeless(run: str) -> list[str]:
    return [line.rpartition(",")[0] for line in Path(run, "metrics.csv").read_text().splitlines()]


def test_a_fine_tuned_run_needs_its_base_no_more(there: Path, shell: Shell):
    """Once an epoch is done all is in its own folder."""
    shutil.copytree("runs/learned", "runs/base")
    shell("train", "run=runs/base", "finetune=quantise", "finetune.epochs=1")
    Path("runs/base/quantised-4bit").rename("runs/tuned")
    shutil.rmtree("runs/base")
    shell("train", "run=runs/tuned", "resume=true")
    path = Path("runs/tuned/config.yaml")
    path.write_text(path.read_text().replace("bits: 4", "bits: 3"))
    line = shell.fails("train", "run=runs/tuned", "resume=true")
    assert "finetune.bits is 3, was 4." in line
