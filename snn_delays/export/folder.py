"""The folder of an export: all of it in its place at once, and never over another run's."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from snn_delays.errors import UsageError, refusal

# What an export may hold. Whatever else lies in the folder is its owner's and stays.
NAMES = ("delays.h5", "sample.npz", "report.json", "csv", "pynn", "sonata", "nir")


@dataclass(frozen=True)
class ExportFolder:
    """Where a run's table goes. ``report.json`` says in ``origin`` whose it is."""

    path: Path

    def require_free(self, origin: Mapping[str, str], *, force: bool) -> None:
        """Refuse to replace files of another run, or of somebody else.

        A run is known by its folder, or by its configuration, if it has been moved. A copy of a
        run is another one.

        Args:
            origin: ``run`` (its folder) and ``config_sha256``.

        Raises:
            UsageError: files are there that the same run has not exported, or no folder can be.
        """
        nearest = next(one for one in (self.path, *self.path.absolute().parents) if one.exists())
        if not nearest.is_dir():
            raise self._refused(f"{nearest} is a file")
        there = [name for name in NAMES if (self.path / name).exists()]
        if force or not there:
            return
        try:
            text = (self.path / "report.json").read_text(encoding="utf-8")
            found = json.loads(text)["origin"]
            if found["run"] == origin["run"]:
                return
            moved = not Path(found["run"]).exists() or self.path.resolve().is_relative_to(
                origin["run"]
            )
            if moved and found["config_sha256"] == origin["config_sha256"]:
                return
            whose = f"holds the export of {found['run']}"
        except (OSError, ValueError, KeyError, TypeError):
            whose = f"holds {', '.join(there)}, and no report.json that says whose they are"
        raise UsageError(
            f"{self.path} {whose}. Choose another folder=DIR, or overwrite it: force=true."
        )

    @contextmanager
    def replacing(self) -> Iterator[Path]:
        """Give a folder to write to; what it holds takes its place here if the block ends well.

        An earlier export goes as a whole, formats that the new one lacks included. If the block
        fails everything stays as it was.

        Raises:
            UsageError: the file system refuses.
        """
        try:
            # Beside it, since a rename is atomic only within one file system.
            home = self.path.parent
            home.mkdir(parents=True, exist_ok=True)
            unproved = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", suffix=".tmp", dir=home))
        except OSError as error:
            raise self._refused(refusal(error)) from error
        try:
            yield unproved
            self._swap(unproved)
        except OSError as error:
            raise self._refused(refusal(error)) from error
        finally:
            shutil.rmtree(unproved, ignore_errors=True)

    def _swap(self, unproved: Path) -> None:
        self.path.mkdir(exist_ok=True)
        old = unproved / "old"
        old.mkdir()
        # The report last: it is what says that the rest is whole.
        names = sorted(NAMES, key="report.json".__eq__)
        moves = [(self.path / name, old / name) for name in names]
        moves += [(unproved / name, self.path / name) for name in names]
        done: list[tuple[Path, Path]] = []
        try:
            for source, target in moves:
                if source.exists():
                    source.rename(target)
                    done.append((source, target))
        except OSError:
            for source, target in reversed(done):
                target.rename(source)
            raise

    def _refused(self, reason: str) -> UsageError:
        return UsageError(
            f"cannot write {self.path}: {reason}. Choose a folder that can be written to."
        )
