"""Walking the heaps of an HDF5 file before the HDF5 library does, which knows no way out of some.

Variable-length lists lie in "global heap collections", and the array that they belong to holds a
reference to each: its length, the address of the collection, its index there. Where such a
collection is overwritten with zeros, as a download or a machine that stopped may leave it, the
library (2.0.0 and before) goes round in it for ever. So every collection is walked here first.

Reference:
    HDF5 File Format Specification 3.0, III.E "Disk Format: Level 1E - Global Heap".
"""

from __future__ import annotations

import io
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

_REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
_NOWHERE = np.uint64(2**64 - 1)
_PIECE = 1 << 24
_SIGNATURE = b"GCOL\x01\0\0\0"
_HEADER = struct.Struct("<8sQ")  # signature and version, size of the collection with this
_OBJECT = struct.Struct("<HH4xQ")  # index, reference count, size without this and padding


def damaged_lists(path: Path, file: h5py.File, array: h5py.Dataset, item_size: int) -> str:
    """What is wrong with an array's lists, or strings, whose items have 1 byte; or nothing.

    The references of a compressed array are not looked at, but all collections of the file are.
    """
    # Files with a user block or unusual widths of addresses are taken as they are.
    if file.userblock_size or file.id.get_create_plist().get_sizes() != (8, 8):
        return ""
    blocks = list(_blocks(array))
    # Unbuffered, and not mapped: a few bytes here and there, of a file of gigabytes.
    with path.open("rb", buffering=0) as raw:
        size = raw.seek(0, os.SEEK_END)
        if array.id.get_create_plist().get_nfilters():
            return _any_damage(raw, size)
        return _damage(raw, size, blocks, item_size)


def _blocks(array: h5py.Dataset) -> Iterator[tuple[int, int]]:
    """Where in the file the references of an array stand: first byte and number of bytes."""
    layout = array.id.get_create_plist()
    if layout.get_layout() == h5py.h5d.CONTIGUOUS:
        offset = array.id.get_offset()
        if offset is not None:
            yield offset, math.prod(array.shape) * _REFERENCE.itemsize
    elif layout.get_layout() == h5py.h5d.CHUNKED:
        for i in range(array.id.get_num_chunks()):
            chunk = array.id.get_chunk_info(i)
            yield chunk.byte_offset, chunk.size


def _damage(raw: io.FileIO, file_size: int, blocks: list[tuple[int, int]], item_size: int) -> str:
    """What is wrong, or nothing."""
    heaps: dict[int, dict[int, int]] = {}
    for first, size in blocks:
        if first + size > file_size:
            return f"references beyond the end, at byte {first}"
        references = np.frombuffer(_bytes(raw, first, size), dtype=_REFERENCE)
        # What was never written, such as the rest of a last chunk, refers to nowhere.
        used = references[(references["length"] > 0) & (references["address"] != _NOWHERE)]
        for length, address, index in used.tolist():
            if address not in heaps:
                heap = _walk(raw, file_size, address)
                if isinstance(heap, str):
                    return heap
                heaps[address] = heap
            # A library that is less careful would read what lies behind.
            if heaps[address].get(index, -1) < length * item_size:
                return f"no list of {length} at byte {address}, index {index}"
    return ""


def _any_damage(raw: io.FileIO, file_size: int) -> str:
    """What is wrong with a collection, wherever in the file its signature is; or nothing."""
    for first in range(0, file_size, _PIECE):
        # A little more than a piece, for a signature that lies across its end.
        piece = _bytes(raw, first, min(_PIECE + len(_SIGNATURE) - 1, file_size - first))
        place = piece.find(_SIGNATURE)
        while place >= 0:
            if isinstance(heap := _walk(raw, file_size, first + place), str):
                return heap
            place = piece.find(_SIGNATURE, place + 1)
    return ""


def _walk(raw: io.FileIO, file_size: int, address: int) -> dict[int, int] | str:
    """Index and size in bytes of every object of a collection; or what is wrong."""
    where = f"at byte {address}"
    if address + _HEADER.size > file_size:
        return f"a reference beyond the end, {where}"
    signature, size = _HEADER.unpack(_bytes(raw, address, _HEADER.size))
    if signature != _SIGNATURE:
        return f"no collection of lists {where}"
    end = address + size
    if size < _HEADER.size or end > file_size:
        return f"a collection of {size} bytes {where}"
    found: dict[int, int] = {}
    place = address + _HEADER.size
    while place + _OBJECT.size <= end:
        index, _, length = _OBJECT.unpack(_bytes(raw, place, _OBJECT.size))
        # Of free space, index 0, the size counts all of it; else it stops before the padding.
        step = length if index == 0 else _OBJECT.size + -(-length // 8) * 8
        if step < _OBJECT.size or place + step > end:
            return f"a list of {length} bytes at byte {place}, in the collection {where}"
        if index:
            found[index] = length
        place += step
    return found


def _bytes(raw: io.FileIO, first: int, size: int) -> bytes:
    """So many bytes from there on."""
    raw.seek(first)
    content = raw.read(size)
    if len(content) != size:
        raise OSError(f"expected {size} bytes at {first}, got {len(content)}")
    return content
