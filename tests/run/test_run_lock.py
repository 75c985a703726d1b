"""One process trains in a run's folder; a second is refused, a dead one's place is taken."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import small_runs
import torch
from small_runs import Silent, network, run

from snn_delays.callbacks.callback import Training
from snn_delays.data import SpikeData
from snn_delays.errors import UsageError
from snn_delays.run.folder import RunFolder
from snn_delays.run.lock import training_in

data = small_runs.data
_HOLDS = (
    "import sys; from pathlib import Path; from snn_delays.run.lock import training_in\n"
    "with training_in(Path(sys.argv[1])):\n"
    "    print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds ``tmp_path / "run"``, where a run has ended its first epochs."""
    (tmp_path / "run").mkdir(exist_ok=True)
    command = [sys.executable, "-c", _HOLDS, str(tmp_path / "run")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_until_the_first_is_dead(
    tmp_path: Path, other: subprocess.Popen[str], caplog: pytest.LogCaptureFixture
):
    folder = tmp_path / "run"
    named = f"process {other.pid} on {socket.gethostname()}"
    waiting = pytest.raises(UsageError, match=f"is being trained by {named}. Wait")
    with waiting as refused, training_in(folder):
        pass
    assert "\n" not in str(refused.value)
    other.kill()
    other.wait(10)
    caplog.set_level(logging.WARNING)
    with training_in(folder):
        assert f"taken over from {named}, which did not end it." in caplog.text
        assert str(os.getpid()) in (folder / ".training.json").read_text()
    assert not (folder / ".training.json").exists()


def test_a_run_is_resumed_by_one_process_alone_and_read_by_all(data: SpikeData, tmp_path: Path):
    folder, tried = tmp_path / "run", []

    class Second(Silent):
        def on_epoch(self, training: Training) -> None:
            super().on_epoch(training)
            with pytest.raises(UsageError, match=f"trained by process {os.getpid()} on"):
                run(network(data), data, folder, resume=True)
            saved = RunFolder(folder).load_checkpoint("last")
            tried.append(len(saved["rows"]))
            assert all(
                torch.equal(value, training.net.state_dict()[name])
                for name, value in saved["network"].items()
                if isinstance(value, torch.Tensor)
            )

    run(network(data), data, folder, Second())
    assert tried == [1, 2, 3, 4]
    run(network(data), data, folder, resume=True)  # and is free afterwards
