"""Reading spike recordings in the file format of SHD and SSC.

    spikes/times   [n] variable-length float (float16 as published), seconds
    spikes/units   [n] variable-length integer, the unit that fired
    labels         [n] integer
    extra/speaker  [n] integer or text, optional
    extra/keys     [classes] names of the labels, optional

Reference:
    Cramer, Stradmann, Schemmel, Zenke, "The Heidelberg Spiking Data Sets for the Systematic
    Evaluation of Spiking Neural Networks" (2020, arXiv:1910.07407).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float64, Int64

from snn_delays.data.header import Header, read_header
from snn_delays.data.spike_file import SpikeFile

_RECORDINGS_PER_CHUNK = 512


@dataclass(frozen=True)
class Events:
    """The events of recordings, one recording after the other.

    Shape:
        ``times`` (seconds, finite, >= 0) and ``units`` ``[E]``; ``offsets`` ``[n + 1]``, recording
        ``i`` owns the events from ``offsets[i]`` up to ``offsets[i + 1]``; ``labels`` and
        ``speakers`` (-1 where unknown) ``[n]``.
    """

    times: Float64[np.ndarray, " E"]
    units: Int64[np.ndarray, " E"]
    offsets: Int64[np.ndarray, " n_plus_1"]
    labels: Int64[np.ndarray, " n"]
    speakers: Int64[np.ndarray, " n"]
    class_names: tuple[str, ...]
    n_units: int
    invalid_events: int
    """How many events were left out because their time is NaN, infinite or negative."""

    def __len__(self) -> int:
        return len(self.labels)


def read_events(
    path: Path | str, *, dataset_name: str, n_units: int = 700, how_to_get: str
) -> Events:
    """Read a whole file at once: 16 bytes an event; :func:`stream_events` goes piece by piece.

    Raises:
        UsageError: as :func:`stream_events`.
    """
    parts = list(
        stream_events(path, dataset_name=dataset_name, n_units=n_units, how_to_get=how_to_get)
    )
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    return Events(
        times=np.concatenate([part.times for part in parts]),
        units=np.concatenate([part.units for part in parts]),
        offsets=_offsets(counts),
        labels=np.concatenate([part.labels for part in parts]),
        speakers=np.concatenate([part.speakers for part in parts]),
        class_names=parts[0].class_names,
        n_units=n_units,
        invalid_events=sum(part.invalid_events for part in parts),
    )


def stream_events(
    path: Path | str, *, dataset_name: str, n_units: int = 700, how_to_get: str
) -> Iterator[Events]:
    """Read a file in pieces of a few hundred recordings, at least one piece.

    Args:
        path: the HDF5 file.
        dataset_name: named in errors.
        n_units: units are 0 … ``n_units`` − 1.
        how_to_get: the sentence that ends every error: where to get a whole file.

    Raises:
        UsageError: one line with the path: missing, damaged or not HDF5; an array missing or of
            another kind; no recordings; times, units or labels that do not match; a unit or label
            out of range.
    """
    source = SpikeFile(Path(path), dataset_name, how_to_get)
    with source.open() as file:
        header = read_header(file, source)
        arrays = source.array(file, "spikes/times"), source.array(file, "spikes/units")
        for start in range(0, len(header.labels), _RECORDINGS_PER_CHUNK):
            yield _read_chunk(source, header, *arrays, start=start, n_units=n_units)


def _read_chunk(
    source: SpikeFile,
    header: Header,
    all_times: h5py.Dataset,
    all_units: h5py.Dataset,
    *,
    start: int,
    n_units: int,
) -> Events:
    chunk = slice(start, start + _RECORDINGS_PER_CHUNK)
    with source.reading():
        times_of, units_of = all_times[chunk], all_units[chunk]
    counts = np.array([len(times) for times in times_of], dtype=np.int64)
    unit_counts = np.array([len(units) for units in units_of], dtype=np.int64)
    if (ragged := np.flatnonzero(counts != unit_counts)).size:
        i = ragged[0]
        raise source.error(
            f"recording {start + i} is ragged: expected as many units as times, "
            f"got {unit_counts[i]} units and {counts[i]} times"
        )
    # float64 first: times are float16, which overflows at 65504 and so cannot hold microseconds.
    times = np.concatenate(times_of).astype(np.float64)
    units = np.concatenate(units_of)
    offsets = _offsets(counts)
    if (outside := np.flatnonzero((units < 0) | (units >= n_units))).size:
        i = np.searchsorted(offsets, outside[0], side="right") - 1
        raise source.error(
            f"recording {start + i} has a unit out of range: expected 0 to {n_units - 1}, "
            f"got {units[outside[0]]}"
        )
    valid = np.isfinite(times) & (times >= 0)
    return Events(
        times=times[valid],
        units=units[valid].astype(np.int64),
        offsets=_offsets(valid)[offsets],
        labels=header.labels[chunk],
        speakers=header.speakers[chunk],
        class_names=header.class_names,
        n_units=n_units,
        invalid_events=int(np.count_nonzero(~valid)),
    )


def _offsets(counts: np.ndarray) -> Int64[np.ndarray, " n_plus_1"]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
