"""Reading every recording of a data set before a long run depends on it, and telling what is wrong.

Two kinds of findings: *defects* (a file that cannot be read; a recording that is ragged or has a
unit or label out of range), which training refuses or, with ``on_bad=skip``, leaves out; and
*remarks*, which it copes with: events whose time is none are left out, the order of events does not
matter, silent recordings stay. Recordings that two splits share make a test dishonest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Bool

from snn_delays.data.events.reading import Recordings, sizes, stream_recordings
from snn_delays.data.events.spike_file import SpikeFile
from snn_delays.errors import UsageError

# How many defects, and how many pairs of equal recordings, are listed one by one.
_LISTED = 20

Digests = dict[bytes, int]


@dataclass
class FileReport:
    """What is in one file; the counts are of events unless their names say otherwise.

    ``error``: why the file cannot be read to its end. No event is of the ``silent_units``.
    ``labels_out_of_range`` counts recordings, ``repeated_recordings`` those that are equal to an
    earlier one of the file. ``defects``: the first of them, as "recording 7 is ragged: …".
    """

    path: str
    error: str = ""
    recordings: int = 0
    events: int = 0
    nan_times: int = 0
    infinite_times: int = 0
    negative_times: int = 0
    n_units: int = 0
    silent_units: tuple[int, ...] = ()
    units_out_of_range: int = 0
    ragged_recordings: int = 0
    labels_out_of_range: int = 0
    unsorted_recordings: int = 0
    empty_recordings: int = 0
    repeated_recordings: int = 0
    longest_s: float = 0.0
    class_names: tuple[str, ...] = ()
    per_class: tuple[int, ...] = ()
    per_speaker: dict[int, int] = field(default_factory=dict)
    speaker_sex: dict[int, str] = field(default_factory=dict)
    defective_recordings: int = 0
    defects: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether training would take it as it is."""
        return not self.error and not self.defective_recordings


@dataclass
class Shared:
    """Two files, how many recordings of one the other has too, and numbers of some in both."""

    first: str
    second: str
    recordings: int
    pairs: list[tuple[int, int]]


@dataclass
class Report:
    """What is in the files of a data set, and in any two of them."""

    files: list[FileReport]
    shared: list[Shared]

    @property
    def failures(self) -> list[str]:
        """One line for each file that fails: the file, and its first defect."""
        failed = [file for file in self.files if not file.passed]
        return [file.error or f"{file.path}: {file.defects[0]}" for file in failed]

    def as_json(self) -> dict[str, Any]:
        """Everything, in what JSON can hold."""
        return {
            "passed": not self.failures,
            "files": [asdict(file) | {"passed": file.passed} for file in self.files],
            "shared": [asdict(pair) for pair in self.shared],
        }


def check_files(sources: Sequence[SpikeFile], *, n_units: int) -> Report:
    """Read all recordings of all files, whatever is wrong with some of them."""
    checked = [_check_file(source, n_units) for source in sources]
    shared: list[Shared] = []
    for (first, mine), (second, theirs) in combinations(checked, 2):
        pairs = [(mine[digest], theirs[digest]) for digest in mine if digest in theirs]
        shared.append(Shared(first.path, second.path, len(pairs), pairs[:_LISTED]))
    return Report([file for file, _ in checked], shared)


def _check_file(source: SpikeFile, n_units: int) -> tuple[FileReport, Digests]:
    """Also the hash of every recording that is not empty, with the number of its first one."""
    report = FileReport(path=str(source.path), n_units=n_units)
    digests: Digests = {}
    fires = np.zeros(n_units, dtype=bool)
    try:
        with source.opened() as (file, header):
            report.class_names = header.class_names
            named = header.labels[header.labels_in_range]
            counts = np.bincount(named, minlength=len(header.class_names))
            report.per_class = tuple(counts.tolist())
            report.labels_out_of_range = len(header.labels) - len(named)
            speakers, counts = np.unique(header.speakers, return_counts=True)
            report.per_speaker = dict(zip(speakers.tolist(), counts.tolist(), strict=True))
            known = header.speaker_sex.items()
            report.speaker_sex = {who: sex for who, sex in known if who in report.per_speaker}
            for some in stream_recordings(file, source, header):
                _check_some(report, digests, some, fires)
            report.silent_units = tuple(np.flatnonzero(~fires).tolist())
    except UsageError as error:
        report.error = str(error)
    return report, digests


def _check_some(
    report: FileReport, digests: Digests, some: Recordings, fires: Bool[np.ndarray, " units"]
) -> None:
    """Adds what there is of these recordings to the report, and to the units that fire."""
    counts = sizes(some.times)
    times = np.concatenate(some.times).astype(np.float64)
    units = np.concatenate(some.units)
    report.recordings += len(some)
    report.events += len(times)
    finite = np.isfinite(times)
    report.nan_times += int(np.isnan(times).sum())
    report.infinite_times += int(np.isinf(times).sum())
    report.negative_times += int((times[finite] < 0).sum())
    report.longest_s = max(report.longest_s, float(times[finite].max(initial=0)))
    possible = (units >= 0) & (units < len(fires))
    report.units_out_of_range += int((~possible).sum())
    fires[units[possible].astype(np.int64)] = True
    report.ragged_recordings += int((counts != sizes(some.units)).sum())
    report.empty_recordings += int((counts == 0).sum())
    # A step back counts if both events are of one recording and both times are some.
    owners = np.repeat(np.arange(len(some)), counts)
    back = (times[1:] < times[:-1]) & (owners[1:] == owners[:-1]) & finite[1:] & finite[:-1]
    report.unsorted_recordings += len(np.unique(owners[1:][back]))
    found = some.defects(len(fires), len(report.class_names)).values()
    report.defective_recordings += len(found)
    report.defects += [*found][: _LISTED - len(report.defects)]
    for i in np.flatnonzero(counts).tolist():
        digest = hashlib.blake2b(some.times[i].tobytes(), digest_size=16)
        digest.update(some.units[i].astype(np.int64).tobytes())
        first = digests.setdefault(digest.digest(), some.start + i)
        report.repeated_recordings += first != some.start + i
