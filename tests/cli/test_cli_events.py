"""Recordings of an event camera, from files to a table: which way does it move?"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.recfunctions import unstructured_to_structured
from typed_commands import Shell

KIND = np.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "i1")])
SIZE = 10


def draw_recordings(root: Path) -> None:
    """Edges that move left or right: of one moment a class says nothing."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 120), ("test", 40)):
        for index in range(n):
            right = index % 2
            start, speed = rng.integers(0, SIZE), rng.integers(3, 5)
            steps = np.arange(30)
            x = (start + (steps // speed) * (1 if right else -1)) % SIZE
            columns = [np.repeat(one, 3) for one in (steps * 5000 + 1000, x)]
            columns += [rng.integers(0, SIZE, 90), np.tile([0, 1, 1], 30)]
            folder = root / part / ("right" if right else "left")
            folder.mkdir(parents=True, exist_ok=True)
            events = unstructured_to_structured(np.stack(columns, 1), KIND)
            np.save(folder / f"{index:03}.npy", events)


def test_from_events_to_a_table(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_recordings(tmp_path / "events")
    typed = ["experiment=events_conv", "dataset.root=events", f"dataset.frame=[2,{SIZE},{SIZE}]"]
    typed += ["model.widths=[8,8]", "model.max_delays=[8,8]", "model.strides=[1,2]"]
    typed += ["model.last_max_delay=0", "model.dropout=0.0", "trainer.accelerator=cpu"]
    typed += ["trainer.epochs=12", "trainer.batch_size=16", "trainer.weight_lr=0.01"]
    out = shell("train", *typed, "run=motion")
    assert "2 channels of 10 × 10" in out
    summary = json.loads((tmp_path / "motion" / "summary.json").read_text())
    assert summary["last"]["test"]["float"]["accuracy"] > 0.8
    assert (tmp_path / "motion" / "delays.png").stat().st_size > 1000
    told = shell("export", "run=motion")
    found = re.search(r"network's: (\d+) of ([\d,]+) differ", told)
    assert found is not None
    assert found[1] == "0"
    assert int(found[2].replace(",", "")) > 1000
    typed = ["dataset=events", "dataset.root=events", "dataset.dt_ms=5"]
    typed.append(f"dataset.frame=[2,{SIZE},{SIZE}]")
    assert "10 × 10" in shell("prepare", *typed)
    table = f"table={next((tmp_path / 'motion').rglob('delays.h5'))}"
    assert "accuracy" in shell("simulate", table, *typed)
