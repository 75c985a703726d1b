"""HDF5 files as whole: made in memory, and read with one line for whatever is wrong with them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from snn_delays.errors import HDF5_DAMAGE, UsageError, held_elsewhere, one_line


@contextmanager
def created(buffer: io.BytesIO) -> Iterator[h5py.File]:
    """A new file in HDF5 1.10's layout: compact, and all of its metadata carry checksums."""
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:
        yield file


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


@contextmanager
def naming_group(group: h5py.Group) -> Iterator[None]:
    """Put the group in front of what is wrong with it, unless it is named already."""
    try:
        yield
    except UsageError as error:
        if f" {str(group.name).rpartition('/')[2]}: " in str(error):
            raise
        raise UsageError(f"{group.name}: {error}") from error
