"""Several runs of a command: every one of them, in folders that can be typed back."""

from __future__ import annotations

import io
import json
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from typed_commands import SHORT, SMALL, Shell

from snn_delays.cli.sweep import JobFailed, in_order
from snn_delays.cli.train import train

QUICK = (*SMALL, *SHORT, "trainer.epochs=1")


class Returned(Callback):
    """What the jobs of a sweep give to Hydra's sweeper."""

    jobs: ClassVar[list[JobReturn]] = []

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        self.jobs.append(job_return)


@dataclass(frozen=True)
class Swept:
    folder: Path
    code: object
    out: str
    err: str
    returned: list[JobReturn]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """A folder with a sweep of three, the first of which is impossible; and how it ended."""
    folder = tmp_path_factory.mktemp("swept")
    watched = f"+hydra.callbacks.kept._target_={__name__}.Returned"
    typed = ("-m", *QUICK, "model.dropout=2,0.1,0.2", "run=sweep", watched)
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        patch.chdir(folder)
        patch.delenv("HYDRA_FULL_ERROR", raising=False)
        patch.setattr(sys, "argv", ["snn-delays-train", *typed])
        with pytest.raises(SystemExit) as ended:
            train()
    return Swept(folder, ended.value.code, out.getvalue(), err.getvalue(), Returned.jobs)


@pytest.fixture
def here(swept: Swept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that this test alone works in."""
    folder = tmp_path / "here"
    shutil.copytree(swept.folder, folder)
    monkeypatch.chdir(folder)
    return folder


def test_every_job_runs_and_what_failed_is_told_at_the_end(swept: Swept):
    folder = swept.folder
    assert swept.code == 2
    assert {path.name for path in folder.iterdir()} == {"data", "sweep"}
    assert {path.name for path in (folder / "sweep").iterdir()} == {"0", "1", "2", "multirun.yaml"}
    assert {path.name for path in (folder / "sweep/0").iterdir()} == {"overrides.txt", "error.txt"}
    for job, dropout in (("1", 0.1), ("2", 0.2)):
        assert (folder / "sweep" / job / "summary.json").is_file()
        assert (folder / "sweep" / job / "train.log").read_text().count("neurons") == 1
        assert not (folder / "sweep" / job / "error.txt").exists()
        assert OmegaConf.load(folder / "sweep" / job / "config.yaml").model.dropout == dropout
        overrides = (folder / "sweep" / job / "overrides.txt").read_text().splitlines()
        assert f"model.dropout={dropout}" in overrides
        assert "trainer.epochs=1" in overrides
    table = " ".join(swept.out[swept.out.index("failed in ") :].split())
    assert "model.dropout=2" in table
    assert "got 2" in table
    assert "model.dropout=0.1" not in table
    last = swept.err.splitlines()[-1]
    assert last == "snn-delays-train: error: 1 of 3 jobs failed; the others have run."
    assert "Traceback" not in swept.err


def test_a_sweeper_is_given_the_accuracy_on_validation(swept: Swept):
    """As Optuna's asks for it: a number for what has run, an exception for what has not."""
    failed, *ran = swept.returned
    with pytest.raises(JobFailed, match="^model.dropout must lie"):
        float(failed.return_value)
    for number, job in enumerate(ran, start=1):
        summary = json.loads((swept.folder / f"sweep/{number}/summary.json").read_text())
        value = float(job.return_value)
        assert value == summary["best"]["validation"]["rounded"]["accuracy"]
    assert len(ran) == 2


def test_one_table_of_a_sweep_or_of_what_a_pattern_finds(
    here: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(here))
    accuracy = {
        job: json.loads(Path(f"sweep/{job}/summary.json").read_text())["best"] for job in "12"
    }
    for typed in ("sweep", "sweep/[0-9]", "sw*", "[sweep]", "~/sweep", "[sweep/1,sweep/2]"):
        code, out, err = shell.ends("evaluate", f"run={typed}")
        assert code == 0, err
        lines = out.splitlines()
        for job in "12":
            (row,) = (line for line in lines if line.startswith(f"│ {job} "))
            assert f"{100 * accuracy[job]['test']['rounded']['accuracy']:.1f} %" in row
            (folder,) = (line for line in lines if line.startswith("→") and f"/{job}" in line)
            assert folder.endswith(f"sweep/{job}  model.dropout=0.{job}")
        left_out = [line for line in lines if "left out" in line]
        assert len(left_out) == (typed != "[sweep/1,sweep/2]")
        assert all("sweep/0 is left out: model.dropout must" in line for line in left_out)


def test_a_run_that_has_no_checkpoint_yet_is_left_out(here: Path, shell: Shell):
    Path("sweep/1/checkpoints/best.ckpt").unlink()
    out = shell("evaluate", "run=sweep")
    assert "sweep/1 is left out: no best.ckpt" in out
    assert "sweep/2" in out
    assert "best.ckpt not found" in shell.fails("evaluate", "run=sweep/1")
    shutil.rmtree("sweep/2")
    assert "no run with a best.ckpt among 2 folders" in shell.fails("evaluate", "run=sweep")
    assert "no run with a best.ckpt among 0 folders" in shell.fails("evaluate", "run=no*where")


def test_a_job_is_a_run_like_any_other(here: Path, shell: Shell):
    """Its folder is typed as the log prints it; several may go on at once."""
    before = {job: json.loads(Path(f"sweep/{job}/summary.json").read_text()) for job in "12"}
    for job in "12":
        Path(f"sweep/{job}/summary.json").unlink()
    shell("train", "-m", "run=sweep/1,sweep/2", "resume=true")
    for job in "12":
        after = json.loads(Path(f"sweep/{job}/summary.json").read_text())
        assert after["best"] == before[job]["best"]
    shell("export", "run=sweep/1")
    shell("simulate", "run=sweep/1")


def test_a_job_that_failed_is_put_right(here: Path, shell: Shell):
    line = shell.fails("train", "-m", *QUICK, "model.dropout=0.5,0.6", "run=sweep")
    assert "sweep already holds runs, such as sweep/1. Choose another run=DIR, or begin" in line
    assert "model.dropout=2" in Path("sweep/0/overrides.txt").read_text()
    line = shell.fails("evaluate", "run=sweep/0")
    assert "sweep/0 holds no run, since it failed: model.dropout must lie" in line
    shell("train", *QUICK, "model.dropout=0.5", "run=sweep/0")
    out = shell("evaluate", "run=sweep")
    assert "sweep/0  model.dropout=0.5" in out
    assert "left out" not in out


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        ("export", ()),
        ("simulate", ()),
        ("train", ("resume=true",)),
        ("train", ("finetune=quantise",)),
    ],
)
def test_where_one_run_is_wanted_a_sweep_is_told_so(
    here: Path, shell: Shell, command: str, settings: tuple[str, ...]
):
    line = shell.fails(command, "run=sweep", *settings)
    assert "sweep holds several runs: give one of them, such as run=" in line


def test_the_folder_of_a_sweep_is_what_run_says(
    here: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    """Or where that cannot be, it is refused; never ignored."""
    monkeypatch.setenv("HOME", str(here))
    before = {path.name for path in here.iterdir()}
    for flag, run in (("-m", "run=one"), ("--multirun", "run=~/two")):
        shell.ends("train", flag, "seed=-1", run)
    for flag, run in (("-m", "run=a,b"), ("hydra.mode=MULTIRUN", "run=c")):
        code, out, err = shell.ends("train", flag, run)
        assert code == 2
        assert err.splitlines()[-1].endswith(" jobs failed.")
        assert "hydra.sweep.dir=DIR" in " ".join(out.split())
        shutil.rmtree("runs")
    assert {path.name for path in here.iterdir()} == before | {"one", "two"}
    for folder in ("one", "two"):
        assert "seed must be" in Path(folder, "0/error.txt").read_text()


def test_however_much_is_typed_the_folder_is_a_number(here: Path, shell: Shell):
    config = OmegaConf.to_container(OmegaConf.load("sweep/1/config.yaml"))
    assert isinstance(config, dict)
    many = [
        f"{section}.{key}={str(value).lower() if isinstance(value, bool) else value}"
        for section in ("model", "trainer", "dataset", "augmentation")
        for key, value in config[section].items()
        if isinstance(value, int | float)
    ]
    assert len(" ".join(many)) > 255
    shell.ends("train", "-m", *many, "seed=-1", "run=many")
    assert set(many) < set(Path("many/0/overrides.txt").read_text().lower().splitlines())
    assert "seed must be" in Path("many/0/error.txt").read_text()


def test_a_folder_named_by_its_settings_can_be_typed(here: Path, shell: Shell):
    Path("sweep/1").rename("model.dropout=0.1, seed=0 (copy)")
    shell("evaluate", "run=model.dropout=0.1, seed=0 (copy)")


def test_what_cannot_be_composed_begins_no_job(here: Path, shell: Shell):
    line = shell.fails("train", "-m", *QUICK, "schedule=linear,lineal", "run=composed")
    assert "no such schedule: lineal; choose" in line
    assert not list(Path("composed").glob("*/"))


def test_other_commands_sweep_as_well(here: Path, shell: Shell):
    code, out, err = shell.ends("evaluate", "-m", "run=sweep/1,sweep/0", "hydra.sweep.dir=jobs")
    assert code == 2
    assert (
        err.splitlines()[-1]
        == "snn-delays-evaluate: error: 1 of 2 jobs failed; the others have run."
    )
    assert "run=sweep/0" in out[out.index("failed in") :]


def test_numbers_are_in_their_order():
    assert [path.name for path in in_order(map(Path, ("s/10", "s/9", "s/b", "s/a")))] == [
        "9",
        "10",
        "a",
        "b",
    ]
