"""The command lines, as a user types them: fixtures for the tests of each."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from snn_delays import cli, cli_export

SMALL = ("dataset.root=data", "dataset.n_train=96", "dataset.n_valid=32", "dataset.n_test=32")
SHORT = ("trainer.epochs=2", "trainer.batch_size=32", "trainer.accelerator=cpu", "model.hidden=[8]")


class Shell:
    """Runs the entry points in this process, from a folder of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, command: str, *arguments: str) -> str:
        """Output of a command that succeeds."""
        self.monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        self.monkeypatch.setattr(sys, "argv", [f"snn-delays-{command}", *arguments])
        getattr(cli_export if command == "export" else cli, command)()
        return self.capsys.readouterr().out

    def fails(self, command: str, *arguments: str) -> str:
        """The one line that a command ends with, exit code 2."""
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            self(command, *arguments)
        assert stopped.value.code == 2
        (line,) = self.capsys.readouterr().err.splitlines()
        assert line.startswith(f"snn-delays-{command}: error: ")
        assert "Traceback" not in line
        return line


@pytest.fixture
def shell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unchecked: None
) -> Shell:
    return Shell(monkeypatch, capsys)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run of each kind of delays, made by the real command."""
    folder = tmp_path_factory.mktemp("cli")
    for delays in ("learned", "none"):
        subprocess.run(
            [
                *(sys.executable, "-c", "from snn_delays.cli import train; train()"),
                *(*SMALL, *SHORT, f"model.delays={delays}", f"run=runs/{delays}"),
            ],
            cwd=folder,
            check=True,
            timeout=240,
        )
    return folder


@pytest.fixture
def there(
    runs: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A copy of ``runs`` that this test alone works in."""
    folder = tmp_path_factory.mktemp("there") / "here"
    shutil.copytree(runs, folder)
    monkeypatch.chdir(folder)
    return folder
