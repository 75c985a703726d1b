"""What a file in SHD's format says about its recordings, before any event is read."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import h5py
import numpy as np
from jaxtyping import Int64

from snn_delays.data.spike_file import SpikeFile


@dataclass(frozen=True)
class Header:
    """Labels and speakers of all recordings, and what the labels are called.

    Shape:
        ``labels``, ``speakers`` (-1 where unknown) ``[n]``.
    """

    labels: Int64[np.ndarray, " n"]
    speakers: Int64[np.ndarray, " n"]
    class_names: tuple[str, ...]


def read_header(file: h5py.File, source: SpikeFile) -> Header:
    """Read and check everything but the events themselves.

    Raises:
        UsageError: an array missing, of another kind or of another length; no recordings; a label
            that is negative or has no name.
    """
    n = _n_recordings(file, source)
    labels = _per_recording(file, source, "labels", n)
    if labels.dtype.kind not in "iu":
        raise source.error(f"has wrong labels: expected integers, got {labels.dtype}")
    labels = labels.astype(np.int64)
    names = _class_names(file, source, labels)
    if (outside := np.flatnonzero((labels < 0) | (labels >= len(names)))).size:
        raise source.error(
            f"recording {outside[0]} has a label out of range: expected 0 to {len(names) - 1} "
            f"({len(names)} class names), got {labels[outside[0]]}"
        )
    return Header(labels, _speakers(file, source, n), names)


def _n_recordings(file: h5py.File, source: SpikeFile) -> int:
    times = _n_lists(file, source, "spikes/times", kinds="f", expected="floats")
    units = _n_lists(file, source, "spikes/units", kinds="iu", expected="integers")
    if units != times:
        raise source.error(
            f"does not match: expected spikes/units of as many recordings as spikes/times, "
            f"{times}, got {units}"
        )
    if times == 0:
        raise source.error("holds no recordings: expected at least 1, got 0")
    return times


def _n_lists(file: h5py.File, source: SpikeFile, name: str, *, kinds: str, expected: str) -> int:
    array = source.array(file, name)
    with source.reading():
        shape, content = array.shape, h5py.check_vlen_dtype(array.dtype)
        kind = "" if content is None else np.dtype(content).kind
    if len(shape) != 1 or kind not in kinds or not kind:
        raise source.error(
            f"has a wrong {name}: expected one variable-length list of {expected} per recording, "
            f"got shape {shape} of {content or array.dtype}"
        )
    return shape[0]


def _per_recording(file: h5py.File, source: SpikeFile, name: str, n: int) -> np.ndarray:
    array = source.array(file, name)
    with source.reading():
        values = np.asarray(array[()])
    if values.shape != (n,):
        raise source.error(
            f"does not match: expected {n} entries in {name}, one per recording, "
            f"got shape {values.shape}"
        )
    return values


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
        return tuple(str(label) for label in range(int(labels.max()) + 1))
    array = source.array(file, "extra/keys")
    with source.reading():
        keys = np.atleast_1d(array[()]).ravel().tolist()
    return tuple(
        key.decode("utf-8", errors="replace") if isinstance(key, bytes) else str(key)
        for key in keys
    )
