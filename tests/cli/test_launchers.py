"""Sweeps on Hydra's launchers and sweepers, which start processes of their own."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from typed_commands import SHORT, SMALL, Shell

from snn_delays.cli.process import lines_of, prepare_process
from snn_delays.loops.loop import cores

QUICK = (*SMALL, *SHORT, "trainer.epochs=1")
_SEARCH = ("hydra/sweeper=best", "hydra.sweeper.n_trials=4", "hydra.sweeper.sampler.seed=1")
_TWO = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2")
_AT_ONCE_S = 400.0  # for the second process to start


class AtOnce(Callback):
    """Holds each of the first two jobs until the other has begun as well, and says so."""

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        folder, number = Path(config.hydra.sweep.dir), config.hydra.job.num
        if number > 1:
            return
        (folder / f"begun{number}").write_text(str(os.getpid()))
        last = time.monotonic() + _AT_ONCE_S
        while time.monotonic() < last:
            if (folder / f"begun{1 - number}").exists():
                (folder / f"at_once{number}").touch()
                return
            time.sleep(0.05)


def test_a_search_runs_two_jobs_at_once_and_is_compared(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    """4 trials of Optuna's, 2 at a time, each with the share of the cores that joblib gives it.

    Learning rates are drawn from two, of which one is impossible.
    """
    from joblib.externals.loky import get_reusable_executor

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    watched = f"+hydra.callbacks.kept._target_={__name__}.AtOnce"
    typed = ("model.dropout=interval(0.1,0.5)", "trainer.weight_lr=choice(-1,0.005)", "run=found")
    get_reusable_executor(max_workers=2, reuse=False).shutdown()  # workers begin here and now
    try:
        code, out, err = shell.ends("train", "-m", *QUICK, *_SEARCH, *_TWO, *typed, watched)
    finally:
        get_reusable_executor().shutdown(wait=True)
    jobs = [Path("found", str(number)) for number in range(4)]
    failed = [job for job in jobs if (job / "error.txt").exists()]
    ran = [job for job in jobs if job not in failed]
    assert len(failed) in (1, 2, 3)
    for name in ("begun", "at_once"):
        assert all(Path("found", f"{name}{number}").is_file() for number in range(2))
    assert len({Path("found", f"begun{number}").read_text() for number in range(2)}) == 2
    scores = {}
    for job in ran:
        summary = json.loads((job / "summary.json").read_text())
        assert summary["threads"] == 1
        scores[job] = summary["best"]["validation"]["rounded"]["accuracy"]
        log = (job / "train.log").read_text()
        assert "neurons" in log
        assert not any(line.startswith("[") for line in log.splitlines())
    found = OmegaConf.load("found/optimization_results.yaml")
    assert found.best_value == max(scores.values())
    assert found.best_params["trainer.weight_lr"] == 0.005
    assert code == 2
    last = f"snn-delays-train: error: {len(failed)} of 4 jobs failed; the others have run."
    assert err.splitlines()[-1] == last
    assert "trainer.weight_lr must be a number >= 0, got -1." in out
    assert "Traceback" not in err

    code, out, err = shell.ends("compare", "runs=[found]", "folder=table")
    table = Path("table/comparison.md").read_text()
    for job in ran:
        dropout = OmegaConf.load(job / "config.yaml").model.dropout
        assert f"model.dropout={dropout}" in table
    assert all(f"{job} " in " ".join(out.split()) or str(job) in table for job in failed)
    assert code == 2  # for those that are not in the table


def test_the_worst_is_not_looked_for(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch):
    """Optuna's own direction is the other one."""
    monkeypatch.chdir(tmp_path)
    typed = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "model.dropout=interval(0,0.5)")
    code, out, _ = shell.ends("train", "-m", *QUICK, *typed, "run=found")
    assert code == 2
    assert "hydra.sweeper.direction must be maximize" in Path("found/0/error.txt").read_text()
    assert "got minimize." in " ".join(out.split())


def test_what_is_asked_of_slurm(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch):
    """As far as that goes without one: the script that a cluster would be given."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    for name, body in (
        ("srun", "exit 0"),
        ("sbatch", f'cp "$@" {tmp_path}/asked.sh; echo no such partition >&2; exit 1'),
    ):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    asked = ("partition=gpu", "gpus_per_node=1", "cpus_per_task=4", "timeout_min=600")
    typed = (f"hydra.launcher.{one}" for one in (*asked, "array_parallelism=2"))
    launcher = "hydra/launcher=submitit_slurm"
    code, _, err = shell.ends("train", "-m", *QUICK, launcher, *typed, "seed=0,1,2", "run=far")
    line = err.splitlines()[-1]
    assert code == 2
    assert "a job gave no result: " in line
    assert "no such partition" in line
    lines = Path("asked.sh").read_text().splitlines()
    expected = ("partition=gpu", "gpus-per-node=1", "cpus-per-task=4", "time=600", "array=0-2%2")
    for one in expected:
        assert f"#SBATCH --{one}" in lines
    assert any("submitit.core._submit" in one for one in lines)


def test_without_slurm_it_is_said(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    typed = ("hydra/launcher=submitit_slurm", "seed=0,1", "run=far")
    code, _, err = shell.ends("train", "-m", *QUICK, *typed)
    assert code == 2
    assert "there is no srun here" in err.splitlines()[-1]


def test_submitit_runs_jobs_on_this_machine(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    """Each in a process of its own, to which nothing of this one is left but what is pickled."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2])]))
    typed = ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=2", "run=near")
    code, _, err = shell.ends("train", "-m", *QUICK, *typed, "seed=-1")
    assert code == 2
    assert err.splitlines()[-1] == "snn-delays-train: error: 1 of 1 jobs failed."
    assert "seed must be" in Path("near/0/error.txt").read_text()
    (log,) = Path("near/.submitit").rglob("*_log.out")
    assert "[0] " in log.read_text()


def test_a_job_that_slurm_starts_again_goes_on(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    """In its own folder, if that holds this very run; the same command typed anew is refused."""
    monkeypatch.chdir(tmp_path)
    typed = ("train", *SMALL, *SHORT, "seed=5", "run=runs/again")
    before = shell(*typed)
    assert "epoch   1/2" in before
    first = json.loads(Path("runs/again/summary.json").read_text())
    assert "already holds a run" in shell.fails(*typed)
    Path("runs/again/summary.json").unlink()
    Path("runs/again/checkpoints/previous.ckpt").replace("runs/again/checkpoints/last.ckpt")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert "already holds a run" in shell.fails(*typed[:-2], "seed=6", typed[-1])
    out = shell(*typed)
    assert "epoch   1/2" not in out
    assert "epoch   2/2" in out
    after = json.loads(Path("runs/again/summary.json").read_text())
    assert (after["best"], after["last"]) == (first["best"], first["last"])


def test_a_task_takes_the_cores_that_slurm_gives_it(monkeypatch: pytest.MonkeyPatch):
    before = torch.get_num_threads()
    try:
        for given, own, expected in (("1", None, 1), ("4096", None, cores()), ("1", "2", 2)):
            torch.set_num_threads(2)
            monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
            monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
            if own:
                monkeypatch.setenv("OMP_NUM_THREADS", own)
            prepare_process()
            assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


def test_lines_of_jobs_are_whole_and_named(capfd: pytest.CaptureFixture[str]):
    with lines_of("3"):
        print("half", end="")
        os.write(1, b"another job\n")
        print(" a line\nnext")
        print("an error", file=sys.stderr)
        print("left", end="")
        assert not sys.stdout.isatty()
    print("after")
    out, err = capfd.readouterr()
    assert out == "another job\n[3] half a line\n[3] next\n[3] left\nafter\n"
    assert err == "[3] an error\n"
