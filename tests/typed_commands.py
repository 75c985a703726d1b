"""The command lines, as a user types them: fixtures for the tests of each."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

SMALL = ("dataset.root=data", "dataset.n_train=96", "dataset.n_valid=32", "dataset.n_test=32")
SHORT = ("trainer.epochs=2", "trainer.batch_size=32", "trainer.accelerator=cpu", "model.hidden=[8]")


def contents(folder: str) -> dict[Path, bytes]:
    """Every file below ``folder``."""
    return {file: file.read_bytes() for file in Path(folder).rglob("*") if file.is_file()}


class Shell:
    """Runs the entry points in this process, from a folder of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, command: str, *arguments: str) -> str:
        """Output of a command that succeeds."""
        self._enter(command, *arguments)
        return self.capsys.readouterr().out

    def ends(self, command: str, *arguments: str) -> tuple[int, str, str]:
        """The exit code of any command, what it printed, what it complained of."""
        self.capsys.readouterr()
        try:
            self._enter(command, *arguments)
        except SystemExit as stopped:
            return int(str(stopped.code)), *self.capsys.readouterr()
        return 0, *self.capsys.readouterr()

    def fails(self, command: str, *arguments: str) -> str:
        """The one line that a command ends with, exit code 2; ``printed`` is what came before."""
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            self(command, *arguments)
        assert stopped.value.code == 2
        self.printed, complaint = self.capsys.readouterr()
        (line,) = complaint.splitlines()
        assert line.startswith(f"snn-delays-{command}: error: ")
        assert "Traceback" not in line
        return line

    def _enter(self, command: str, *arguments: str) -> None:
        self.monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        self.monkeypatch.setattr(sys, "argv", [f"snn-delays-{command}", *arguments])
        getattr(importlib.import_module(f"snn_delays.cli.{command}"), command)()


@pytest.fixture
def shell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unchecked: None
) -> Shell:
    save = Figure.savefig  # pictures with few dots: sooner drawn, and drawn all the same
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **how: save(self, *args, **{**how, "dpi": 20})
    )
    return Shell(monkeypatch, capsys)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run of each kind of delays, made by the real command."""
    folder = tmp_path_factory.mktemp("cli")
    both = (
        "import sys; from snn_delays.cli.train import train; given = sys.argv[1:]\n"
        "for delays in ('learned', 'none'):\n"
        "    sys.argv[1:] = [*given, f'model.delays={delays}', f'run=runs/{delays}']; train()"
    )
    command = [sys.executable, "-c", both, *SMALL, *SHORT]
    subprocess.run(command, cwd=folder, check=True, timeout=800)
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
