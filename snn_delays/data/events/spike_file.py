"""A file that should hold spike recordings, and the one line to say when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py

from snn_delays.errors import HDF5_DAMAGE, UsageError, held_elsewhere


@dataclass(frozen=True)
class SpikeFile:
    """Where a file is, what it belongs to and how to get it.

    Args:
        path: the HDF5 file.
        dataset_name: what it belongs to, such as "SHD".
        how_to_get: the sentence that ends every error.
    """

    path: Path
    dataset_name: str
    how_to_get: str

    def error(self, problem: str) -> UsageError:
        """An error of one line; ``problem`` reads on after the path: "has no labels"."""
        line = f"{self.dataset_name}: {self.path} {problem}. {self.how_to_get}"
        return UsageError(" ".join(line.split()))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Put around calls into h5py, and nothing else: what they raise means a damaged file,
        or one that another program is writing.

        Raises:
            UsageError: in place of the error of h5py or of the operating system.
        """
        try:
            yield
        except HDF5_DAMAGE as error:
            if held := held_elsewhere(error):
                raise UsageError(f"{self.dataset_name}: {self.path} {held}") from error
            reason = str(error) or type(error).__name__
            raise self.error(f"cannot be read: expected a whole HDF5 file, got {reason}") from error

    def open(self) -> h5py.File:
        """Open for reading.

        Raises:
            UsageError: no such file, a folder, no bytes, not HDF5, truncated, no permission.
        """
        with self.reading():
            exists, is_folder = self.path.exists(), self.path.is_dir()
        if not exists:
            raise self.error("does not exist: expected an HDF5 file")
        if is_folder:
            raise self.error("is a folder: expected an HDF5 file")
        with self.reading():
            with self.path.open("rb") as file:
                start = file.read(16)
            if h5py.is_hdf5(self.path):
                # Some network and read-only file systems know no locks.
                return h5py.File(self.path, "r", locking="best-effort")
        if not start:
            raise self.error("is empty: expected an HDF5 file, got 0 bytes")
        raise self.error(f"is not HDF5: expected an HDF5 file, got one that starts with {start!r}")

    def array(self, file: h5py.File, name: str) -> h5py.Dataset:
        """The array of that name.

        Raises:
            UsageError: there is none.
        """
        with self.reading():
            member = file.get(name)
            found = ", ".join(file) or "nothing"
        if not isinstance(member, h5py.Dataset):
            raise self.error(f"has no array {name}: expected SHD's format, got a file of {found}")
        return member
