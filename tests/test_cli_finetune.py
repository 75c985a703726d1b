"""``snn-delays-train run=DIR finetune=quantise``: a run that goes on for a chip."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from typed_commands import Shell

from snn_delays import console
from snn_delays.checkpoint import Row
from snn_delays.export import read_table

FOR_CHIP = "runs/base/for-spinnaker2"
QUICK = ("finetune=quantise", "finetune.epochs=2")


@pytest.fixture
def base(there: Path) -> str:
    """A run to go on from, which other tests do not share."""
    shutil.copytree("runs/learned", "runs/base", dirs_exist_ok=True)
    for tuned in ("runs/base/quantised-4bit", FOR_CHIP):
        shutil.rmtree(tuned, ignore_errors=True)
    return "run=runs/base"


def test_a_fine_tuned_run_is_a_run(there: Path, shell: Shell, base: str):
    before = {file: file.read_bytes() for file in Path("runs/base").rglob("*.ckpt")}
    shell("train", base, *QUICK, "finetune.scale=neuron")
    tuned = Path("runs/base/quantised-4bit")
    summary = json.loads((tuned / "summary.json").read_text())
    # Delays and weights act as deployed all along.
    assert summary["best"]["test"]["float"] == summary["best"]["test"]["rounded"]
    assert all(file.read_bytes() == content for file, content in before.items())
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
    weights = [layer.synapses.weight for layer in read_table(tuned / "export/delays.h5").layers]
    assert {int(weight.max()) for weight in weights} == {7}
    shell("evaluate", f"run={tuned}")


def test_resumed_it_gives_the_same_numbers(
    there: Path, shell: Shell, base: str, monkeypatch: pytest.MonkeyPatch
):
    def stop(view: console.TrainingView, row: Row) -> None:
        raise KeyboardInterrupt

    shell("train", base, *QUICK, "finetune.folder=whole")
    with monkeypatch.context() as patch:
        patch.setattr(console.TrainingView, "epoch", stop)
        with pytest.raises(SystemExit) as stopped:
            shell("train", base, *QUICK, "finetune.folder=parts")
    assert stopped.value.code == 130
    shell("train", "run=parts", "resume=true")
    whole, parts = (
        [row.rpartition(",")[0] for row in Path(run, "metrics.csv").read_text().splitlines()]
        for run in ("whole", "parts")
    )
    assert len(whole) == 3
    assert parts == whole  # but for the seconds each epoch took


def test_for_a_smaller_range_of_delays(there: Path, shell: Shell, base: str):
    shell("train", base, *QUICK, "finetune.chip=spinnaker2")
    model, old = (OmegaConf.load(f"{run}/config.yaml").model for run in (FOR_CHIP, "runs/base"))
    assert (model.max_delay, old.max_delay) == (7, 24)
    assert OmegaConf.load(f"{FOR_CHIP}/config.yaml").finetune.bits == 5
    assert model.tail == 24  # half a kernel of the trained network per layer
    shell("export", f"run={FOR_CHIP}", "chip=spinnaker2", "folder=chip")
    report = json.loads(Path("chip/report.json").read_text())
    assert report["chip"]["clipped_share"] == 0
    (low, high) = zip(
        *(
            (int(layer.synapses.delay.min()), int(layer.synapses.delay.max()))
            for layer in read_table("chip/delays.h5").layers
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
    ("run=runs/base finetune=quantise finetune.scale=row", "scale must be one of layer, neuron"),
    ("run=runs/base finetune=quantise finetune.max_delay=99", "max_delay must be from 1 to"),
    ("run=runs/base finetune=quantise finetune.sigma=-1", "finetune.sigma must be a number >= 0"),
    ("run=runs/base finetune=quantise finetune.epochs=0", "trainer.epochs must be a whole"),
    ("run=runs/base finetune=quantise finetune.checkpoint=first", "best or last, got 'first'"),
    ("run=runs/base finetune=quantise finetune.folder=runs/none", "already holds a run"),
    ("run=runs/base finetune=quantise finetune.bit=3", "did you mean finetune.bits?"),
]


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES)
def test_a_mistake_ends_in_one_line(
    there: Path, shell: Shell, base: str, arguments: str, expected: str
):
    given = arguments.split()
    if "run=" not in arguments:
        given.append("run=mistake")
    assert expected in shell.fails("train", *given)


def test_twice_is_refused(there: Path, shell: Shell, base: str):
    shell("train", base, "finetune=quantise", "finetune.epochs=1")
    line = shell.fails("train", "run=runs/base/quantised-4bit", *QUICK)
    assert "is fine-tuned already. Start again from" in line
