"""Reading spike recordings in the file format of SHD and SSC.

    spikes/times   [n] variable-length float (float16 as published), seconds
    spikes/units   [n] variable-length integer, the unit that fired; optional attribute n_units:
                   units are 0 … n_units − 1
    labels         [n] integer
    extra/speaker  [n] integer or text, optional
    extra/keys     [classes] names of the labels, optional
    extra/meta_info/gender  [speakers] text, optional

Reference:
    Cramer, Stradmann, Schemmel, Zenke, "The Heidelberg Spiking Data Sets for the Systematic
    Evaluation of Spiking Neural Networks" (2020, arXiv:1910.07407).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from snn_delays.arguments import described, whole_number
from snn_delays.columns import column, offsets_of
from snn_delays.data.events.header import Header, read_header
from snn_delays.data.events.recordings import (
    OnBad,
    Recordings,
    check_on_bad,
    defects,
    label_defect,
    sizes,
    stream_recordings,
)
from snn_delays.data.events.spike_file import SpikeFile
from snn_delays.errors import UsageError


@dataclass(frozen=True)
class Events:
    """The events of recordings, one recording after the other.

    Shape:
        ``times`` (seconds, finite, >= 0) and ``units`` ``[E]``; ``offsets`` ``[n + 1]``, recording
        ``i`` owns the events from ``offsets[i]`` up to ``offsets[i + 1]``; ``labels`` and
        ``speakers`` (-1 where unknown) ``[n]``.

    Raises:
        UsageError: columns of another kind, length or range.
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
    time_type: np.dtype = field(default_factory=lambda: np.dtype(np.float64))
    """What the file stores times in: how far each is rounded."""
    speaker_sex: dict[int, str] = field(default_factory=dict)
    """What the file says of its speakers, such as "female"; of some or none."""
    skipped: tuple[str, ...] = ()
    """The recordings that were left out, and why: "recording 7 is ragged: …"."""

    def __post_init__(self) -> None:
        times = self.times
        real = isinstance(times, np.ndarray) and times.dtype.kind == "f" and times.ndim == 1
        if not real or not (np.isfinite(times).all() and times.min(initial=0) >= 0):
            raise UsageError(
                "Events: times must be seconds, a float array [E] of finite numbers >= 0, "
                f"got {described(times)}{f' from {times.min(initial=0)} s' if real else ''}."
            )
        last = whole_number("Events: n_units", self.n_units, 1) - 1
        why = f"n_units = {self.n_units}"
        column("Events: units", self.units, len(times), 0, last, why=why)
        n = len(offsets_of("Events: offsets", self.offsets, len(times))) - 1
        last = len(self.class_names) - 1
        column("Events: labels", self.labels, n, 0, last, why=f"{last + 1} class_names")
        column("Events: speakers", self.speakers, n, -(2**63), 2**63 - 1)

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
        time_type=parts[0].time_type,
        speaker_sex=parts[0].speaker_sex,
    )


def stream_events(
    path: Path | str,
    *,
    dataset_name: str,
    n_units: int = 700,
    how_to_get: str,
    on_bad: OnBad = "refuse",
) -> Iterator[Events]:
    """Read a file in pieces of a few hundred recordings, at least one piece.

    Args:
        path: the HDF5 file.
        dataset_name: named in errors.
        n_units: units are 0 … ``n_units`` − 1.
        how_to_get: the sentence that ends every error: where to get a whole file.
        on_bad: what becomes of recordings whose lists do not match or that have a unit or label
            out of range: "refuse" the file, or "skip" them; :attr:`Events.skipped` names them.

    Raises:
        UsageError: one line with the path: missing, damaged or not HDF5; an array missing or of
            another kind; no recordings; times, units or labels that do not match; a unit or label
            out of range.
    """
    check_on_bad(on_bad)
    source = SpikeFile(Path(path), dataset_name, how_to_get)
    with source.open() as file:
        header = read_header(file, source)
        wrong_labels = np.flatnonzero(~header.labels_in_range)
        if on_bad == "refuse" and wrong_labels.size:  # before gigabytes are read
            i = int(wrong_labels[0])
            defect = label_defect(int(header.labels[i]), len(header.class_names))
            raise source.error(f"recording {i} {defect}")
        for some in stream_recordings(file, source, header):
            yield _events(source, header, some, n_units=n_units, on_bad=on_bad)


def _events(
    source: SpikeFile, header: Header, some: Recordings, *, n_units: int, on_bad: OnBad
) -> Events:
    bad = defects(some, n_units=n_units, n_classes=len(header.class_names))
    skipped = tuple(f"recording {some.start + i} {reason}" for i, reason in bad.items())
    if bad and on_bad == "refuse":
        raise source.error(skipped[0])
    if bad:
        some = some.subset(np.setdiff1d(np.arange(len(some)), list(bad)))
    offsets = _offsets(sizes(some.times))
    # float64 first: times are float16, which overflows at 65504 and so cannot hold microseconds.
    times = _joined(some.times).astype(np.float64)
    valid = np.isfinite(times) & (times >= 0)
    return Events(
        times=times[valid],
        units=_joined(some.units)[valid].astype(np.int64),
        offsets=_offsets(valid)[offsets],
        labels=some.labels,
        speakers=some.speakers,
        class_names=header.class_names,
        n_units=n_units,
        invalid_events=int(np.count_nonzero(~valid)),
        time_type=header.time_type,
        speaker_sex=header.speaker_sex,
        skipped=skipped,
    )


def _joined(lists: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(lists) if len(lists) else np.zeros(0)


def _offsets(counts: np.ndarray) -> Int64[np.ndarray, " n_plus_1"]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
