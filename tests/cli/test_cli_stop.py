"""A signal stops a training, a sweep and a comparison, and all say how to go on."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from small_runs import require_same_files
from typed_commands import SHORT, SMALL, Shell

from snn_delays import callbacks
from snn_delays.callbacks.callback import Training
from snn_delays.callbacks.stopping import Stopped
from snn_delays.cli import child, trainings
from snn_delays.run.folder import RunFolder


def send_at(monkeypatch: pytest.MonkeyPatch, epoch: int, batch: int) -> None:
    """SIGTERM for this process in that batch."""

    def on_batch_start(self: Any, training: Training) -> None:
        if (training.epoch, training.batch) == (epoch, batch):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(callbacks.MetricsCsv, "on_batch_start", on_batch_start)


def test_a_stopped_run_goes_on_to_the_same_bits(
    there: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    """Also with another setting of what is no part of a run; what is one is refused."""
    with monkeypatch.context() as patch:
        send_at(patch, 2, 2)
        code, out, err = shell.ends("train", *SMALL, *SHORT, "run=runs/stopped")
    assert code == 75
    assert err.splitlines()[-1] == "snn-delays-train: stopped by SIGTERM"
    folder = Path("runs/stopped").absolute()
    saved = f"{folder}/checkpoints/within.ckpt, in epoch 2 after batch 2."
    assert f"Stopped by SIGTERM. Saved: {saved}" in out
    assert f"Go on with: snn-delays-train run={folder} resume=true" in out
    typed = ("run=runs/stopped", "resume=true")
    assert "Leave that out" in shell.fails("train", *typed, "trainer.clip_norm=1")
    assert "on_nan must be one of stop, skip" in shell.fails("train", *typed, "trainer.on_nan=no")
    shell("train", *typed, "trainer.on_nan=skip", "trainer.checkpoint_minutes=1e-6")
    require_same_files(Path("runs/learned"), folder)
    assert (folder / "summary.json").exists()
    assert not RunFolder(folder).checkpoint("within").exists()


def test_minutes_must_be_some(there: Path, shell: Shell):
    line = shell.fails("train", *SMALL, *SHORT, "run=new", "trainer.checkpoint_minutes=0")
    assert "trainer.checkpoint_minutes must be a number of minutes > 0, got 0." in line
    assert not Path("new").exists()


def test_a_sweep_begins_no_other_run(there: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch):
    send_at(monkeypatch, 1, 1)
    code, out, _ = shell.ends("train", "-m", *SMALL, *SHORT, "seed=0,1", "run=several")
    assert code == 75
    assert "several/0 resume=true" in out
    assert "No other run (-m) is begun" in out
    assert not Path("several/1").exists()


@pytest.mark.parametrize("by", ["SIGTERM", "SIGINT"])
def test_a_comparison_passes_a_signal_on_and_waits(monkeypatch: pytest.MonkeyPatch, by: str):
    """The training, which was sent the signal as well, does not take it for a second one."""
    program = (
        "import os, signal, sys, time\n"
        "signal.alarm(30)\n"
        "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))\n"
        f"os.kill(os.getppid(), signal.{by})\n"
        "time.sleep(30)"
    )
    monkeypatch.setattr(child, "PROGRAM", program)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped) as stopped:
        trainings._run([])
    assert stopped.value.by == by
    assert stopped.value.code == 75
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_comparison_stops_where_a_training_was_stopped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(child, "PROGRAM", "import sys; sys.exit(75)")
    with pytest.raises(Stopped):
        trainings._run([])
