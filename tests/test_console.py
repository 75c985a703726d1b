"""What commands print, on terminals and in files that cannot hold every sign."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console
from typed_commands import SHORT, SMALL, Shell

from snn_delays import console
from snn_delays.checkpoint import Row
from snn_delays.cli_export_view import delay_line

ROW: Row = {
    **{"epoch": 1, "sigma": 0.5, "delay_change": 0.2, "rate_hz": 9.0, "loss": 2.0},
    **{"accuracy": 0.5, "valid_accuracy": 0.25, "seconds": 1.0},
}


class Terminal:
    """Standard output with an encoding of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
        self.bytes = io.BytesIO()
        self.stream = io.TextIOWrapper(self.bytes, encoding=encoding, write_through=True)
        monkeypatch.setattr(sys, "stdout", self.stream)

    @property
    def text(self) -> str:
        return self.bytes.getvalue().decode(self.stream.encoding)


anywhere = pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])


def test_signs_are_printed_in_letters_where_there_are_no_signs(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal(monkeypatch, "ascii")
    console.print_anywhere()
    print("σ = 0.5 – 1 … → größe ▁█")
    assert terminal.text == r"sigma = 0.5 - 1 ... -> gr\xf6\xdfe 18" + "\n"


def test_text_that_is_none_is_escaped(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal(monkeypatch, "utf-8")
    console.print_anywhere()
    print("größe → " + os.fsdecode(b"\xff"))  # a file's name in some other encoding
    assert terminal.text == "größe → \\udcff\n"


@anywhere
def test_a_table_in_letters_keeps_its_columns(monkeypatch: pytest.MonkeyPatch, encoding: str):
    terminal = Terminal(monkeypatch, encoding)
    console.print_anywhere()
    console.print_table("σ", ["as trained (σ-kernels)", "…"], [["σ", "–"], ["τ → Δ", "×"]])
    _, *lines = terminal.text.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert ("σ" in terminal.text) == (encoding == "utf-8")


@anywhere
@pytest.mark.parametrize("live", [True, False])
def test_a_training_run_is_watched_in_any_encoding(
    monkeypatch: pytest.MonkeyPatch, encoding: str, live: bool
):
    terminal = Terminal(monkeypatch, encoding)
    console.print_anywhere()
    shown = Console(file=terminal.stream, force_terminal=live, highlight=False)
    with console.TrainingView(2, console=shown) as view:
        view.batch(1, 1, 3, 2.0, 0.5)
        view.epoch(ROW)
    assert "validation (rounded)" in terminal.text
    print(delay_line([{"delay_histogram": [1, 0, 8]}]))


def test_every_command_ends_well_on_an_ascii_terminal(
    there: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    terminal = Terminal(monkeypatch, "ascii")
    (there / "sound/é").mkdir(parents=True)
    soundfile.write(there / "sound/é/1.wav", np.sin(np.arange(4_800)), 48_000)
    for command, *arguments in (
        ("prepare", *SMALL, "plot=true"),
        ("train", *SMALL, *SHORT, "run=runs/größe"),
        ("evaluate", "run=runs/größe"),
        ("export", "run=runs/größe", "chip=loihi2", "delays=clip"),
        ("simulate", "run=runs/größe"),
        ("train", "run=runs/größe", "finetune=quantise", "finetune.epochs=1"),
        ("encode", "audio=sound", "output=out.h5", "channels=5", "workers=1"),
    ):
        assert shell.ends(command, *arguments)[::2] == (0, ""), command
    for command in ("prepare", "train", "evaluate", "export", "simulate", "encode"):
        before = len(terminal.text)
        assert shell.ends(command, "--help") == (0, "", "")
        assert f"snn-delays-{command}" in terminal.text[before:]
    logged = Path("runs/größe/train.log").read_text(encoding="utf-8")
    assert "σ = 0.50" in logged  # whatever the terminal could show
    assert "→" in logged


def test_a_locale_without_an_encoding_ends_no_run(there: Path):
    run = subprocess.run(
        [
            *(sys.executable, "-c", "from snn_delays.cli import train; train()"),
            *(*SMALL, *SHORT, "trainer.epochs=1"),
        ],
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        | {"PYTHONIOENCODING": ""},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert b"sigma = 0.50: delays computed by" in run.stdout
    assert run.stderr == b""


def test_a_folder_that_the_locale_cannot_name_begins_no_run(there: Path, shell: Shell):
    name = os.fsdecode(b"r\xff")
    line = shell.fails("train", *SMALL, *SHORT, f"run=runs/{name}")
    assert "run=runs/r\\udcff" in line
    assert "LC_ALL=C.UTF-8" in line
    assert not (there / "runs" / name).exists()


def test_a_run_whose_folder_was_given_such_a_name_is_exported(there: Path, shell: Shell):
    name = os.fsdecode(b"r\xff")
    (there / "runs/none").rename(there / "runs" / name)
    shell("export", f"run=runs/{name}", "formats=all")
    assert '"run":' in (there / "runs" / name / "export/report.json").read_text(encoding="utf-8")
    shell("simulate", f"run=runs/{name}")
