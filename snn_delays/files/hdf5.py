"""HDF5 files as whole: made in memory so that damage shows, read with one line for what is wrong.

Raises:
    UsageError: what reads, where a member is missing, of another kind, or damaged.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import HDF5_DAMAGE, UsageError, held_elsewhere, one_line

# gzip packs zeros about 1000 to 1. An array that claims to be far larger is a damaged one, and
# asking for it would take the machine's memory; below this size it does not matter.
MAX_RATIO = 1100
HARMLESS = 1 << 28


def created(fill: Callable[[h5py.File], None]) -> bytes:
    """A new file in HDF5 1.10's layout: compact, and all of its metadata carry checksums."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:
        fill(file)
    return buffer.getvalue()


@contextmanager
def opened(path: Path, what: str, missing: str = "Export it again.") -> Iterator[h5py.File]:
    """A file to read; ``missing`` says what to do if there is none, ``what`` it is.

    Raises:
        UsageError: one line with the path for whatever goes wrong inside the block: no such file,
            truncated or damaged, in use elsewhere, or what the block itself refuses.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such {what}. {missing}")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except UsageError as error:
        raise UsageError(f"{path}: not a valid {what}: {one_line(error)}") from error
    except HDF5_DAMAGE as error:
        if held := held_elsewhere(error):
            raise UsageError(f"{path} {held}") from error
        raise UsageError(
            f"{path}: not a readable {what} (truncated, damaged or not HDF5): "
            f"{one_line(error)}. Export it again."
        ) from error


def write_text(owner: h5py.Group | h5py.Dataset, name: str, text: str) -> None:
    """An attribute of fixed length: others lie in a heap without checksums."""
    content = text.encode("utf-8")
    owner.attrs.create(name, content, dtype=h5py.string_dtype("utf-8", max(len(content), 1)))


def write_array(
    group: h5py.Group, name: str, values: NDArray[np.generic], *, gzip: bool = True
) -> h5py.Dataset:
    """An array with checksums; without gzip a CRC stands beside it, as the attribute ``crc32``."""
    # Fletcher's checksum of a block of zeros is right; gzip notices it, or the CRC.
    if values.size == 0:  # HDF5 has no chunks of size 0, hence no filters either
        return group.create_dataset(name, data=values)
    packed = {"compression": "gzip", "shuffle": True} if gzip else {}
    member = group.create_dataset(name, data=values, fletcher32=True, **packed)
    if not gzip:
        member.attrs["crc32"] = np.uint32(_crc32(values))
    return member


def _crc32(values: NDArray[np.generic]) -> int:
    return zlib.crc32(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())


def attributes(owner: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    """All attributes as Python's own values, where they are single ones."""
    return {name: _plain(value) for name, value in owner.attrs.items()}


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return value.decode("utf-8") if isinstance(value, bytes) else value


def subgroup(parent: h5py.Group, name: str) -> h5py.Group:
    """The group of that name."""
    return _member(parent, name, h5py.Group, "a group")


def dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """The one-dimensional array of that name, not read yet, unless it claims an absurd size."""
    member = _member(group, name, h5py.Dataset, "an array")
    if member.ndim != 1:
        raise UsageError(f"array {name!r} must be a vector, got shape {member.shape}.")
    if is_absurd(member):
        raise UsageError(f"array {name!r} claims {member.size} elements, which the file lacks.")
    return member


def _member(group: h5py.Group, name: str, kind: type[Any], called: str) -> Any:
    if name not in group:
        raise UsageError(f"{called.split()[1]} {name!r} is missing.")
    if not isinstance(member := group[name], kind):
        raise UsageError(f"{name!r} must be {called}, got a {type(member).__name__}.")
    return member


def array(group: h5py.Group, name: str) -> NDArray[Any]:
    """The elements of ``dataset``, in this machine's byte order, if its ``crc32`` agrees."""
    member = dataset(group, name)
    values = member[()]
    if "crc32" in member.attrs and member.attrs["crc32"] != _crc32(values):
        raise UsageError(
            f"array {name!r} is not what was written (crc32). Export it again, or delete the "
            "attribute 'crc32' if the change was meant."
        )
    # Another program may have written the other byte order; the numbers are the same.
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def is_absurd(member: h5py.Dataset) -> bool:
    """Whether an array claims far more elements than its bytes in the file can hold."""
    return member.nbytes > max(HARMLESS, MAX_RATIO * member.id.get_storage_size())
