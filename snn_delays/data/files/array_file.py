"""A file of flat arrays that is mapped into memory and whose every byte is checked.

64 bytes        what it is, its format, the CRC-32 of all bytes that follow and their number
one line        JSON: what it is about; name, dtype, length and place of every array
the arrays      one after the other, each at a multiple of 64 bytes after the start of the first
"""

from __future__ import annotations

import json
import mmap
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from snn_delays.atomic import replacing
from snn_delays.errors import one_line

_FORMAT = 1
_ALIGNMENT = 64


class DamagedError(Exception):
    """Not, or no longer, what :func:`write_arrays` wrote; the message reads on after the path."""


def write_arrays(path: Path, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write a file that :func:`map_arrays` reads, all of it or nothing.

    Missing folders are made; an existing file is replaced. Who has mapped that one keeps it.

    Args:
        path: the file.
        about: anything JSON can hold.
        arrays: of one dimension.

    Raises:
        UsageError: the file system refuses.
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


def map_arrays(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What ``write_arrays`` was given; the arrays are mapped, and read as they are touched.

    Writing to them changes nothing in the file. Checking takes a second for some GB.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedError: truncated, changed, of another format, or not to be read at all.
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


def _first_line(checksum: int, size: int) -> bytes:
    line = f"snn_delays arrays, format {_FORMAT}, crc32 {checksum:08x}, {size} bytes"
    return line.encode().ljust(_ALIGNMENT - 1) + b"\n"
