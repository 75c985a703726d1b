"""Typed fields of HDF5 groups: written so that damage shows, read with one line if wrong.

Raises:
    UsageError: what reads, where a field is missing, of another kind, or damaged.
"""

from __future__ import annotations

import zlib
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError

# gzip packs zeros about 1000 to 1. An array that claims to be far larger is a damaged one, and
# asking for it would take the machine's memory; below this size it does not matter.
MAX_RATIO = 1100
HARMLESS = 1 << 28


def write_text(group: h5py.Group | h5py.Dataset, name: str, text: str) -> None:
    """An attribute of fixed length: others lie in a heap without checksums."""
    content = text.encode("utf-8")
    group.attrs.create(name, content, dtype=h5py.string_dtype("utf-8", max(len(content), 1)))


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


def attribute(
    group: h5py.Group | h5py.Dataset, name: str, kind: Any = object, called: str = ""
) -> Any:
    """The attribute of that name and kind; fixed-length strings come as ``str`` as others do."""
    if name not in group.attrs:
        raise UsageError(f"attribute {name!r} is missing.")
    value = group.attrs[name]
    value = value.decode("utf-8") if isinstance(value, bytes) else value
    if not isinstance(value, kind):
        raise UsageError(f"attribute {name!r} must be {called}, got {value!r}.")
    return value


def text(group: h5py.Group | h5py.Dataset, name: str) -> str:
    """A string attribute."""
    return attribute(group, name, str, "a string")


def integer(group: h5py.Group, name: str) -> int:
    """An integer attribute."""
    return int(attribute(group, name, np.integer, "an integer"))


def number(group: h5py.Group, name: str) -> float:
    """A number as attribute."""
    return float(attribute(group, name, (np.integer, np.floating), "a number"))


def subgroup(parent: h5py.Group, name: str) -> h5py.Group:
    """The group of that name."""
    if name not in parent:
        raise UsageError(f"group {name!r} is missing.")
    member = parent[name]
    if not isinstance(member, h5py.Group):
        raise UsageError(f"{name!r} must be a group, got an array.")
    return member


def dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """The one-dimensional array of that name, not read yet, unless it claims an absurd size."""
    if name not in group:
        raise UsageError(f"array {name!r} is missing.")
    member = group[name]
    if not isinstance(member, h5py.Dataset):
        raise UsageError(f"{name!r} must be an array, got a group.")
    if member.ndim != 1:
        raise UsageError(f"array {name!r} must be a vector, got shape {member.shape}.")
    if is_absurd(member):
        raise UsageError(f"array {name!r} claims {member.size} elements, which the file lacks.")
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
