"""From a file in SHD's format to a binned split, and from several to one data set."""

from __future__ import annotations

import copy
import logging
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from snn_delays.data.events.binning import Grid, bin_events, merge_equal
from snn_delays.data.events.reading import stream_events
from snn_delays.data.events.recordings import OnBad
from snn_delays.data.events.spike_file import SpikeFile
from snn_delays.data.splits.loaded import SpikeData
from snn_delays.data.splits.spike_split import SpikeSplit
from snn_delays.errors import UsageError

_log = logging.getLogger("snn_delays")


@dataclass(frozen=True)
class BinnedFile:
    """All recordings of one file, and what there is to say about it."""

    path: Path
    split: SpikeSplit
    class_names: tuple[str, ...]
    valid_events: int
    invalid_events: int
    speaker_sex: dict[int, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    """The recordings that were left out, and why: "recording 7 is ragged: …"."""


def read_binned(
    source: SpikeFile, *, n_units: int, grid: Grid, name: str, on_bad: OnBad = "refuse"
) -> BinnedFile:
    """Read and bin a file piece by piece, so that only the binned form is ever held in full.

    Raises:
        UsageError: as :func:`~snn_delays.data.events.reading.stream_events`, or no event remains.
    """
    parts: list[SpikeSplit] = []
    class_names: tuple[str, ...] = ()
    speaker_sex: dict[int, str] = {}
    skipped: list[str] = []
    valid = invalid = 0
    for events in stream_events(
        source.path,
        dataset_name=source.dataset_name,
        n_units=n_units,
        how_to_get=source.how_to_get,
        on_bad=on_bad,
    ):
        binned = bin_events(
            events,
            dt_ms=grid.dt_ms,
            pool=grid.pool,
            max_time_ms=grid.max_time_ms,
            name=f"{source.path}",
        )
        parts.append(_apart(merge_equal(binned)))
        class_names, speaker_sex = events.class_names, events.speaker_sex
        skipped += events.skipped
        valid += len(events.times)
        invalid += events.invalid_events
    split = SpikeSplit.join(parts, name)
    if not len(split):
        raise source.error(f"has no sound recording: expected at least 1, got {skipped[0]}")
    if not len(split.steps):
        limit = "" if grid.max_time_ms is None else f" before max_time_ms = {grid.max_time_ms:g}"
        raise source.error(f"has no valid events{limit}: expected at least 1, got 0")
    return BinnedFile(source.path, split, class_names, valid, invalid, speaker_sex, tuple(skipped))


def _apart(split: SpikeSplit) -> SpikeSplit:
    """The same events in memory of their own, which the system has back once they are joined.

    Between the many small blocks of reading, an allocator could give nothing of it back, and the
    largest data sets would need all their events twice over.
    """
    part = copy.copy(split)
    for name in ("steps", "channels", "counts"):
        values = getattr(split, name).numpy()
        block = mmap.mmap(-1, max(values.nbytes, 1))
        mine = np.frombuffer(block, values.dtype, len(values))
        mine[:] = values
        setattr(part, name, torch.from_numpy(mine))
    return part


def shared_class_names(files: Sequence[BinnedFile]) -> tuple[str, ...]:
    """The class names that all files agree on.

    A file may know only the first of them: without names of its own it knows no label beyond the
    largest that occurs in it.

    Raises:
        UsageError: two files name a label differently.
    """
    longest = max(files, key=lambda file: len(file.class_names))
    for file in files:
        for label, name in enumerate(file.class_names):
            if name != longest.class_names[label]:
                raise UsageError(
                    f"{file.path} calls label {label} {name!r}, {longest.path} calls it "
                    f"{longest.class_names[label]!r}: they are not of one data set."
                )
    return longest.class_names


def count_invalid(files: Sequence[BinnedFile], dataset_name: str) -> int:
    """How many events were left out of all files; warns if any was."""
    invalid = sum(file.invalid_events for file in files)
    total = invalid + sum(file.valid_events for file in files)
    if invalid:
        _log.warning(
            "%s: left out %d of %d events (%.3g %%) whose time is NaN, infinite or negative.",
            dataset_name,
            invalid,
            total,
            100 * invalid / total,
        )
    return invalid


def count_skipped(files: Sequence[BinnedFile], dataset_name: str) -> int:
    """How many recordings were left out of all files; warns of each file where any was."""
    for file in files:
        if file.skipped:
            _log.warning(
                "%s: on_bad=skip left out %d of %d recordings of %s, at first: %s.",
                dataset_name,
                len(file.skipped),
                len(file.skipped) + len(file.split),
                file.path,
                file.skipped[0],
            )
    return sum(len(file.skipped) for file in files)


def shared_speaker_sex(files: Sequence[BinnedFile]) -> dict[int, str]:
    """What any of the files says of a speaker; the first one's word counts."""
    return {who: sex for file in reversed(files) for who, sex in file.speaker_sex.items()}


def official_splits(
    train: BinnedFile, valid: BinnedFile, test: BinnedFile, *, dataset_name: str, dt_ms: float
) -> SpikeData:
    """The data set that has a file of its own for each split.

    Raises:
        UsageError: as :func:`data_of`.
    """
    files = (train, valid, test)
    splits = (train.split, valid.split, test.split)
    return data_of(files, splits, split="official", dataset_name=dataset_name, dt_ms=dt_ms)


def data_of(
    files: Sequence[BinnedFile],
    splits: tuple[SpikeSplit, SpikeSplit, SpikeSplit],
    *,
    split: str,
    dataset_name: str,
    dt_ms: float,
) -> SpikeData:
    """The data set of these files, from which train, valid and test were taken; warns of defects
    and of channels without an event.

    Raises:
        UsageError: the files name their classes differently.
    """
    train, valid, test = splits
    silent = train.silent_channels()
    if silent.size:
        _log.warning(
            "%s: %d of %d input channels never fire in training, the first of them channel %d.",
            dataset_name,
            len(silent),
            train.n_channels,
            silent[0],
        )
    return SpikeData(
        train=train,
        valid=valid,
        test=test,
        class_names=shared_class_names(files),
        dt_ms=dt_ms,
        split=split,
        invalid_events=count_invalid(files, dataset_name),
        skipped_recordings=count_skipped(files, dataset_name),
        speaker_sex=shared_speaker_sex(files),
    )
