"""Unpacking archives that others made: nothing outside the folder, no links, no floods."""

from __future__ import annotations

import gzip
import logging
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from uuid import uuid4

from snn_delays.errors import UsageError, one_line, refusal
from snn_delays.files.atomic import replacing
from snn_delays.terminal import bar

_PIECE = 1 << 20
_MOST_MEMBERS = 1_000_000
# What the readers raise, depending on which byte is damaged; BadGzipFile is an OSError.
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)
_DAMAGE += (NotImplementedError, RuntimeError, UnicodeError, ValueError)

_log = logging.getLogger("snn_delays")


def unzip_member(archive: Path, name: str, path: Path, *, max_bytes: int) -> None:
    """Unpack the one file called ``name``, in whatever folder of a zip, as ``path``.

    It is there in full, its checksum right, or not at all.
    """
    with (
        replacing(path) as unfinished,
        unfinished.open("wb") as target,
        _reading(archive),
        zipfile.ZipFile(archive) as file,
    ):
        found = []
        for one in file.infolist():
            _check_path(archive, one.filename)
            if stat.S_ISLNK(one.external_attr >> 16):
                raise _refusal(archive, f"{one.filename!r} is a link")
            if not one.is_dir() and PurePosixPath(one.filename).name == name:
                found.append(one)
        if len(found) != 1:
            raise _refusal(archive, f"expected one file called {name}, got {len(found)}")
        size = found[0].file_size
        if size > max_bytes:
            raise _refusal(archive, f"{name} would have {size:,} bytes")
        _log.info("unpacking %s", name)
        with file.open(found[0]) as member, bar(f"unpacking {name}", size) as progress:
            # The declared size bounds what is read, the checksum is compared at the end.
            while piece := member.read(_PIECE):
                target.write(piece)
                progress(advance=len(piece))


def untar(archive: Path, folder: Path, *, max_bytes: int) -> None:
    """Unpack a whole tar file, plain or gzip, as the new folder ``folder``.

    It is there in full or not at all.
    """
    unfinished = folder.with_name(f"{folder.name}.{uuid4().hex}.tmp")
    _log.info("unpacking %s", archive.name)
    try:
        unfinished.mkdir(parents=True)
        size = archive.stat().st_size
        with (
            _reading(archive),
            archive.open("rb") as raw,
            bar(f"unpacking {archive.name}", size) as progress,
        ):
            unpacked = gzip.GzipFile(fileobj=raw) if raw.read(2) == b"\x1f\x8b" else raw
            raw.seek(0)
            # As a stream, since a search through a compressed file would read it again and again.
            with tarfile.open(fileobj=unpacked, mode="r|") as file:
                total = 0
                for count, member in enumerate(file):
                    _check_path(archive, member.name)
                    if not (member.isreg() or member.isdir()):
                        raise _refusal(archive, f"{member.name!r} is neither file nor folder")
                    total += member.size
                    if total > max_bytes or count >= _MOST_MEMBERS:
                        raise _refusal(
                            archive, f"more than {max_bytes:,} bytes or {_MOST_MEMBERS:,} files"
                        )
                    _extract(file, member, unfinished)
                    progress(completed=raw.tell())
            # To the end, where gzip keeps its checksum: truncated files would pass for short ones.
            while unpacked.read(_PIECE):
                pass
        unfinished.rename(folder)
    except OSError as error:
        raise UsageError(
            f"cannot unpack {archive} into {folder.parent}: {refusal(error)}. Make room, or "
            "choose a folder that can be written to."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _extract(file: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """The content of a file or folder whose path has been checked; owner and mode are our own."""
    # Not tarfile's: its filters came with Python 3.11.4 only.
    path = folder / member.name
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = file.extractfile(member)
    assert content is not None  # as of links alone
    with content, path.open("wb") as target:
        shutil.copyfileobj(content, target, _PIECE)


def _check_path(archive: Path, name: str) -> None:
    """Refuse a member whose path leads anywhere but down from where the archive is unpacked."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0] or "\0" in name:
        raise _refusal(archive, f"the path {name!r} leads outside")


def _refusal(archive: Path, reason: str) -> UsageError:
    return UsageError(f"{archive} is not unpacked: {reason}. Delete it and get it again.")


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Whatever a damaged archive makes its reader raise becomes one line."""
    try:
        yield
    except UsageError:
        raise
    except _DAMAGE as error:
        raise _refusal(archive, f"it is damaged ({one_line(error)})") from error
