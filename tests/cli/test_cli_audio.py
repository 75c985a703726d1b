"""Sounds of several classes each from the command line, at tiny size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typed_commands import Shell


def test_tagging_from_files_to_a_score(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = ["file,labels"]
    for number in range(24):
        soundfile.write(f"{number}.wav", 0.1 * rng.standard_normal(4000), 8000)
        rows.append(f"{number}.wav," + ("low", '"low,high"', "high")[number % 3])
    Path("list.csv").write_text("\n".join(rows))
    typed = (
        *("experiment=audio_dcls", "dataset.root=.", "dataset.listing=list.csv", "run=one"),
        *("dataset.seconds=0.5", "dataset.rate=8000", "dataset.n_fft=256", "dataset.hop=160"),
        *("dataset.n_mels=16", "dataset.fmax=4000", "dataset.valid_fraction=0.3"),
        *("dataset.test_fraction=0.3", "model.widths=[4,6]", "model.depths=[1,1]"),
        *("model.extent=5", "trainer.epochs=2", "trainer.batch_size=4", "trainer.accelerator=cpu"),
    )
    out = shell("train", *typed, "augmentation=audio")
    assert "1 channel of 26 × 16, 2 classes" in out
    summary = json.loads((tmp_path / "one/summary.json").read_text())
    assert summary["metric"] == "mAP"
    assert 0.5 < summary["chance"] < 0.9
    assert "mixup: 0.5" in Path("one/config.yaml").read_text()
    assert "differs from its summary" not in shell("evaluate", "run=one")
    refused = shell.fails("train", *typed[:3], *typed[4:], "augmentation=standard", "run=two")
    assert "are for input [T, N, C], got images" in refused
    spikes = ("dataset=synthetic", "trainer.epochs=1", "augmentation=audio", "run=three")
    assert "are for sounds [1, N, C, frames, bands], got input" in shell.fails("train", *spikes)
