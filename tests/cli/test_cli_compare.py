"""``snn-delays-compare``: what it trains and leaves alone, what it computes, what it says."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typed_commands import SHORT, SMALL, Shell

from snn_delays.cli import child, trainings
from snn_delays.cli.compare import compare

NAMES = ("tiny_none", "tiny_learned")
TYPED = (
    *("--config-dir", "recipes", "seeds=[0,1]", "folder=out"),
    *(one for one in (*SMALL, *SHORT) if not one.startswith("model.hidden")),
)
RECIPE = "# @package _global_\nmodel: {{hidden: [8], delays: {}, max_delay: 12}}\n"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two recipes and two seeds of each, trained and compared by the command."""
    folder = tmp_path_factory.mktemp("compared")
    (folder / "recipes/experiment").mkdir(parents=True)
    for name in NAMES:
        text = RECIPE.format(name.removeprefix("tiny_"))
        (folder / f"recipes/experiment/{name}.yaml").write_text(text)
    (folder / "recipes/experiment/tiny_bad.yaml").write_text(RECIPE.format("sometimes"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("HYDRA_FULL_ERROR", raising=False)
        typed = [*TYPED, f"experiments=[{','.join(NAMES)}]"]
        patch.setattr(sys, "argv", ["snn-delays-compare", *typed])
        compare()
    return folder


@pytest.fixture
def here(compared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that this test alone works in."""
    folder = tmp_path / "here"
    shutil.copytree(compared, folder)
    monkeypatch.chdir(folder)
    return folder


@dataclass
class Summary:
    """The numbers of a run, as its summary.json has them."""

    content: dict[str, Any]

    @classmethod
    def of(cls, run: str | Path) -> Summary:
        return cls(json.loads(Path(run, "summary.json").read_text()))

    def accuracy(self, kind: str) -> float:
        return self.content["last"]["test"][kind]["accuracy"]


def change(run: str, make: Callable[[dict[str, Any]], Any]) -> None:
    summary = Summary.of(run).content
    make(summary)
    Path(run, "summary.json").write_text(json.dumps(summary))


def lines_of(path: str | Path) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(path).read_text(encoding="utf-8").splitlines()))


def rows(folder: str = "out") -> dict[str, dict[str, str]]:
    found = lines_of(f"{folder}/comparison.csv")
    assert len({(row["test_set"], row["setting"]) for row in found}) == len(found)
    return {row["setting"]: row for row in found}


def said(text: str) -> str:
    """What a table says, whatever its lines and frames."""
    return " ".join(text.replace("│", " ").split())


def test_mean_and_deviation_are_those_of_the_summaries(compared: Path):
    found = rows(str(compared / "out"))
    assert list(found) == list(NAMES)  # as typed
    for name in NAMES:
        runs = [Summary.of(compared / "out" / name / seed) for seed in "01"]
        row = found[name]
        assert (row["n"], row["runs_asked"], row["seeds"], row["epochs"]) == ("2", "2", "0 1", "2")
        before, after = (
            np.array([one.accuracy(of) for one in runs]) for of in ("float", "rounded")
        )
        expected = {
            "test_float": before,
            "test_rounded": after,
            "rounding_loss": before - after,  # seed by seed
            "parameters": np.array([one.content["parameters"] for one in runs]),
            "synapses": np.array([one.content["exported_synapses"]["last"] for one in runs]),
            "seconds_per_epoch": np.array([one.content["seconds_per_epoch"] for one in runs]),
        }
        for measure, values in expected.items():
            assert float(row[f"{measure}_mean"]) == pytest.approx(values.mean(), abs=1e-12)
            assert float(row[f"{measure}_std"]) == pytest.approx(values.std(ddof=1), abs=1e-12)
        assert row["unseen_speakers_mean"] == row["unseen_speakers_std"] == ""
        text = f"{100 * after.mean():.1f} ± {100 * after.std(ddof=1):.1f}"
        assert f"| {text} |" in (compared / "out/comparison.md").read_text()
    assert (compared / "out/comparison.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_says_how_long_an_epoch_takes_and_what_it_exports(compared: Path):
    run = compared / "out/tiny_learned/0"
    content = Summary.of(run).content
    seconds = [float(row["seconds"]) for row in lines_of(run / "metrics.csv")]
    assert content["seconds_per_epoch"] == pytest.approx(np.median(seconds))
    assert content["exported_synapses"] == {"last": 12 * 8 + 8 * 8, "best": 12 * 8 + 8 * 8}
    assert content["test_set"]["samples"] == 32


def test_what_is_finished_stays_what_was_interrupted_goes_on_what_fails_is_told(
    here: Path, shell: Shell
):
    stopped = Path("out/tiny_none/1")
    before = Summary.of(stopped).content
    (stopped / "summary.json").unlink()
    (stopped / "checkpoints/previous.ckpt").replace(stopped / "checkpoints/last.ckpt")
    finished = [Path("out/tiny_none/0"), *Path("out/tiny_learned").iterdir()]
    kept = [file for run in finished for file in run.rglob("*") if file.is_file()]
    times = {file: file.stat().st_mtime_ns for file in kept}
    code, out, err = shell.ends("compare", *TYPED, "experiments=[tiny_none,tiny_bad,tiny_learned]")
    assert code == 2
    assert err.splitlines()[-1].endswith("error: 2 of 6 runs are not in the table; it says why.")
    assert {file: file.stat().st_mtime_ns for file in kept} == times
    assert Summary.of(stopped).content["last"] == before["last"]
    assert "[2/6] out/tiny_none/1: going on" in out
    assert out.count("finished before") == 3
    found = rows()
    assert list(found) == ["tiny_none", "tiny_bad", "tiny_learned"]
    assert (found["tiny_bad"]["n"], found["tiny_bad"]["runs_asked"]) == ("0", "2")
    assert found["tiny_bad"]["test_rounded_mean"] == ""
    assert found["tiny_none"]["n"] == "2"
    reason = "model.delays must be one of learned, fixed, none, got 'sometimes'."
    table = said(out[out.index("not in the tables") :])
    assert f"out/tiny_bad/0 out/tiny_bad/0 holds no run, since it failed: {reason}" in table
    assert f"out/tiny_bad/1 holds no run, since it failed: {reason}" in table
    assert Path("out/comparison.md").read_text().count(reason) == 2


def test_runs_that_are_there_are_read_and_named_by_what_differs(here: Path, shell: Shell):
    out = shell("compare", "runs=[out]", "folder=read")
    assert "tiny_learned" in out
    typed, read = rows("out"), rows("read")
    assert read == typed | read
    assert read["tiny_none"] == typed["tiny_none"]
    for run in Path("out").glob("*/*"):
        run.joinpath("overrides.txt").unlink()  # what was typed is not known
    shell("compare", "runs=[out/tiny_none/0,out/tiny_none/1,out/tiny_learned]", "folder=again")
    assert {"model.delays=none", "model.delays=learned"} == set(rows("again"))
    shell("compare", "runs=out/tiny_none", "folder=one")
    assert rows("one")["all settings alike"]["n"] == "2"
    config = Path("out/tiny_none/1/config.yaml")
    said_so = config.read_text("utf-8")
    assert "dt_ms: 10.0\n" in said_so
    config.write_text(said_so.replace("dt_ms: 10.0\n", "dt_ms: 10\n"), "utf-8")
    shell("compare", "runs=out/tiny_none", "folder=alike")
    assert rows("alike")["all settings alike"]["n"] == "2"


def test_nothing_is_left_out_without_a_line(here: Path, shell: Shell):
    shutil.copytree("out/tiny_none/0", "out/twice")
    Path("out/tiny_none/1/summary.json").write_text("{")
    Path("out/tiny_learned/0/summary.json").unlink()
    Path("out/tiny_learned/1/config.yaml").write_text("- no\n- run")
    shutil.copytree("out/tiny_none/0", "out/wrong")
    change("out/wrong", lambda one: one.update(seed=7) or one["last"]["test"].pop("float"))
    shutil.copytree("out/tiny_none/0", "out/nan")
    change("out/nan", lambda one: one.update(seed=8, parameters=float("nan")))
    code, out, err = shell.ends("compare", "runs=out", "folder=read")
    assert code == 2
    assert "error: 6 of 7 runs are not in the table; it says why." in err
    table = said(out[out.index("not in the tables") :])
    for line in (
        "out/twice has the settings and the seed of out/tiny_none/0, which counts once. Leave it",
        "out/tiny_none/1/summary.json is not readable as JSON",
        "out/tiny_learned/0 has not ended: 2 of 2 epochs. Go on with it: snn-delays-train run=out",
        "out/tiny_learned/1/config.yaml is not the configuration of a run",
        "summary.json: last.test.float.accuracy is missing. Write it anew: snn-delays-train run=",
        "out/nan/summary.json: parameters must be a number >= 0, got nan. Write it anew:",
    ):
        assert line in table
    found = rows("read")
    assert (found["tiny_none"]["n"], found["tiny_none"]["runs_asked"]) == ("1", "5")
    assert found["tiny_none"]["test_rounded_std"] == ""
    assert (found["tiny_learned"]["n"], found["tiny_learned"]["runs_asked"]) == ("0", "2")


def test_other_test_sets_stand_apart_and_other_epochs_are_told(here: Path, shell: Shell):
    shutil.copytree("out/tiny_none", "other")
    for seed in "01":
        change(f"other/{seed}", lambda one: one["test_set"].update(sha256="1234" * 16))
    change("out/tiny_learned/1", lambda one: one.update(epochs=9))
    out = shell("compare", "runs=[out,other]", "folder=read")
    assert "2 test sets, whose accuracies say nothing about each other: a table each." in out
    found = lines_of("read/comparison.csv")
    first = Summary.of("out/tiny_none/0").content["test_set"]["sha256"][:8]
    titles = [f"synthetic, 32 test samples ({one})" for one in (first, "12341234")]
    assert [row["test_set"] for row in found] == [titles[0], titles[0], titles[1]]
    assert f"{titles[0]}: not all have the same epochs: tiny_learned: 2 9; tiny_none: 2." in out


def test_a_configuration_that_names_code_is_read_as_data(here: Path, shell: Shell):
    for run in Path("out").glob("*/*"):
        path = run / "config.yaml"
        text = path.read_text().replace("snn_delays.cli.model.delay_snn", "os.abort")
        path.write_text(text.replace("jitter: 0.3", "jitter: ${oc.env:HOME}"))
    shell("compare", "runs=out", "folder=read")
    assert "tiny_none" in rows("read")


WRONG = [
    (("seeds=[0]",), "give either experiments=[…], which are trained, or runs=[DIR,…]"),
    (("experiments=[tiny_none]", "runs=out"), "give either experiments=[…], which are trained"),
    (("experiments=[tiny_non]",), "no such experiment: tiny_non; choose audio_dcls,"),
    (("experiments=[tiny_none,tiny_none]",), "experiments must be different ones, got tiny_none"),
    (("experiments=[]",), "experiments must be a list such as [shd_none,shd_fixed], got none."),
    (("experiments=[tiny_none]", "seeds=[1,1]"), "seeds must be different ones, got 1 twice."),
    (("experiments=[tiny_none]", "seeds=[-1]"), "seeds must be a whole number >= 0, got -1."),
    (("experiments=[tiny_none]", "trainer.epoch=3"), "did you mean trainer.epochs?"),
    (("experiments=[tiny_none]", "seed=3"), "seed is not for snn-delays-compare, got seed=3: use"),
    (("experiments=[tiny_none]", "run=x"), "run is not for snn-delays-compare, got run=x: use fol"),
    (("experiments=[tiny_none]", "folder=out"), "out/tiny_none/0 holds a run with other settings"),
    (("experiments=[tiny_none,gsc_mini]",), "experiments must be of one data set to be compared"),
    (("runs=none",), "runs: none is no folder. Give folders that hold runs."),
    (("runs=recipes",), "runs: recipes holds no run. Give folders that hold runs."),
    (("runs=out", "trainer.epochs=3"), "runs=… are read as they are, got trainer.epochs=3. Leave"),
    (("runs=out", "seeds=[1]"), "runs=… are read as they are, got seeds=[1]. Leave that out"),
]


@pytest.mark.parametrize(("typed", "expected"), WRONG, ids=lambda given: " ".join(given))
def test_a_mistake_is_one_line_and_nothing_happens(
    compared: Path,
    monkeypatch: pytest.MonkeyPatch,
    shell: Shell,
    typed: tuple[str, ...],
    expected: str,
):
    monkeypatch.chdir(compared)
    before = set(compared.rglob("*"))
    assert expected in shell.fails("compare", "--config-dir", "recipes", *typed)
    assert set(compared.rglob("*")) == before


def test_settings_that_differ_are_named(here: Path, shell: Shell):
    typed = [one for one in TYPED if not one.startswith("trainer.epochs")]
    line = shell.fails("compare", *typed, "experiments=[tiny_none]", "trainer.epochs=5")
    assert "out/tiny_none/0 holds a run with other settings: trainer.epochs was 2, now 5." in line
    moved = [one.replace("root=data", "root=elsewhere") for one in TYPED]
    out = shell("compare", *moved, "experiments=[tiny_none,tiny_learned]")
    assert out.count("finished before") == 4  # where the data lie now is no part of a run


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended by SIGKILL: was there"),
        ("import sys; sys.exit(3)", "ended with exit code 3"),
        ("raise RuntimeError('no\\nmore')", "more"),
        ("import os; assert 'HYDRA_FULL_ERROR' not in os.environ", None),
    ],
)
def test_however_a_training_ends_it_is_one_line(
    monkeypatch: pytest.MonkeyPatch, program: str, expected: str | None
):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(child, "PROGRAM", program)
    found = trainings._run(["experiment=none"])
    assert found == expected or (expected is not None and found and found.startswith(expected))
