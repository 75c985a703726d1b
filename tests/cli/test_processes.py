"""``trainer.devices``: one training by several processes, of which one speaks."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from typed_commands import SHORT, SMALL, Shell

from snn_delays.cli import child
from snn_delays.cli.processes import run_processes

_LONGEST_S = 800
_STEPS = (*SMALL, *SHORT, "model.dropout=0", "trainer.batch_size=25")


def a_process_that(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """In place of a training, at once."""
    begin = "import os, signal, sys, time\nrank = int(os.environ['RANK'])\n"
    monkeypatch.setattr(child, "PROGRAM", begin + textwrap.dedent(program))


def test_the_first_to_fail_ends_all_with_its_message_and_code(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    program = """
        print(f"rank {rank} of {os.environ['WORLD_SIZE']} has {os.environ['OMP_NUM_THREADS']}")
        print("a warning", rank, file=sys.stderr, flush=True)
        if rank == 1:
            print("snn-delays-train: error: no room", file=sys.stderr)
            sys.exit(2)
        time.sleep(100)
    """
    a_process_that(monkeypatch, program)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    began = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        run_processes(2)
    assert ended.value.code == 2
    assert time.monotonic() - began < 60
    out, err = capfd.readouterr()
    assert err.splitlines()[-1] == ("snn-delays-train: error: process 1 of the training: no room")
    assert "a warning 1" not in err
    assert "rank 1" not in out


def test_what_ends_without_a_message_says_what_it_said_last(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    a_process_that(monkeypatch, "if rank: os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(100)")
    with pytest.raises(SystemExit) as ended:
        run_processes(2)
    assert ended.value.code == 128 + signal.SIGKILL
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("snn-delays-train: error: process 1 of the training: ended by SIGKILL")


def test_all_end_well_or_are_told_to_stop_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    a_process_that(monkeypatch, "print('rank', rank)")
    run_processes(3)
    assert capfd.readouterr() == ("rank 0\n", "")
    program = """
        came = []
        signal.signal(signal.SIGTERM, lambda *_: came.append(1))
        if rank == 0:
            time.sleep(1.0)  # so that the other listens as well
            os.kill(os.getppid(), signal.SIGTERM)
        while not came:
            time.sleep(0.01)
        time.sleep(0.5 * rank)
        print(f"stopped {len(came)} times")
        sys.exit(75)
    """
    a_process_that(monkeypatch, program)
    with pytest.raises(SystemExit) as ended:
        run_processes(2)
    assert ended.value.code == 75
    assert capfd.readouterr() == ("stopped 1 times\n", "")


@pytest.mark.slow
def test_two_processes_train_a_run_as_one_does(tmp_path: Path):
    """Its files are those of one process; the network that is saved is that of both."""

    def metrics(run: str) -> list[dict[str, str]]:
        with (tmp_path / run / "metrics.csv").open() as file:
            return list(csv.DictReader(file))

    synced = ("trainer.sync_batch_norm=true", "trainer.epochs=1")
    for run, devices in (("one", 1), ("two", 2)):
        typed = (*_STEPS, *synced, f"run={run}", f"trainer.devices={devices}")
        subprocess.run(
            [sys.executable, "-c", child.PROGRAM, *typed],
            cwd=tmp_path,
            check=True,
            timeout=_LONGEST_S,
            capture_output=True,
        )
    (one,), (two,) = metrics("one"), metrics("two")
    for name, value in one.items():
        if name != "seconds":
            assert float(two[name]) == pytest.approx(float(value), rel=1e-4), name
    files = [{path.name for path in (tmp_path / run).iterdir()} for run in ("one", "two")]
    assert files[0] == files[1]
    assert (tmp_path / "two/train.log").read_text().count("epoch   1/1") <= 1


def test_of_several_runs_none_starts_processes(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    code, out, _ = shell.ends("train", "-m", *_STEPS, "trainer.devices=2", "run=both")
    assert code == 2
    assert "none starts processes of its own" in Path("both/0/error.txt").read_text()
    assert "tasks_per_node=2" in " ".join(out.split())


def test_nodes_are_started_by_others(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    line = shell.fails("train", *_STEPS, "trainer.num_nodes=2", "run=far")
    assert "num_nodes is 2, but 1 of its processes were started. Start them with torchrun" in line
    assert "trainer.devices must be" in shell.fails("train", *_STEPS, "trainer.devices=0")
