"""What a run saves survives a killed process and says so when it is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from snn_delays.callbacks import MetricsCsv
from snn_delays.callbacks.callback import Training
from snn_delays.errors import UsageError
from snn_delays.files.atomic import replacing
from snn_delays.run.folder import RunFolder

STATE = {"network": {"weight": torch.arange(6.0), "_extra_state": {"sigma": 0.5}}, "epoch": 3}


def test_a_checkpoint_comes_back(tmp_path: Path):
    run = RunFolder(tmp_path)
    run.save_checkpoint("last", STATE)
    loaded = run.load_checkpoint("last")
    assert torch.equal(loaded["network"]["weight"], STATE["network"]["weight"])
    assert loaded["network"]["_extra_state"] == {"sigma": 0.5}
    assert loaded["epoch"] == 3


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("old")

    def killed() -> None:
        with replacing(path) as unfinished:
            unfinished.write_text("half of the n")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        killed()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "checkpoints").write_text("a file where a folder should be")
    with pytest.raises(UsageError, match="cannot write .*last.ckpt"):
        RunFolder(tmp_path).save_checkpoint("last", STATE)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_checkpoint_is_one_clear_line(tmp_path: Path, share: float):
    run = RunFolder(tmp_path)
    run.save_checkpoint("best", STATE)
    content = run.checkpoint("best").read_bytes()
    run.checkpoint("best").write_bytes(content[: int(share * len(content))])
    with pytest.raises(UsageError, match="damaged or not a checkpoint") as refused:
        run.load_checkpoint("best")
    assert "\n" not in str(refused.value)
    assert "best.ckpt" in str(refused.value)


def test_whatever_bit_of_a_checkpoint_flips_it_is_refused_or_loads_the_same(tmp_path: Path):
    run = RunFolder(tmp_path)
    run.save_checkpoint("best", STATE)
    content = run.checkpoint("best").read_bytes()
    refused = 0
    for at in range(0, len(content), 5):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 8
        run.checkpoint("best").write_bytes(flipped)
        try:
            loaded = run.load_checkpoint("best")
        except UsageError:
            refused += 1
            continue
        assert torch.equal(loaded["network"].pop("weight"), STATE["network"]["weight"])
        assert loaded == {"network": {"_extra_state": {"sigma": 0.5}}, "epoch": 3}
    assert refused > len(content) / 5 / 2


def test_of_last_the_one_before_is_kept(tmp_path: Path):
    run = RunFolder(tmp_path)
    for epoch in range(3):
        run.save_checkpoint("last", {"epoch": epoch})
        run.save_checkpoint("best", {"epoch": epoch})
    found = {name: run.load_checkpoint(name)["epoch"] for name in ("last", "previous", "best")}
    assert found == {"last": 2, "previous": 1, "best": 2}
    assert len(list(run.checkpoint("last").parent.iterdir())) == 3


def test_a_pickle_that_could_run_code_is_refused(tmp_path: Path):
    run = RunFolder(tmp_path)
    run.checkpoint("best").parent.mkdir()
    torch.save({"network": Path("a class of its own")}, run.checkpoint("best"))
    with pytest.raises(UsageError, match="damaged or not a checkpoint"):
        run.load_checkpoint("best")


def test_metrics_and_summary_are_plain_files(tmp_path: Path):
    run = RunFolder(tmp_path)
    rows = [{"epoch": 0, "loss": 0.1 + 0.2}, {"epoch": 1, "loss": 1e-30}]
    MetricsCsv(run.metrics).on_epoch(Training(torch.nn.Identity(), 2, {}, [], rows))
    assert run.metrics.read_text() == "epoch,loss\n0,0.30000000000000004\n1,1e-30\n"
    run.save_summary({"accuracy": 0.5})
    assert json.loads(run.summary.read_text()) == run.load_summary() == {"accuracy": 0.5}


def test_an_unfinished_or_damaged_summary_is_said(tmp_path: Path):
    run = RunFolder(tmp_path)
    with pytest.raises(UsageError, match="resume=true"):
        run.load_summary()
    run.summary.write_text("{")
    with pytest.raises(UsageError, match="not readable as JSON"):
        run.load_summary()
