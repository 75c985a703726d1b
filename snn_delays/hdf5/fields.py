"""Typed fields of HDF5 groups: written so that damage shows, read with one line if wrong."""

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
    """An attribute of fixed length.

    HDF5 keeps strings of variable length in a heap without checksums, and may search a damaged
    one for ever.
    """
    content = text.encode("utf-8")
    group.attrs.create(name, content, dtype=h5py.string_dtype("utf-8", max(len(content), 1)))


def write_array(
    group: h5py.Group, name: str, values: NDArray[np.generic], *, gzip: bool = True
) -> h5py.Dataset:
    """An array with checksums.

    A block of zeros has Fletcher's checksum of zero, which gzip notices; without gzip the whole
    array's CRC stands beside it, as the attribute ``crc32``.
    """
    if values.size == 0:  # HDF5 has no chunks of size 0, hence no filters either
        return group.create_dataset(name, data=values)
    packed = {"compression": "gzip", "shuffle": True} if gzip else {}
    member = group.create_dataset(name, data=values, fletcher32=True, **packed)
    if not gzip:
        member.attrs["crc32"] = np.uint32(_crc32(values))
    return member


def _crc32(values: NDArray[np.generic]) -> int:
    return zlib.crc32(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())


def attribute(group: h5py.Group | h5py.Dataset, name: str) -> Any:
    """The attribute of that name; fixed-length strings come as ``str`` as others do.

    Raises:
        UsageError: there is none.
    """
    if name not in group.attrs:
        raise UsageError(f"attribute {name!r} is missing.")
    value = group.attrs[name]
    return value.decode("utf-8") if isinstance(value, bytes) else value


def text(group: h5py.Group | h5py.Dataset, name: str) -> str:
    """A string attribute.

    Raises:
        UsageError: there is none, or it is no string.
    """
    value = attribute(group, name)
    if not isinstance(value, str):
        raise UsageError(f"attribute {name!r} must be a string, got {value!r}.")
    return value


def integer(group: h5py.Group, name: str) -> int:
    """An integer attribute.

    Raises:
        UsageError: there is none, or it is no integer.
    """
    value = attribute(group, name)
    if not isinstance(value, np.integer):
        raise UsageError(f"attribute {name!r} must be an integer, got {value!r}.")
    return int(value)


def number(group: h5py.Group, name: str) -> float:
    """A number as attribute.

    Raises:
        UsageError: there is none, or it is no number.
    """
    value = attribute(group, name)
    if not isinstance(value, (np.integer, np.floating)):
        raise UsageError(f"attribute {name!r} must be a number, got {value!r}.")
    return float(value)


def subgroup(parent: h5py.Group, name: str) -> h5py.Group:
    """The group of that name.

    Raises:
        UsageError: there is none, or it is an array.
    """
    if name not in parent:
        raise UsageError(f"group {name!r} is missing.")
    member = parent[name]
    if not isinstance(member, h5py.Group):
        raise UsageError(f"{name!r} must be a group, got an array.")
    return member


def dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """The one-dimensional array of that name, not read yet.

    Raises:
        UsageError: there is none, it has another number of axes, or claims an absurd size.
    """
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
    """The elements of ``dataset``, in this machine's byte order.

    Raises:
        UsageError: as ``dataset``, or other elements than its attribute ``crc32`` stands for.
    """
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
