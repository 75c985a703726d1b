"""``snn-delays-train run=DIR finetune=quantise``: a run that goes on for a chip."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from typed_commands import Shell, contents

from snn_delays.callbacks import ProgressBar
from snn_delays.callbacks.callback import Training
from snn_delays.cli.runs import load_run
from snn_delays.layers.networks import delay_layers
from snn_delays.run.folder import RunFolder
from snn_delays.table import read_table
from snn_delays.table.chips.profile import FOLDER

FOR_CHIP = "runs/base/for-spinnaker2"
QUICK = ("finetune=quantise", "finetune.epochs=2")


@pytest.fixture
def base(there: Path) -> str:
    """A run to go on from."""
    shutil.copytree("runs/learned", "runs/base")
    return "run=runs/base"


def test_a_fine_tuned_run_is_a_run(there: Path, shell: Shell, base: str):
    before = contents("runs/base")
    shell("train", base, *QUICK, "finetune.scale=neuron")
    tuned = Path("runs/base/quantised-4bit")
    summary = json.loads((tuned / "summary.json").read_text())
    # Delays and weights act as deployed all along.
    assert summary["best"]["test"]["float"] == summary["best"]["test"]["rounded"]
    after = contents("runs/base").items()
    assert {file: content for file, content in after if tuned not in file.parents} == before
    lines = (tuned / "train.log").read_text().splitlines()
    assert lines[0].startswith("data: 96 train, 32 validation")
    assert lines[-1] == f"→ {tuned}"
    out = shell("export", f"run={tuned}")
    assert "as fine-tuned" in out
    stages = json.loads((tuned / "export/report.json").read_text())["stages"]
    assert [stage["name"] for stage in stages] == [
        "as fine-tuned",
        "4-bit weights",
        "simulated from the file",
    ]
    assert [stage["changed"] for stage in stages] == [0, 0, 0]
    assert stages[0]["accuracy"] == summary["best"]["test"]["rounded"]["accuracy"]
    weights = [one.weight for one in read_table(tuned / "export/delays.h5").projections]
    assert {int(weight.max()) for weight in weights} == {7}
    shell("evaluate", f"run={tuned}")


def test_resumed_it_gives_the_same_numbers(
    there: Path, shell: Shell, base: str, monkeypatch: pytest.MonkeyPatch
):
    def stop(bar: ProgressBar, training: Training) -> None:
        raise KeyboardInterrupt

    shell("train", base, *QUICK, "finetune.folder=runs/base/whole")
    with monkeypatch.context() as patch:
        patch.setattr(ProgressBar, "on_epoch", stop)
        with pytest.raises(SystemExit) as stopped:
            shell("train", base, *QUICK, "finetune.folder=runs/base/parts")
    assert stopped.value.code == 130
    shell("train", "run=runs/base/parts", "resume=true")
    whole, parts = (
        [
            row.rpartition(",")[0]
            for row in Path("runs/base", run, "metrics.csv").read_text().splitlines()
        ]
        for run in ("whole", "parts")
    )
    assert len(whole) == 3
    assert parts == whole  # but for the seconds each epoch took
    # Both pages know the trained network, with which fine-tuning began.
    pages = [
        Path("runs/base", run, "report.html").read_text(encoding="utf-8")
        for run in ("whole", "parts")
    ]
    moved = [one.partition('id="delays"')[2].partition("</section>")[0] for one in pages]
    assert moved[0] == moved[1] != ""
    shutil.rmtree("runs/base/checkpoints")
    Path("runs/base/parts/summary.json").unlink()
    Path("runs/base/parts/report.html").unlink()
    assert "no report.html, which needs the network before training" in " ".join(
        shell("train", "run=runs/base/parts", "resume=true").split()
    )
    assert not Path("runs/base/parts/report.html").exists()


def test_for_a_smaller_range_of_delays(there: Path, shell: Shell, base: str):
    shell("train", base, *QUICK, "finetune.chip=spinnaker2")
    tuned, old = (OmegaConf.load(f"{run}/config.yaml") for run in (FOR_CHIP, "runs/base"))
    assert tuned.model == old.model
    chosen = tuned.finetune
    assert (chosen.chip, chosen.bits, chosen.max_delay) == ("spinnaker2", 5, 7)
    _, _, net = load_run(RunFolder(Path(FOR_CHIP)), "best", None)
    assert {layer.max_delay for layer in delay_layers(net)} == {7}
    assert net.tail == 24  # half a kernel of the trained network per layer
    shell("export", f"run={FOR_CHIP}", "chip=spinnaker2", f"folder={FOR_CHIP}/chip")
    report = json.loads(Path(f"{FOR_CHIP}/chip/report.json").read_text())
    assert report["chip"]["clipped_share"] == 0
    (low, high) = zip(
        *(
            (int(one.delay.min()), int(one.delay.max()))
            for one in read_table(f"{FOR_CHIP}/chip/delays.h5").projections
        ),
        strict=True,
    )
    assert min(low) == 1
    assert max(high) == 8
    assert np.isclose(report["chip"]["latency_steps"], 2)


MISTAKES = [
    ("finetune=quantise", "config.yaml not found. Give run=DIR"),
    ("run=runs/base finetune=prune", "no such finetune: prune; choose quantise."),
    ("run=runs/base finetune=quantise model.dropout=0", "got model.dropout=0. Give finetune"),
    ("run=runs/base finetune=quantise finetune.bits=1", "bits must be a whole number from 2"),
    ("run=runs/base finetune=quantise finetune.bits=abc", "to 16, got 'abc'."),
    ("run=runs/base finetune=quantise finetune.bits=4.0", "to 16, got 4.0."),
    ("run=runs/base finetune=quantise finetune.bits=true", "to 16, got True."),
    (
        "run=runs/base finetune=quantise finetune.scale=row",
        "scale must be one of population, neuron",
    ),
    ("run=runs/base finetune=quantise finetune.max_delay=99", "1 to the network's 24, got 99."),
    ("run=runs/base finetune=quantise finetune.max_delay=0", "1 to the network's 24, got 0."),
    ("run=runs/base finetune=quantise finetune.max_delay=abc", "the network's 24, got 'abc'."),
    ("run=runs/base finetune=quantise finetune.max_delay=7.0", "the network's 24, got 7.0."),
    ("run=runs/base finetune=quantise finetune.max_delay=true", "the network's 24, got True."),
    ("run=runs/base finetune=quantise finetune.sigma=-1", "finetune.sigma must be a number >= 0"),
    (
        "run=runs/base finetune=quantise finetune.epochs=0",
        "finetune.epochs must be a whole",
    ),
    (
        "run=runs/base finetune=quantise finetune.checkpoint=first",
        "finetune.checkpoint must be best or last, got 'first'",
    ),
    (
        "run=runs/base finetune=quantise finetune.folder=runs/none",
        "already holds a run. Choose another finetune.folder=DIR",
    ),
    ("run=runs/base finetune=quantise finetune.chip=loihi9", "finetune.chip: chip must be one of"),
    ("run=runs/base finetune=quantise finetune.bit=3", "did you mean finetune.bits?"),
    ("run=runs/base finetune=quantise dataset.root=null", "dataset.root must be a folder"),
    (
        "run=runs/base finetune=quantise finetune.chip=spinnaker2 finetune.bits=8",
        "finetune.bits must be at most 5 for spinnaker2, got 8. Leave finetune.bits out",
    ),
    (
        "run=runs/base finetune=quantise finetune.chip=spinnaker2 finetune.max_delay=8",
        "at most 7 for spinnaker2, whose 1 … 8 steps stand for 0 … 7, got 8. Leave finetune.max",
    ),
    (
        "run=runs/base finetune=quantise finetune.chip=spinnaker1",
        "spinnaker1's must be, with 16 bits. Export the run itself (snn-delays-export run=runs/base"
        " chip=spinnaker1), or leave finetune.chip out.",
    ),
    (
        "run=runs/base finetune=quantise finetune.chip=nest finetune.bits=4",
        "nest computes with floating-point weights, so that there are no bits to train for. Export",
    ),
    (
        "run=runs/none finetune=quantise finetune.max_delay=7",
        "finetune.max_delay is for runs with delays, got 7 for one without. Leave",
    ),
]


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES)
def test_a_mistake_ends_in_one_line(
    there: Path, shell: Shell, base: str, arguments: str, expected: str
):
    given = arguments.split()
    if "run=" not in arguments:
        given.append("run=mistake")
    before = contents("."), set(Path().rglob("*"))
    assert expected in shell.fails("train", *given)
    # No run is begun, none is changed, and no log says that one was.
    assert (contents("."), set(Path().rglob("*"))) == before


def test_a_run_whose_log_is_gone_is_given_none(there: Path, shell: Shell, base: str):
    Path("runs/base/train.log").unlink()
    shell("train", base, "finetune=quantise", "finetune.epochs=1")
    assert not Path("runs/base/train.log").exists()
    assert Path("runs/base/quantised-4bit/train.log").stat().st_size > 0


def test_a_sweep_of_fine_tunings(there: Path, shell: Shell, base: str):
    shell("train", "-m", base, *QUICK, "seed=0,1", "hydra.sweep.dir=sweep")
    found = [OmegaConf.load(path) for path in Path("sweep").rglob("config.yaml")]
    assert sorted(config.seed for config in found) == [0, 1]
    assert {config.finetune.base for config in found} == {str(Path("runs/base").resolve())}
    assert not Path("runs/base/quantised-4bit").exists()


def test_twice_is_refused(there: Path, shell: Shell, base: str):
    shell("train", base, "finetune=quantise", "finetune.epochs=1")
    line = shell.fails("train", "run=runs/base/quantised-4bit", *QUICK)
    assert "is fine-tuned already. Start again from" in line


def profile(path: str, **changes: object) -> str:
    """A user's chip like spinnaker2, at ``path`` but for ``changes`` of its TOML lines."""
    text = (FOLDER / "spinnaker2.toml").read_text(encoding="utf-8")
    for key, value in changes.items():
        line = f"{key} = {json.dumps(value, ensure_ascii=False)}"
        text = re.sub(rf"(?m)^{key} = .*$", line, text, count=1)
    Path(path).write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "folder"),
    [("../../escaped", "for-escaped"), ("My chip 2.1", "for-My-chip-2.1"), ("…/", "for-own")],
)
def test_a_chips_name_stays_inside_the_runs_folder(
    there: Path, shell: Shell, base: str, tmp_path: Path, name: str, folder: str
):
    chip = profile(str(tmp_path / "own.toml"), name=name)
    shell("train", base, "finetune=quantise", "finetune.epochs=1", f"finetune.chip={chip}")
    tuned = Path("runs/base") / folder
    assert OmegaConf.load(tuned / "config.yaml").finetune.chip == name
    assert {path.name for path in there.iterdir()} == {"data", "runs"}


def test_bits_that_nobody_knows_are_asked_for(there: Path, shell: Shell, base: str, tmp_path: Path):
    chip = profile(str(tmp_path / "own.toml"), name="own", bits="unknown")
    line = shell.fails("train", base, *QUICK, f"finetune.chip={chip}")
    assert "unknown how many bits own's weights have. Give finetune.bits" in line
    given = (f"finetune.chip={chip}", "finetune.bits=3", "finetune.epochs=1")
    shell("train", base, "finetune=quantise", *given)
    tuned = OmegaConf.load("runs/base/for-own/config.yaml").finetune
    assert (tuned.bits, tuned.max_delay) == (3, 7)


def test_a_chip_of_one_delay_is_refused(there: Path, shell: Shell, base: str, tmp_path: Path):
    chip = profile(str(tmp_path / "own.toml"), max=1, native_max=1)
    line = shell.fails("train", base, *QUICK, f"finetune.chip={chip}")
    assert "holds one delay only (1 … 1 steps), the run has 0 … 24 steps." in line


def test_a_run_without_delays_is_trained_for_a_chip(there: Path, shell: Shell, tmp_path: Path):
    shell(
        "train", "run=runs/none", *QUICK, "finetune.chip=spinnaker2", f"finetune.folder={tmp_path}"
    )
    config = OmegaConf.load(tmp_path / "config.yaml")
    assert config.model.delays == "none"
    assert (config.finetune.bits, config.finetune.max_delay) == (5, None)
    shell("export", f"run={tmp_path}", "chip=spinnaker2")
    projections = read_table(tmp_path / "export/delays.h5").projections
    assert {int(delay) for one in projections for delay in one.delay} == {1}


def test_it_goes_on_with_a_run(there: Path, shell: Shell):
    line = shell.fails("train", "finetune=quantise")
    assert line.endswith("finetune=quantise goes on with a trained run: give run=DIR.")


CHIPS = [
    ({"leak": "linear"}, "(share of v kept per step); the chip takes a constant away"),
    ({"resets": ["soft"]}, "cannot take this network: population hidden0: reset is hard;"),
    ({"granularity": "none"}, "own has no delays, and "),
    ({"dt_ms": 1}, "cannot take this data: time: a step is 10 ms, the chip's is fixed to 1"),
    ({"granularity": "axon"}, "own has one delay per axon, and "),
]


@pytest.mark.parametrize(("changes", "expected"), CHIPS)
def test_a_chip_that_no_training_fits_to(
    there: Path, shell: Shell, base: str, tmp_path: Path, changes: dict, expected: str
):
    chip = profile(str(tmp_path / "own.toml"), name="own", **changes)
    assert expected in shell.fails("train", base, *QUICK, f"finetune.chip={chip}")


def test_data_that_have_moved_are_found(
    there: Path, shell: Shell, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    (there / "data").rename(tmp_path / "moved")
    shell("train", base, *QUICK, "dataset.root='~/moved'", "seed=1")
    assert not (there / "data").exists()
    config = OmegaConf.load("runs/base/quantised-4bit/config.yaml")
    assert (config.dataset.root, config.seed) == (str(tmp_path / "moved"), 1)
    shell("evaluate", "run=runs/base/quantised-4bit")
