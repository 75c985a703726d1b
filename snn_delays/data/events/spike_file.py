"""A file in SHD's format, and what it says about its recordings before any event is read."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Bool, Int64

from snn_delays.arguments import plain, shown
from snn_delays.errors import HDF5_DAMAGE, UsageError, held_elsewhere
from snn_delays.files.heaps import damaged_lists
from snn_delays.files.shd_format import MOST_UNITS

_MOST_CLASSES = 1_000
_MOST_SPEAKERS = 100_000
_CONTENT = {"spikes/times": ("f", "floats"), "spikes/units": ("iu", "integers")}


@dataclass(frozen=True)
class SpikeFile:
    """Where a file is, what it belongs to, such as "SHD", and the sentence that ends its errors."""

    path: Path
    dataset_name: str
    how_to_get: str

    def error(self, problem: str) -> UsageError:
        """An error of one line; ``problem`` reads on after the path: "has no labels"."""
        line = f"{self.dataset_name}: {self.path} {problem}. {self.how_to_get}"
        return UsageError(" ".join(line.split()))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Put around calls into h5py: what they raise means a damaged file, or one in use."""
        try:
            yield
        except UsageError:
            raise
        except HDF5_DAMAGE as error:
            if held := held_elsewhere(error):
                raise UsageError(f"{self.dataset_name}: {self.path} {held}") from error
            reason = str(error) or type(error).__name__
            raise self.error(f"cannot be read: expected a whole HDF5 file, got {reason}") from error

    @contextmanager
    def opened(self) -> Iterator[tuple[h5py.File, Header]]:
        """The file, open for reading, and everything in it but the events."""
        with self._open() as file:
            yield file, self._header(file)

    def _open(self) -> h5py.File:
        with self.reading():
            if not self.path.exists() or self.path.is_dir():
                what = "is a folder" if self.path.exists() else "does not exist"
                raise self.error(f"{what}: expected an HDF5 file")
            with self.path.open("rb") as file:
                start = file.read(16)
            if h5py.is_hdf5(self.path):
                # Some network and read-only file systems know no locks.
                return h5py.File(self.path, "r", locking="best-effort")
        got = f"one that starts with {start!r}" if start else "0 bytes"
        raise self.error(f"is not HDF5: expected an HDF5 file, got {got}")

    def lists(self, file: h5py.File, name: str) -> h5py.Dataset:
        """An array of lists, unless its references or collections are damaged."""
        with self.reading():
            array = self._array(file, name)
            item_size = np.dtype(h5py.check_vlen_dtype(array.dtype)).itemsize
            damage = damaged_lists(self.path, file, array, item_size)
        if damage:
            raise self.error(f"is damaged: expected whole lists in {name}, got {damage}")
        return array

    def _array(self, file: h5py.File, name: str, n: int | None = None) -> h5py.Dataset:
        """The array of that name; with one entry for each of ``n`` recordings."""
        member = file.get(name)
        if not isinstance(member, h5py.Dataset):
            found = ", ".join(file) or "nothing"
            raise self.error(f"has no array {name}: expected SHD's format, got a file of {found}")
        if n is not None and member.shape != (n,):
            raise self.error(
                f"does not match: expected {n} entries in {name}, one per recording, got shape "
                f"{member.shape}"
            )
        return member

    def _header(self, file: h5py.File) -> Header:
        with self.reading():
            counts, kinds = zip(*(self._lists(file, name) for name in _CONTENT), strict=True)
            n, size = counts[0], self.path.stat().st_size
            if n != counts[1]:
                raise self.error(
                    f"does not match: expected spikes/units of as many recordings as spikes/times, "
                    f"{n}, got {counts[1]}"
                )
            if n == 0:
                raise self.error("holds no recordings: expected at least 1, got 0")
            if n > size:  # A damaged number, before memory is asked for on its word.
                raise self.error(
                    f"is damaged: expected recordings in {size} bytes, got {n} of them"
                )
            labels = np.asarray(self._array(file, "labels", n)[()])
            if labels.dtype.kind not in "iu":
                raise self.error(f"has wrong labels: expected integers, got {labels.dtype}")
            labels = labels.astype(np.int64)
            return Header(
                labels,
                self._speakers(file, n),
                self._class_names(file, int(labels.max())),
                _speaker_sex(file),
                # No wider than what they are read into.
                kinds[0] if kinds[0].itemsize <= 8 else np.dtype(np.float64),
                self._n_units(file),
            )

    def _lists(self, file: h5py.File, name: str) -> tuple[int, np.dtype]:
        """How many lists there are, and what they are lists of."""
        array, (kinds, expected) = self._array(file, name), _CONTENT[name]
        content = h5py.check_vlen_dtype(array.dtype)
        kind = np.dtype(np.void if content is None else content)
        if array.ndim != 1 or kind.kind not in kinds:
            raise self.error(
                f"has a wrong {name}: expected one variable-length list of {expected} per "
                f"recording, got shape {array.shape} of {content or array.dtype}"
            )
        if not kind.isnative:  # h5py gives such lists back with their bytes in the wrong order
            raise self.error(
                f"has a wrong {name}: expected lists in this machine's order of bytes, got {kind}"
            )
        return array.shape[0], kind

    def _speakers(self, file: h5py.File, n: int) -> Int64[np.ndarray, " n"]:
        if "extra/speaker" not in file:
            return np.full(n, -1, dtype=np.int64)
        speakers = np.asarray(self._array(file, "extra/speaker", n)[()])
        if speakers.dtype.kind in "iu":
            return speakers.astype(np.int64)
        # Speakers known by text get a number that is the same in every file.
        return np.array([zlib.crc32(str(name).encode()) for name in speakers.astype(str)], np.int64)

    def _class_names(self, file: h5py.File, largest: int) -> tuple[str, ...]:
        if "extra/keys" in file:
            array = self._array(file, "extra/keys")
            if not array.size or array.size > _MOST_CLASSES:
                raise self.error(f"has {array.size} class names: expected 1 to {_MOST_CLASSES}")
            return _texts(array[()])
        if largest >= _MOST_CLASSES:
            raise self.error(
                f"has no class names and a label {largest}: expected labels below {_MOST_CLASSES}, "
                "or extra/keys"
            )
        return tuple(str(label) for label in range(largest + 1))

    def _n_units(self, file: h5py.File) -> int | None:
        said = file["spikes/units"].attrs.get("n_units")
        count = plain(said)
        if said is not None and (type(count) is not int or not 1 <= count <= MOST_UNITS):
            raise self.error(
                f"has a wrong attribute n_units of spikes/units: expected 1 to {MOST_UNITS}, "
                f"got {shown(said)}"
            )
        return count


@dataclass(frozen=True)
class Header:
    """Labels and speakers (-1: unknown) of all recordings; a label may have no name."""

    labels: Int64[np.ndarray, " n"]
    speakers: Int64[np.ndarray, " n"]
    class_names: tuple[str, ...]
    speaker_sex: dict[int, str]
    time_type: np.dtype
    """What times are stored in."""
    n_units: int | None
    """How many units the file says there are; None if it does not."""

    @property
    def labels_in_range(self) -> Bool[np.ndarray, " n"]:
        """Which of the labels have a name."""
        return (self.labels >= 0) & (self.labels < len(self.class_names))


def _speaker_sex(file: h5py.File) -> dict[int, str]:
    """Sex of every speaker, where the file has a list of it, one entry per speaker."""
    array = file.get("extra/meta_info/gender")
    if not isinstance(array, h5py.Dataset) or len(array.shape) != 1:
        return {}
    return dict(enumerate(_texts(array[()]))) if array.shape[0] <= _MOST_SPEAKERS else {}


def _texts(values: np.ndarray | bytes | str) -> tuple[str, ...]:
    return tuple(
        text.decode("utf-8", errors="replace") if isinstance(text, bytes) else str(text)
        for text in np.atleast_1d(values).ravel().tolist()
    )
