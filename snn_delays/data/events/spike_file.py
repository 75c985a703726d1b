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
from snn_delays.hdf5.heaps import damaged_lists
from snn_delays.shd_format import MOST_UNITS

_MOST_CLASSES = 1_000
_MOST_SPEAKERS = 100_000


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

    def open(self) -> h5py.File:
        """Open for reading."""
        with self.reading():
            if not self.path.exists():
                raise self.error("does not exist: expected an HDF5 file")
            if self.path.is_dir():
                raise self.error("is a folder: expected an HDF5 file")
            with self.path.open("rb") as file:
                start = file.read(16)
            if h5py.is_hdf5(self.path):
                # Some network and read-only file systems know no locks.
                return h5py.File(self.path, "r", locking="best-effort")
        if not start:
            raise self.error("is empty: expected an HDF5 file, got 0 bytes")
        raise self.error(f"is not HDF5: expected an HDF5 file, got one that starts with {start!r}")

    def array(self, file: h5py.File, name: str, n: int | None = None) -> h5py.Dataset:
        """The array of that name; with one entry for each of ``n`` recordings."""
        with self.reading():
            member = file.get(name)
            found = ", ".join(file) or "nothing"
            if not isinstance(member, h5py.Dataset):
                got = f"expected SHD's format, got a file of {found}"
                raise self.error(f"has no array {name}: {got}")
            if n is not None and member.shape != (n,):
                raise self.error(
                    f"does not match: expected {n} entries in {name}, one per recording, got shape "
                    f"{member.shape}"
                )
        return member

    def lists(self, file: h5py.File, name: str) -> h5py.Dataset:
        """An array of lists, unless its references or collections are damaged."""
        array = self.array(file, name)
        with self.reading():
            item_size = np.dtype(h5py.check_vlen_dtype(array.dtype)).itemsize
            damage = damaged_lists(self.path, file, array, item_size)
        if damage:
            raise self.error(f"is damaged: expected whole lists in {name}, got {damage}")
        return array


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


def read_header(file: h5py.File, source: SpikeFile) -> Header:
    """Read and check everything but the events themselves."""
    n, time_type = _n_recordings(file, source)
    array = source.array(file, "labels", n)
    with source.reading():
        labels = np.asarray(array[()])
        if labels.dtype.kind not in "iu":
            raise source.error(f"has wrong labels: expected integers, got {labels.dtype}")
        labels = labels.astype(np.int64)
        return Header(
            labels,
            _speakers(file, source, n),
            _class_names(file, source, labels),
            _speaker_sex(file),
            # No wider than what they are read into.
            time_type if time_type.itemsize <= 8 else np.dtype(np.float64),
            _n_units(file, source),
        )


def _n_recordings(file: h5py.File, source: SpikeFile) -> tuple[int, np.dtype]:
    """How many there are, and the type of their times."""
    times, time_type = _n_lists(file, source, "spikes/times", kinds="f", expected="floats")
    units, _ = _n_lists(file, source, "spikes/units", kinds="iu", expected="integers")
    if units != times:
        raise source.error(
            f"does not match: expected spikes/units of as many recordings as spikes/times, "
            f"{times}, got {units}"
        )
    if times == 0:
        raise source.error("holds no recordings: expected at least 1, got 0")
    with source.reading():
        size = source.path.stat().st_size
    if times > size:  # A damaged number, before memory is asked for on its word.
        raise source.error(f"is damaged: expected recordings in {size} bytes, got {times} of them")
    return times, time_type


def _n_lists(
    file: h5py.File, source: SpikeFile, name: str, *, kinds: str, expected: str
) -> tuple[int, np.dtype]:
    """How many lists there are, and what they are lists of."""
    array = source.array(file, name)
    with source.reading():
        shape, content = array.shape, h5py.check_vlen_dtype(array.dtype)
        kind = np.dtype(np.void if content is None else content)
        if len(shape) != 1 or kind.kind not in kinds:
            raise source.error(
                f"has a wrong {name}: expected one variable-length list of {expected} per "
                f"recording, got shape {shape} of {content or array.dtype}"
            )
        if not kind.isnative:  # h5py gives such lists back with their bytes in the wrong order
            raise source.error(
                f"has a wrong {name}: expected lists in this machine's order of bytes, got {kind}"
            )
    return shape[0], kind


def _speakers(file: h5py.File, source: SpikeFile, n: int) -> Int64[np.ndarray, " n"]:
    if "extra/speaker" not in file:
        return np.full(n, -1, dtype=np.int64)
    speakers = np.asarray(source.array(file, "extra/speaker", n)[()])
    if speakers.dtype.kind in "iu":
        return speakers.astype(np.int64)
    # Speakers known by text get a number that is the same in every file.
    return np.array([zlib.crc32(str(name).encode()) for name in speakers.astype(str)], np.int64)


def _class_names(
    file: h5py.File, source: SpikeFile, labels: Int64[np.ndarray, " n"]
) -> tuple[str, ...]:
    if "extra/keys" not in file:
        largest = int(labels.max())
        if largest >= _MOST_CLASSES:
            raise source.error(
                f"has no class names and a label {largest}: expected labels below {_MOST_CLASSES}, "
                "or extra/keys"
            )
        return tuple(str(label) for label in range(largest + 1))
    array = source.array(file, "extra/keys")
    if not array.size or array.size > _MOST_CLASSES:
        raise source.error(f"has {array.size} class names: expected 1 to {_MOST_CLASSES}")
    return _texts(array[()])


def _n_units(file: h5py.File, source: SpikeFile) -> int | None:
    said = source.array(file, "spikes/units").attrs.get("n_units")
    if said is None:
        return None
    count = plain(said)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST_UNITS:
        raise source.error(
            f"has a wrong attribute n_units of spikes/units: expected 1 to {MOST_UNITS}, "
            f"got {shown(said)}"
        )
    return count


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
