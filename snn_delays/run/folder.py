"""The files of a run: one folder per run, every file replaced atomically.

config.yaml   summary.json   metrics.csv   checkpoints/{best,last,previous,within}.ckpt
    tensorboard/    delays.csv    delays.png    readout.png    positions.png    report.html
    train.log    export/
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from snn_delays.errors import UsageError, refusal
from snn_delays.files.atomic import replacing, write_atomically, writing

Row = dict[str, float]

# What zipfile and torch raise, depending on which byte of a checkpoint is damaged.
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, pickle.UnpicklingError, EOFError),
    *(OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, OverflowError),
)


class Unreadable(UsageError):
    """A file that may be whole, but that the system cannot read."""


class RunFolder:
    """The files of one training run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config, self.summary = path / "config.yaml", path / "summary.json"
        self.metrics, self.tensorboard = path / "metrics.csv", path / "tensorboard"
        self.delays = path / "delays.csv"  # where they stand after every epoch

    def checkpoint(self, name: str) -> Path:
        """Path of the checkpoint ``"best"``, ``"last"``, ``"previous"``, the last but one, or
        ``"within"`` an epoch."""
        return self.path / "checkpoints" / f"{name}.ckpt"

    def save_config(self, text: str) -> None:
        """Take the folder for a new run.

        Raises:
            UsageError: the folder holds a run already, or another process has just begun one.
        """
        with self._taking():
            self.path.mkdir(parents=True, exist_ok=True)
            with self.config.open("x", encoding="utf-8") as file:
                file.write(text)

    def begin(self) -> None:
        """Take the folder for training from the first epoch on, with a config.yaml or without.

        Raises:
            UsageError: as ``save_config``.
        """
        with self._taking():
            self.checkpoint("last").parent.mkdir(parents=True)

    @contextmanager
    def _taking(self) -> Iterator[None]:
        taken = UsageError(
            f"{self.path} already holds a run. Choose another run=DIR, or go on with it: "
            f"run={self.path} resume=true."
        )
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file. Choose another run=DIR.")
        if self.results() or self.checkpoint("last").parent.exists():
            raise taken
        with writing(self.path):
            try:
                yield
            except FileExistsError as error:
                raise taken from error

    def results(self) -> list[Path]:
        """What training has left here."""
        checkpoints = map(self.checkpoint, ("best", "last", "previous"))
        return [one for one in (*checkpoints, self.metrics, self.summary) if one.exists()]

    def save_summary(self, summary: Mapping[str, Any]) -> None:
        write_atomically(self.summary, json.dumps(summary, indent=2).encode() + b"\n")

    def load_summary(self) -> dict[str, Any]:
        """Contents of summary.json.

        Raises:
            UsageError: the run has not ended, or the file is damaged.
        """
        try:
            return json.loads(self.summary.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UsageError(
                f"{self.summary} not found: the run has not ended. "
                f"Finish it with snn-delays-train run={self.path} resume=true."
            ) from error
        except ValueError as error:
            raise UsageError(
                f"{self.summary} is not readable as JSON ({error}). "
                f"Write it anew: snn-delays-train run={self.path} resume=true."
            ) from error

    def save_checkpoint(self, name: str, state: Mapping[str, Any]) -> None:
        """Save a checkpoint; an earlier ``"last"`` is kept as ``"previous"``."""
        content, path = io.BytesIO(), self.checkpoint(name)
        torch.save(dict(state), content)
        with replacing(path) as unfinished:
            unfinished.write_bytes(content.getvalue())
            if name == "last" and path.exists():
                path.replace(self.checkpoint("previous"))

    def load_checkpoint(self, name: str) -> dict[str, Any]:
        """Contents of a checkpoint, on the CPU.

        Raises:
            UsageError: missing or damaged file; ``Unreadable`` if the system cannot read it.
        """
        path = self.checkpoint(name)
        if not path.is_file():
            other = self.checkpoint("last" if name == "best" else "best")
            instead = f"Use checkpoint={other.stem}, or give" if other.is_file() else "Give"
            raise UsageError(
                f"{path} not found. {instead} run=DIR, a folder that snn-delays-train has written."
            )
        try:
            content = path.read_bytes()
        except OSError as error:
            raise Unreadable(
                f"cannot read {path}: {refusal(error)}. Make it readable, and try again."
            ) from error
        try:
            return tensors_of(content)
        except DAMAGE as error:
            raise UsageError(
                f"{path} is damaged or not a checkpoint ({type(error).__name__}). "
                "Use the other one (checkpoint=best or checkpoint=last), or train again."
            ) from error


def tensors_of(content: bytes) -> dict[str, Any]:
    """What ``torch.save`` wrote: a dict of tensors and plain values, on the CPU; no code runs.

    Raises:
        One of ``DAMAGE``: altered bytes, something other than a dict, or other values in it.
    """
    # torch itself ignores the checksums in the file, and would load what was altered.
    if altered := zipfile.ZipFile(io.BytesIO(content)).testzip():
        raise zipfile.BadZipFile(altered)
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise TypeError(type(state).__name__)
    return state
