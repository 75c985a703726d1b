"""From files in SHD's format to binned splits, kept in a cache, and from those to a data set."""

from __future__ import annotations

import copy
import logging
import mmap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snn_delays.data.cache import About, Arrays, Cache
from snn_delays.data.events.binning import Grid, bin_events, merge_equal
from snn_delays.data.events.reading import OnBad, stream_events
from snn_delays.data.events.spike_file import SpikeFile
from snn_delays.data.splits.interface import SpikeData
from snn_delays.data.splits.spike_split import SpikeSplit
from snn_delays.errors import UsageError

# Part of every key: raise it when the same file and settings come to mean other arrays.
_VERSION = 5
# Events of a recording that no other one repeats by chance.
_MANY = 20
_COLUMNS = ("steps", "channels", "counts", "offsets", "labels", "speakers")

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


def read_kept(
    cache: Cache,
    source: SpikeFile,
    *,
    n_units: int,
    grid: Grid,
    name: str,
    on_bad: OnBad = "refuse",
) -> BinnedFile:
    """A file's recordings on the grid, read and binned piece by piece, or as the cache has them."""

    def load(about: About, arrays: Arrays) -> BinnedFile:
        columns: dict[str, Any] = {key: torch.from_numpy(arrays[key]) for key in _COLUMNS}
        split = SpikeSplit(**columns, n_channels=about["n_channels"], name=name)
        return BinnedFile(
            source.path,
            split,
            tuple(about["class_names"]),
            about["valid_events"],
            about["invalid_events"],
            dict(about["speaker_sex"]),
            tuple(about["skipped"]),
        )

    make = partial(read_binned, source, n_units=n_units, grid=grid, on_bad=on_bad)
    settings = {"version": _VERSION, "n_units": n_units, "on_bad": on_bad, **asdict(grid)}
    return cache.of_file(source.path, "events", make=make, load=load, **settings)


def read_binned(
    source: SpikeFile, *, n_units: int, grid: Grid, on_bad: OnBad
) -> tuple[About, Arrays]:
    """What is kept of a file, of which only the binned form is ever held in full."""
    parts: list[SpikeSplit] = []
    skipped: list[str] = []
    valid = invalid = 0
    with source.opened() as (file, header):
        for events in stream_events(file, source, header, n_units=n_units, on_bad=on_bad):
            binned = bin_events(events, **asdict(grid), name=f"{source.path}")
            parts.append(_apart(merge_equal(binned)))
            skipped += events.skipped
            valid += len(events.times)
            invalid += events.invalid_events
    split = SpikeSplit.join(parts, source.path.stem)
    if not len(split):
        raise source.error(f"has no sound recording: expected at least 1, got {skipped[0]}")
    if not len(split.steps):
        limit = "" if grid.max_time_ms is None else f" before max_time_ms = {grid.max_time_ms:g}"
        raise source.error(f"has no valid events{limit}: expected at least 1, got 0")
    about = {
        "n_channels": split.n_channels,
        "class_names": header.class_names,
        "valid_events": valid,
        "invalid_events": invalid,
        "speaker_sex": [*header.speaker_sex.items()],
        "skipped": skipped,
    }
    return about, {key: getattr(split, key).numpy() for key in _COLUMNS}


def _apart(split: SpikeSplit) -> SpikeSplit:
    """The same events in memory of their own, which the system has back once they are joined."""
    # Between the small blocks of reading an allocator could give nothing back, and the largest
    # data sets would need all their events twice over.
    part = copy.copy(split)
    for name in ("steps", "channels", "counts"):
        values = getattr(split, name).numpy()
        block = mmap.mmap(-1, max(values.nbytes, 1))
        mine = np.frombuffer(block, values.dtype, len(values))
        mine[:] = values
        setattr(part, name, torch.from_numpy(mine))
    return part


def data_of(
    files: Sequence[BinnedFile],
    splits: Sequence[SpikeSplit],
    *,
    split: str,
    dataset_name: str,
    dt_ms: float,
) -> SpikeData:
    """The data set of these files and of the splits taken from them; warns of what is odd."""
    train = splits[0]
    silent = train.silent_channels()
    if silent.size:
        _log.warning(
            f"{dataset_name}: {len(silent)} of {train.n_inputs} input channels never fire in "
            f"training, the first of them channel {silent[0]}."
        )
    _warn_of_shared(dataset_name, splits)
    invalid = sum(file.invalid_events for file in files)
    if invalid:
        total = invalid + sum(file.valid_events for file in files)
        _log.warning(
            f"{dataset_name}: left out {invalid} of {total} events ({100 * invalid / total:.3g} %) "
            "whose time is NaN, infinite or negative."
        )
    for file in files:
        if out := len(file.skipped):
            _log.warning(
                f"{dataset_name}: on_bad=skip left out {out} of {out + len(file.split)} recordings "
                f"of {file.path}, at first: {file.skipped[0]}."
            )
    # One without names may know only the first classes.
    longest = max(files, key=lambda file: len(file.class_names))
    for file in files:
        both = zip(file.class_names, longest.class_names, strict=False)
        for label, (name, other) in enumerate(both):
            if name != other:
                raise UsageError(
                    f"{file.path} calls label {label} {name!r}, {longest.path} calls it {other!r}: "
                    "they are not of one data set."
                )
    return SpikeData(
        *splits,
        class_names=longest.class_names,
        dt_ms=dt_ms,
        split=split,
        invalid_events=invalid,
        skipped_recordings=sum(len(file.skipped) for file in files),
        # What any of the files says of a speaker; the first one's word counts.
        speaker_sex={who: s for file in reversed(files) for who, s in file.speaker_sex.items()},
    )


def _warn_of_shared(dataset_name: str, splits: Sequence[SpikeSplit]) -> None:
    """Warn of recordings that are in two splits, as of a file in another's place."""
    for (name, one), (theirs, other) in combinations(
        zip(("training", "validation", "test"), splits, strict=True), 2
    ):
        if one is not other and (found := other.shared_with(one, _MANY)):
            _log.warning(
                f"{dataset_name}: {found} of {len(other)} {theirs} recordings are in {name} too, "
                "event for event: what is measured on them is no honest estimate. Look for a file "
                "that lies in another's place."
            )
