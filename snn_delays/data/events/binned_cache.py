"""Binned files are kept, so that a recording is read and binned once and not at every start."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from snn_delays.atomic import write_atomically
from snn_delays.data.events.binned_file import BinnedFile, read_binned
from snn_delays.data.events.binning import Grid
from snn_delays.data.events.recordings import OnBad
from snn_delays.data.events.spike_file import SpikeFile
from snn_delays.data.events.units import Units, count_units
from snn_delays.data.files import source_hash
from snn_delays.data.files.array_file import DamagedError, map_arrays, write_arrays
from snn_delays.data.files.cache_folder import VARIABLE, read_only
from snn_delays.data.splits.spike_split import SpikeSplit
from snn_delays.errors import UsageError

# Part of every key: raise it when the same file and settings come to mean other arrays.
_VERSION = 4
_ARRAYS = ("steps", "channels", "counts", "offsets", "labels", "speakers")

_log = logging.getLogger("snn_delays")


class BinnedCache:
    """Reads a file of recordings as binned before, if the very same file was, in the same way.

    What is kept is named after the SHA-256 of the file's content and all settings, so that it is
    never out of date, and mapped into memory, so that runs on one machine share it. Whatever is
    wrong with it costs time and a line in the log: a damaged entry is made again, and where none
    can be written the data is used without. Any number of processes may share a folder: each
    writes under a name of its own and renames.

    Args:
        folders: where to look, and to write to the first that allows it; none for no cache.
        dataset_name: named in what is logged.
    """

    def __init__(self, folders: Sequence[Path], dataset_name: str) -> None:
        self.folders = tuple(folders)
        self.dataset_name = dataset_name
        self._complained = False

    def read(
        self,
        source: SpikeFile,
        *,
        n_units: int,
        grid: Grid,
        name: str,
        on_bad: OnBad = "refuse",
    ) -> BinnedFile:
        """As :func:`~snn_delays.data.events.binned_file.read_binned`, but quicker the second time.

        Raises:
            UsageError: as ``read_binned``; never for the cache's sake.
        """
        identity = self._identity(source.path) if self.folders else None
        if identity is None:  # Where the file cannot be read, this says why.
            return read_binned(source, n_units=n_units, grid=grid, name=name, on_bad=on_bad)
        stamp, content = identity
        settings = {"version": _VERSION, "source_sha256": content, "n_units": n_units}
        settings["on_bad"] = on_bad
        settings |= {
            key: value if value is None else float(value) for key, value in asdict(grid).items()
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        file_name = f"{source.path.stem}-{digest[:24]}.events"
        found = self._find(file_name, settings, source.path, name)
        if found is not None:
            return found
        binned = read_binned(source, n_units=n_units, grid=grid, name=name, on_bad=on_bad)
        # Not if another file has taken its place meanwhile: its hash would be the wrong one.
        if self._same(source.path, stamp):
            self._keep(file_name, settings, binned)
        return binned

    def units(self, source: SpikeFile) -> Units:
        """As :func:`~snn_delays.data.events.units.count_units`, but quicker the second time.

        Raises:
            UsageError: as ``count_units``; never for the cache's sake.
        """
        identity = self._identity(source.path) if self.folders else None
        if identity is None:
            return count_units(source)
        stamp, content = identity
        file_name = f"{source.path.stem}-{content[:24]}.units"
        for folder in self.folders:
            # Damaged or missing, it is counted again.
            with suppress(OSError, ValueError, TypeError, KeyError):
                kept = json.loads((folder / file_name).read_bytes())
                if kept.pop("source_sha256") == content:
                    return Units(**kept)
        found = count_units(source)
        if self._same(source.path, stamp):
            note = json.dumps({"source_sha256": content, **asdict(found)}).encode()
            self._write(file_name, lambda to: write_atomically(to, note))
        return found

    def _identity(self, path: Path) -> tuple[source_hash.Stamp, str] | None:
        """The file's stamp and hash; None if it cannot be read."""
        note_name = source_hash.note_name(path)
        try:
            stamp = source_hash.stamp(path)
            notes = [folder / note_name for folder in self.folders]
            content = source_hash.remembered(notes, stamp)
            if content is not None:
                return stamp, content
            content = source_hash.sha256(path)
        except OSError:
            return None
        note = source_hash.note(stamp, content)
        if note is not None and self._same(path, stamp):
            self._write(note_name, lambda to: write_atomically(to, note))
        return stamp, content

    def _same(self, path: Path, stamp: source_hash.Stamp) -> bool:
        try:
            return source_hash.stamp(path) == stamp
        except OSError:
            return False

    def _find(
        self, file_name: str, settings: dict[str, Any], source: Path, name: str
    ) -> BinnedFile | None:
        """What is kept; None if nothing is, with a line in the log if what there is is damaged."""
        for folder in self.folders:
            try:
                return _load(folder / file_name, settings, source, name)
            except FileNotFoundError:
                continue
            except DamagedError as damage:
                _log.warning(
                    "%s: the cache %s %s. Making it again.",
                    self.dataset_name,
                    folder / file_name,
                    damage,
                )
        return None

    def _keep(self, file_name: str, settings: dict[str, Any], binned: BinnedFile) -> None:
        about = {
            "settings": settings,
            "n_channels": binned.split.n_channels,
            "class_names": binned.class_names,
            "valid_events": binned.valid_events,
            "invalid_events": binned.invalid_events,
            "speaker_sex": sorted(binned.speaker_sex.items()),
            "skipped": binned.skipped,
        }
        arrays = {key: getattr(binned.split, key).numpy() for key in _ARRAYS}

        def write(path: Path) -> None:
            # Another process may have been quicker. On network file systems a mapped file must
            # not be replaced, even by an equal one: who has mapped it would crash.
            with suppress(FileNotFoundError, DamagedError):
                _load(path, settings, binned.path, binned.split.name)
                return
            write_arrays(path, about, arrays)

        written = self._write(file_name, write)
        if written is not None:
            _log.info("%s: %s, binned, is kept as %s.", self.dataset_name, binned.path, written)

    def _write(self, file_name: str, write: Callable[[Path], None]) -> Path | None:
        """Write to the first folder that allows it; None, and a line once, if none does."""
        refusal = ""
        for folder in self.folders:
            if read_only(folder):
                refusal = refusal or f"{folder} is read-only."
                continue
            try:
                write(folder / file_name)
                return folder / file_name
            except UsageError as error:
                refusal = str(error)
        if not self._complained:
            self._complained = True
            _log.warning(
                "%s: going on without a cache: %s (cache=DIR or %s=DIR sets it, cache=false "
                "does without.)",
                self.dataset_name,
                refusal,
                VARIABLE,
            )
        return None


def _load(path: Path, settings: dict[str, Any], source: Path, name: str) -> BinnedFile:
    """What is kept at ``path``, if it was made from this content with these settings.

    Raises:
        FileNotFoundError: nothing is.
        DamagedError: something else is.
    """
    about, arrays = map_arrays(path)
    try:
        if about["settings"] != settings:
            raise DamagedError("belongs to another file or to other settings")
        return BinnedFile(
            path=source,
            split=SpikeSplit(
                **{key: torch.from_numpy(arrays[key]) for key in _ARRAYS},
                n_channels=about["n_channels"],
                name=name,
            ),
            class_names=tuple(about["class_names"]),
            valid_events=about["valid_events"],
            invalid_events=about["invalid_events"],
            speaker_sex=dict(about["speaker_sex"]),
            skipped=tuple(about["skipped"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError("lacks a part") from error
