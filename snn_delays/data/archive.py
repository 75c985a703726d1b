"""Unpacking archives whose hash is known: nothing outside the folder, and nothing in part."""

from __future__ import annotations

import gzip
import logging
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from uuid import uuid4

from snn_delays.atomic import replacing
from snn_delays.errors import UsageError, one_line, refusal
from snn_delays.terminal import bar

_PIECE = 1 << 20
# What the readers raise, depending on which byte is damaged; BadGzipFile is an OSError.
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)
_DAMAGE += (NotImplementedError, RuntimeError, UnicodeError, ValueError)

_log = logging.getLogger("snn_delays")


def unzip_member(archive: Path, name: str, path: Path) -> None:
    """Unpack the one file called ``name`` of a zip as ``path``, whole or not at all."""
    with (
        replacing(path) as unfinished,
        unfinished.open("wb") as target,
        _reading(archive),
        zipfile.ZipFile(archive) as file,
    ):
        files = [one for one in file.infolist() if not one.is_dir()]
        found = [one for one in files if PurePosixPath(one.filename).name == name]
        if len(found) != 1:
            raise ValueError(f"expected one file called {name}, got {len(found)}")
        _log.info("unpacking %s", name)
        with file.open(found[0]) as member, bar(f"unpacking {name}", found[0].file_size) as bar_:
            # The declared size bounds what is read, the checksum is compared at the end.
            while piece := member.read(_PIECE):
                target.write(piece)
                bar_(advance=len(piece))


def untar(archive: Path, folder: Path) -> None:
    """Unpack a .tar.gz as the new folder ``folder``, whole or not at all."""
    unfinished = folder.with_name(f"{folder.name}.{uuid4().hex}.tmp")
    _log.info("unpacking %s", archive.name)
    try:
        unfinished.mkdir(parents=True)
        with (
            _reading(archive),
            archive.open("rb") as raw,
            gzip.open(raw) as unpacked,
            bar(f"unpacking {archive.name}", archive.stat().st_size) as bar_,
        ):
            # As a stream, since a search through a compressed file would read it again and again.
            with tarfile.open(fileobj=unpacked, mode="r|") as file:
                for member in file:
                    file.extract(member, unfinished, filter="data")
                    bar_(completed=raw.tell())
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


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    try:
        yield
    except UsageError:
        raise
    except _DAMAGE as error:
        raise UsageError(
            f"{archive} is not unpacked: {one_line(error)}. Delete it and get it again."
        ) from error
