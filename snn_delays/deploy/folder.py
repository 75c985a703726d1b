"""The folder of an export: all of it in its place at once, and never over another run's."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from snn_delays.errors import UsageError
from snn_delays.files.atomic import writing

# What an export may hold. Whatever else lies in the folder is its owner's and stays …
NAMES = (
    *("delays.h5", "sample.npz", "report.json", "report.html"),
    *("csv", "pynn", "sonata", "nir"),
)
# … also in the folders of formats, whose own files these are, and one for each projection.
OF_FORMATS = (
    *("network.json", "neurons_*.csv", "network.nir", "circuit_config.json"),
    *("nodes.h5", "edges.h5", "node_types.csv", "edge_types.csv"),
)


@dataclass(frozen=True)
class ExportFolder:
    """Where a run's table goes. ``report.json`` says in ``origin`` whose it is."""

    path: Path

    def require_free(self, origin: Mapping[str, str], *, force: bool) -> None:
        """Refuse to replace files of another run, or of somebody else.

        A run is known by its configuration and its folder, which it may have been moved from; a
        copy of a run is another one. What lies in the run's own folder may also be of the run as
        it was configured before.

        Args:
            origin: ``run`` (its folder) and ``config_sha256``.
        """
        nearest = next(one for one in (self.path, *self.path.absolute().parents) if one.exists())
        if not nearest.is_dir():
            raise self._refused(f"{nearest} is a file")
        if (self.path / "config.yaml").exists():
            raise self._refused("it is a run's own folder")
        there = [name for name in NAMES if (self.path / name).exists()]
        if force or not there:
            return
        try:
            text = (self.path / "report.json").read_text(encoding="utf-8")
            found = json.loads(text)["origin"]
            configured_alike = found["config_sha256"] == origin["config_sha256"]
            at_home = self.path.resolve().is_relative_to(origin["run"])
            same = found["run"] == origin["run"]
            moved = at_home or not Path(found["run"]).exists()
            if (same and (configured_alike or at_home)) or (configured_alike and moved):
                return
            whose = f"holds the export of {found['run']}"
            if same:
                whose += ", as it was configured before"
        except (OSError, ValueError, KeyError, TypeError):
            whose = f"holds {', '.join(there)}, and no report.json that says whose they are"
        if left := list(self.path.parent.glob(f".{self.path.name}.*.tmp/old")):
            whose += f" (an export that was killed has left files in {left[0]})"
        raise UsageError(
            f"{self.path} {whose}. Choose another folder=DIR, or overwrite it: force=true."
        )

    @contextmanager
    def replacing(self, origin: Mapping[str, str], *, force: bool) -> Iterator[Path]:
        """Give a folder to write to; what it holds takes its place here if the block ends well.

        An earlier export goes as a whole, formats that the new one lacks included. If the block
        fails everything stays as it was.
        """
        with writing(self.path):
            # Beside it, since a rename is atomic only within one file system.
            path = self.path.resolve()
            home = path if path.is_mount() else path.parent
            home.mkdir(parents=True, exist_ok=True)
            unproved = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", suffix=".tmp", dir=home))
        try:
            with writing(self.path):
                yield unproved
                self.require_free(origin, force=force)
                self._swap(unproved)
        finally:
            shutil.rmtree(unproved, ignore_errors=True)

    def _swap(self, unproved: Path) -> None:
        self.path.mkdir(exist_ok=True)
        old = unproved / "old"
        old.mkdir()
        # The report goes first and comes last: it is what says that the rest is whole.
        names = sorted(NAMES, key="report.json".__eq__)
        done: list[tuple[Path, Path]] = []

        def move(source: Path, target: Path) -> None:
            target.parent.mkdir(exist_ok=True)
            source.rename(target)
            done.append((source, target))

        try:
            for name in reversed(names):
                if (self.path / name).exists():
                    move(self.path / name, old / name)
            for name in names:
                if (unproved / name).exists():
                    move(unproved / name, self.path / name)
            for file in sorted(old.glob("*/*")):
                if not _of_format(file):
                    move(file, self.path / file.parent.name / file.name)
        except BaseException:
            for source, target in reversed(done):
                target.rename(source)
            raise

    def _refused(self, reason: str) -> UsageError:
        return UsageError(
            f"cannot write {self.path}: {reason}. Choose a folder that can be written to."
        )


def _of_format(file: Path) -> bool:
    """Whether an export has written it, and not somebody else."""
    if any(fnmatch(file.name, own) for own in OF_FORMATS):
        return True
    try:
        network = json.loads((file.parent / "network.json").read_text(encoding="utf-8"))
        return file.suffix in (".csv", ".txt") and file.stem in network["projections"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
