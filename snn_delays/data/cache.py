"""What is read or computed once is kept, in files named after everything that it was made of.

An entry is one file of flat arrays, mapped into memory, whose every byte is checked:

64 bytes        what it is, its format, the CRC-32 of all bytes that follow and their number
one line        JSON: what it is about; name, dtype, length and place of every array
the arrays      one after the other, each at a multiple of 64 bytes after the start of the first

An entry is never out of date, since its name and its first line hold all settings; it appears whole
in one step, so that any number of processes may share a folder; and whatever is wrong with it costs
time and a line in the log: it is made again, or the data is used without.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from snn_delays.errors import UsageError, one_line
from snn_delays.files.atomic import replacing

VARIABLE = "SNN_DELAYS_CACHE"
CacheChoice = Path | str | bool | None
About = dict[str, Any]
Arrays = dict[str, np.ndarray]
T = TypeVar("T")

_FOLDER = ".snn_delays_cache"
_FORMAT, _ALIGNMENT = 1, 64
# The coarsest clock of a file system in use: two seconds, of FAT.
_TICK_NS = 2_000_000_000

_log = logging.getLogger("snn_delays")


class DamagedError(Exception):
    """Not, or no longer, what was written; the message reads on after the path."""


@dataclass(frozen=True)
class Entry:
    """What is kept: told apart by its settings (JSON); ``stem`` and ``kind`` are for the eye."""

    stem: str
    kind: str
    settings: About

    @property
    def file_name(self) -> str:
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()
        return f"{self.stem}-{digest[:24]}.{self.kind}"


class Cache:
    """Finds entries in some folders, most welcome first, and keeps them where it first may.

    With no folders it keeps nothing. ``owner`` is the data set, named in what is logged.
    """

    def __init__(self, folders: Sequence[Path], owner: str) -> None:
        self.folders, self.owner = tuple(folders), owner
        self._complained = False

    def find(
        self, entry: Entry, load: Callable[[About, Arrays], T], *, quiet: bool = False
    ) -> T | None:
        """What is kept, as ``load`` makes it; None, and a line in the log, if it is damaged."""
        for folder in self.folders:
            path = folder / entry.file_name
            try:
                return _load(path, entry, load)
            except FileNotFoundError:
                continue
            except DamagedError as damage:
                if not quiet:
                    _log.warning(f"{self.owner}: the cache {path} {damage}. Making it again.")
        return None

    def keep(self, entry: Entry, about: About, arrays: Arrays | None = None) -> Path | None:
        """Write to the first folder that allows it; None, and a line once, if none does."""
        refusal = ""
        for folder in self.folders:
            if _read_only(folder):
                refusal = refusal or f"{folder} is read-only."
                continue
            path = folder / entry.file_name
            try:
                # Another process may have been quicker. On network file systems a mapped file must
                # not be replaced, even by an equal one: who has mapped it would crash.
                with suppress(FileNotFoundError, DamagedError):
                    _load(path, entry, lambda about, arrays: None)
                    return path
                write_arrays(path, {**about, "settings": entry.settings}, arrays or {})
                return path
            except UsageError as error:
                refusal = str(error)
        if refusal and not self._complained:
            self._complained = True
            _log.warning(
                f"{self.owner}: going on without a cache: {refusal} (cache=DIR or {VARIABLE}=DIR "
                "sets it, cache=false does without.)"
            )
        return None

    def of_file(
        self,
        path: Path,
        kind: str,
        *,
        make: Callable[[], tuple[About, Arrays]],
        load: Callable[[About, Arrays], T],
        **settings: Any,
    ) -> T:
        """What is made of a file with these settings, but quicker the second time."""
        at = _stamp(path)
        content = self._content(path) if self.folders else None
        if content is None:  # Where the file cannot be read, this says why.
            return load(*make())
        entry = Entry(path.stem, kind, {"source_sha256": content, **settings})
        found = self.find(entry, load)
        if found is not None:
            return found
        about, arrays = make()
        # Not if another file has taken its place meanwhile: its hash would be the wrong one.
        if _stamp(path) == at and (written := self.keep(entry, about, arrays)):
            _log.info(f"{self.owner}: what was made of {path} is kept as {written}.")
        return load(about, arrays)

    def _content(self, path: Path) -> str | None:
        """SHA-256 of a file's content; None if it cannot be read.

        Hashing gigabytes takes seconds, so it is remembered with size, inode and times of the last
        change, of which no program can set back ctime. Without one, or for a file so new that
        another change might fall into the same tick, content is hashed each time.
        """
        at = _stamp(path)
        if at is None:
            return None
        entry = Entry(path.stem, "sha256", {"path": os.path.realpath(path), "stamp": at})
        found = self.find(entry, lambda about, _: str(about["sha256"]), quiet=True)
        if found is not None:
            return found
        try:
            content = sha256(path)
        except OSError:
            return None
        # Windows keeps the time of creation in place of that of the last change.
        settled = os.name != "nt" and time.time_ns() - max(at[2:]) >= _TICK_NS
        if settled and _stamp(path) == at:
            self.keep(entry, {"sha256": content})
        return content


def cache_folders(root: Path, choice: CacheChoice) -> list[Path]:
    """Where the cache of the files in ``root`` may lie, most welcome first.

    Choose a folder; False for no cache; None or True for the folder that the environment variable
    SNN_DELAYS_CACHE names, or else ``.snn_delays_cache`` in ``root``; and, where that cannot be
    written to, the user's own cache.
    """
    if choice is False:
        return []
    if isinstance(choice, str | Path) and str(choice):
        return [Path(os.path.expanduser(choice))]
    if not (choice is None or choice is True):
        raise UsageError(f"cache must be a folder, true, false or null, got {choice!r}.")
    if named := os.environ.get(VARIABLE):
        return [Path(os.path.expanduser(named))]
    own = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # Without a home there is no such place: a relative path would lie anywhere.
    return [root / _FOLDER, *([Path(own) / "snn_delays"] if os.path.isabs(own) else [])]


def _stamp(path: Path) -> list[int] | None:
    """Size, inode and times, which change whenever a file's content does; None if it has none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


def sha256(path: Path) -> str:
    """Hash of the whole content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_arrays(path: Path, about: About, arrays: Arrays) -> None:
    """Write a file that :func:`map_arrays` reads, all of it or nothing.

    ``about`` is anything JSON can hold, arrays have one dimension. Missing folders are made; an
    existing file is replaced, and who has mapped that one keeps it.
    """
    table, blocks, place = [], [], 0
    for name, array in arrays.items():
        table.append([name, array.dtype.str, len(array), place])
        content = np.ascontiguousarray(array).view(np.uint8).data
        blocks += [content, bytes(-len(content) % _ALIGNMENT)]
        place += sum(map(len, blocks[-2:]))
    header = json.dumps({"about": about, "arrays": table}).encode()
    header += b" " * (-(len(header) + 1) % _ALIGNMENT) + b"\n"
    blocks = [header, *blocks]
    checksum = 0
    for block in blocks:
        checksum = zlib.crc32(block, checksum)
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        file.write(_first_line(checksum, sum(map(len, blocks))))
        for block in blocks:
            file.write(block)


def map_arrays(path: Path) -> tuple[About, Arrays]:
    """What ``write_arrays`` was given; the arrays are mapped, and read as they are touched.

    Writing to them changes nothing in the file. Checking takes a second for some GB. What is not
    there, or not whole, is a FileNotFoundError or a :class:`DamagedError`.
    """
    try:
        with path.open("rb") as file:
            # Copy on write: torch warns of arrays that are read-only, and the file stays as it is.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except (OSError, ValueError) as error:
        raise DamagedError(f"cannot be read ({one_line(error)})") from error
    first, rest = content[:_ALIGNMENT], memoryview(content)[_ALIGNMENT:]
    # Size and checksum of the rest make up the first line, so comparing it whole checks every byte.
    if not first.startswith(_first_line(0, 0).partition(b"crc32")[0]):
        raise DamagedError("is of another format, or its first bytes have changed")
    if first != _first_line(zlib.crc32(rest), len(rest)):
        raise DamagedError("is truncated or has changed since it was written")
    try:
        start = content.find(b"\n", _ALIGNMENT) + 1
        described = json.loads(content[_ALIGNMENT:start])
        arrays = {
            name: np.frombuffer(content, np.dtype(dtype), length, start + place)
            for name, dtype, length, place in described["arrays"]
        }
        return described["about"], arrays
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedError("does not describe its arrays") from error


def _load(path: Path, entry: Entry, load: Callable[[About, Arrays], T]) -> T:
    about, arrays = map_arrays(path)
    try:
        if about.pop("settings") != entry.settings:
            raise DamagedError("belongs to another file or to other settings")
        return load(about, arrays)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError("lacks a part") from error


def _read_only(folder: Path) -> bool:
    """Whether nobody may write there; it is left alone then, even by root."""
    try:
        return not (folder if folder.exists() else folder.parent).stat().st_mode & 0o222
    except OSError:
        return False


def _first_line(checksum: int, size: int) -> bytes:
    line = f"snn_delays arrays, format {_FORMAT}, crc32 {checksum:08x}, {size} bytes"
    return line.encode().ljust(_ALIGNMENT - 1) + b"\n"
