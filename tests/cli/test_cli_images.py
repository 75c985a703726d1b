"""Networks for images from the command line, at tiny size."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typed_commands import Shell

pytest.importorskip("sklearn")
TINY = (
    *("model.widths=[4,6]", "model.depths=[1,1]", "dataset.size=8", "dataset.test_fraction=0.4"),
    *("dataset.valid_fraction=0.3", "trainer.batch_size=64", "trainer.accelerator=cpu"),
)


@pytest.mark.parametrize("style", ["convnext", "resnet"])
def test_a_run_from_training_to_a_table(
    style: str, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    typed = (*TINY, f"model={style}", "trainer.epochs=2", "model.extent=5")
    shell("train", "experiment=digits_dcls", "run=runs/one", *typed)
    assert (tmp_path / "runs/one/positions.png").exists()
    assert not (tmp_path / "runs/one/delays.png").exists()
    page = (tmp_path / "runs/one/report.html").read_text(encoding="utf-8")
    assert 'alt="Maps of where elements stand.' in page
    assert 'id="delays"' not in page
    summary = json.loads((tmp_path / "runs/one/summary.json").read_text())
    assert summary["metric"] == "accuracy"
    assert 0.09 < summary["chance"] < 0.12
    out = shell("evaluate", "run=runs/one")
    assert "differs from its summary" not in out
    assert "a network for images has no spikes" in shell.fails("export", "run=runs/one")
    assert "plot shows how one answer grows" in shell.fails(
        "evaluate", "run=runs/one", "plot=a.png"
    )
    assert "reads no folder. Leave root out" in shell.fails("evaluate", "run=runs/one", "root=runs")
    given = ("augmentation.time_mask=3", "run=runs/two")
    refused = shell.fails("train", "experiment=digits_dcls", *typed, *given)
    assert "augmentation: time_mask is for input [T, N, C], got images" in refused
    shell(
        *("compare", "experiments=[digits_standard,digits_dcls]", "seeds=[0]", "folder=both"),
        *typed,
    )
    table = (tmp_path / "both/comparison.md").read_text()
    assert "Test accuracy after the last epoch" in table
    assert f"chance: {100 * summary['chance']:.1f} %" in table


def test_a_run_goes_on_to_the_same_numbers(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    typed = ("experiment=digits_dcls", *TINY, "trainer.epochs=3")
    shell("train", *typed, "run=whole")
    shell("train", *typed, "run=cut")
    for one in ("summary.json", "checkpoints/last.ckpt"):  # as if stopped in its last epoch
        (tmp_path / "cut" / one).unlink()
    shell("train", "run=cut", "resume=true")

    def rows(run: str) -> list[dict[str, str]]:
        with (tmp_path / run / "metrics.csv").open() as file:
            return [{**row, "seconds": ""} for row in csv.DictReader(file)]

    assert rows("whole") == rows("cut")
    assert len(rows("cut")) == 3
