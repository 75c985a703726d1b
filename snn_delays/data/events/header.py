"""What a file in SHD's format says about its recordings, before any event is read."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import h5py
import numpy as np
from jaxtyping import Bool, Int64

from snn_delays.arguments import plain, shown
from snn_delays.data.events.spike_file import SpikeFile
from snn_delays.spike_file import MOST_UNITS

_MOST_CLASSES = 1_000
_MOST_SPEAKERS = 100_000


@dataclass(frozen=True)
class Header:
    """Labels and speakers of all recordings, and what the labels are called.

    Shape:
        ``labels``, ``speakers`` (-1 where unknown) ``[n]``. A label may have no name.
    """

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
    """Read and check everything but the events themselves.

    Raises:
        UsageError: an array missing, of another kind or of another length; no recordings; more
            classes or recordings than there can be.
    """
    n, time_type = _n_recordings(file, source)
    labels = _per_recording(file, source, "labels", n)
    if labels.dtype.kind not in "iu":
        raise source.error(f"has wrong labels: expected integers, got {labels.dtype}")
    labels = labels.astype(np.int64)
    return Header(
        labels,
        _speakers(file, source, n),
        _class_names(file, source, labels),
        _speaker_sex(file, source),
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
            f"has a wrong {name}: expected one variable-length list of {expected} per recording, "
            f"got shape {shape} of {content or array.dtype}"
        )
    if not kind.isnative:  # h5py gives such lists back with their bytes in the wrong order
        raise source.error(
            f"has a wrong {name}: expected lists in this machine's order of bytes, got {kind}"
        )
    return shape[0], kind


def _per_recording(file: h5py.File, source: SpikeFile, name: str, n: int) -> np.ndarray:
    array = source.array(file, name)
    with source.reading():
        shape = array.shape
    if shape != (n,):
        raise source.error(
            f"does not match: expected {n} entries in {name}, one per recording, got shape {shape}"
        )
    with source.reading():
        return np.asarray(array[()])


def _speakers(file: h5py.File, source: SpikeFile, n: int) -> Int64[np.ndarray, " n"]:
    with source.reading():
        known = "extra/speaker" in file
    if not known:
        return np.full(n, -1, dtype=np.int64)
    speakers = _per_recording(file, source, "extra/speaker", n)
    if speakers.dtype.kind in "iu":
        return speakers.astype(np.int64)
    # Speakers known by text get a number that is the same in every file.
    return np.array([zlib.crc32(str(name).encode()) for name in speakers.astype(str)], np.int64)


def _class_names(
    file: h5py.File, source: SpikeFile, labels: Int64[np.ndarray, " n"]
) -> tuple[str, ...]:
    with source.reading():
        named = "extra/keys" in file
    if not named:
        largest = int(labels.max())
        if largest >= _MOST_CLASSES:
            raise source.error(
                f"has no class names and a label {largest}: expected labels below {_MOST_CLASSES}, "
                "or extra/keys"
            )
        return tuple(str(label) for label in range(largest + 1))
    array = source.array(file, "extra/keys")
    with source.reading():
        size = array.size
    if not size or size > _MOST_CLASSES:
        raise source.error(f"has {size} class names: expected 1 to {_MOST_CLASSES}")
    with source.reading():
        return _texts(array[()])


def _n_units(file: h5py.File, source: SpikeFile) -> int | None:
    array = source.array(file, "spikes/units")
    with source.reading():
        said = array.attrs.get("n_units")
    if said is None:
        return None
    count = plain(said)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST_UNITS:
        raise source.error(
            f"has a wrong attribute n_units of spikes/units: expected 1 to {MOST_UNITS}, "
            f"got {shown(said)}"
        )
    return count


def _speaker_sex(file: h5py.File, source: SpikeFile) -> dict[int, str]:
    """Sex of every speaker, where the file has a list of it, one entry per speaker."""
    with source.reading():
        array = file.get("extra/meta_info/gender")
        if not isinstance(array, h5py.Dataset):
            return {}
        if len(array.shape) != 1 or array.shape[0] > _MOST_SPEAKERS:
            return {}
        return dict(enumerate(_texts(array[()])))


def _texts(values: np.ndarray | bytes | str) -> tuple[str, ...]:
    return tuple(
        text.decode("utf-8", errors="replace") if isinstance(text, bytes) else str(text)
        for text in np.atleast_1d(values).ravel().tolist()
    )
