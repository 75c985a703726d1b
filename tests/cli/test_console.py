"""What commands print, on terminals and in files that cannot hold every sign."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console
from torch import nn
from typed_commands import SHORT, SMALL, Shell

from snn_delays.callbacks import ProgressBar
from snn_delays.callbacks.callback import Training
from snn_delays.cli.export_view import delay_line
from snn_delays.run.epoch import Epoch
from snn_delays.run.folder import Row
from snn_delays.tasks import SingleLabel
from snn_delays.terminal import print_anywhere, print_line, print_table

ROW: Row = {
    **{"epoch": 1, "sigma": 0.5, "delay_change": 0.2, "rate_hz": 9.0, "loss": 2.0},
    **{"accuracy": 0.5, "valid_accuracy": 0.25, "seconds": 1.0},
}


def at(epoch: int, batch: int, rows: list[Row], epochs: int = 150) -> Training:
    """A training that stands there."""
    so_far = Epoch(nn.Identity(), SingleLabel())
    so_far.add(torch.tensor(12.345), torch.eye(2), torch.arange(2))
    now = {"epoch": epoch, "batch": batch, "batches": 3, "so_far": so_far}
    return Training(nn.Identity(), epochs, {}, [], rows, **now)


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
    print_anywhere()
    print("σ = 0.5 – 1 … → größe ▁█")
    assert terminal.text == r"sigma = 0.5 - 1 ... -> gr\xf6\xdfe 18" + "\n"


def test_text_that_is_none_is_escaped(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal(monkeypatch, "utf-8")
    print_anywhere()
    print("größe → " + os.fsdecode(b"\xff"))  # a file's name in some other encoding
    assert terminal.text == "größe → \\udcff\n"


@anywhere
def test_a_table_in_letters_keeps_its_columns(monkeypatch: pytest.MonkeyPatch, encoding: str):
    terminal = Terminal(monkeypatch, encoding)
    print_anywhere()
    print_table("σ", ["as trained (σ-kernels)", "…"], [["σ", "–"], ["τ → Δ", "×"]])
    _, *lines = terminal.text.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert ("σ" in terminal.text) == (encoding == "utf-8")


@anywhere
@pytest.mark.parametrize("live", [True, False])
def test_a_training_run_is_watched_in_any_encoding(
    monkeypatch: pytest.MonkeyPatch, encoding: str, live: bool
):
    terminal = Terminal(monkeypatch, encoding)
    print_anywhere()
    shown = Console(file=terminal.stream, force_terminal=live, highlight=False)
    training = at(1, 1, [ROW], epochs=2)
    bar = ProgressBar(shown)
    bar.on_start(replace(training, rows=[]))
    bar.on_batch(training)
    bar.on_epoch(training)
    bar.on_end(training)
    assert "validation (rounded)" in terminal.text
    print(delay_line([[1, 0, 8]]))


class Screen:
    """What a terminal shows in the end: it breaks long lines, and obeys its cursor."""

    def __init__(self, width: int, text: str) -> None:
        self.lines, row, column = [""], 0, 0
        for code, number, letter in re.findall(r"(\x1b\[([?\d;]*)([A-Za-z])|[^\x1b])", text):
            if letter == "A":
                row = max(row - int(number or 1), 0)
            elif letter == "K":
                self.lines[row] = ""
            elif letter == "m" or number.startswith("?"):
                pass
            elif code == "\r":
                column = 0
            elif code == "\n" or column == width:
                row, column = row + 1, 0
                self.lines += [""] * (row + 1 - len(self.lines))
            if not letter and code not in "\r\n":
                line = self.lines[row].ljust(column)
                self.lines[row] = line[:column] + code + line[column + 1 :]
                column += 1


def test_a_line_of_one_field_is_never_lost(monkeypatch: pytest.MonkeyPatch):
    for width, live in ((20, True), (20, False)):
        terminal = Terminal(monkeypatch, "utf-8")
        shown = Console(file=terminal.stream, force_terminal=live, width=width)
        print_line(shown, "a folder/[b].h5: 3 recordings")
        assert terminal.text.split() == ["a", "folder/[b].h5:", "3", "recordings"]
        assert terminal.text.count("\n") == 1 + live


class Tty(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_live_bar_keeps_to_its_terminal(
    monkeypatch: pytest.MonkeyPatch, encoding: str, width: int
):
    raw = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Tty(raw, encoding=encoding, write_through=True))
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    print_anywhere()
    handler, log = logging.StreamHandler(sys.stdout), logging.getLogger()
    monkeypatch.setattr(log, "handlers", [handler])
    bar, rows = ProgressBar(), [ROW] * 98
    bar.on_start(at(0, 0, rows))
    assert bar.console.width == width
    for epoch in (99, 100):
        for done in range(1, 4):
            bar.on_batch(at(epoch, done, rows))
            log.warning(f"said in batch {epoch}.{done}")
        rows.append({**ROW, "epoch": epoch, "sigma": 12.27, "rate_hz": 123.4})
        bar.on_epoch(at(epoch, 3, rows))
        print("printed after epoch", epoch)
    bar.on_end(at(100, 3, rows))
    assert handler.stream is sys.stdout
    log.warning("said at last")
    lines = Screen(width, raw.getvalue().decode(encoding)).lines
    assert max(map(len, lines)) <= width
    assert [line for line in lines if "said" in line or "printed" in line] == [
        *(f"said in batch 99.{done}" for done in (1, 2, 3)),
        "printed after epoch 99",
        *(f"said in batch 100.{done}" for done in (1, 2, 3)),
        "printed after epoch 100",
        "said at last",
    ]
    (drawn,) = [line for line in lines if re.search(r"(━|-){5}", line)]
    assert re.fullmatch(r"epoch 100/150 \S{8,}.* \d:\d\d:\d\d", drawn.rstrip())
    assert ("loss 12.345" in drawn) == (width >= 80)
    assert ("rate 123.4 Hz" in drawn) == (width == 200)


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
        ("report", "run=runs/größe"),
        ("train", "run=runs/größe", "finetune=quantise", "finetune.epochs=1"),
        ("encode", "audio=sound", "output=out.h5", "channels=5", "workers=1"),
    ):
        assert shell.ends(command, *arguments)[::2] == (0, ""), command
    for command in ("prepare", "train", "evaluate", "export", "simulate", "report", "encode"):
        before = len(terminal.text)
        assert shell.ends(command, "--help") == (0, "", "")
        assert f"snn-delays-{command}" in terminal.text[before:]
    logged = Path("runs/größe/train.log").read_text(encoding="utf-8")
    assert "σ = 0.50" in logged  # whatever the terminal could show
    assert "→" in logged


def test_a_locale_without_an_encoding_ends_no_run(there: Path):
    run = subprocess.run(
        [
            *(sys.executable, "-c", "from snn_delays.cli.train import train; train()"),
            *(*SMALL, *SHORT, "trainer.epochs=1"),
        ],
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        | {"PYTHONIOENCODING": ""},
        capture_output=True,
        timeout=800,
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
