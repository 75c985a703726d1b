"""All events of a file at once, which the package reads piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snn_delays.data.events.reading import Events, stream_events
from snn_delays.data.events.spike_file import SpikeFile


@dataclass(frozen=True, kw_only=True)
class WholeEvents(Events):
    class_names: tuple[str, ...]
    speaker_sex: dict[int, str]


def pieces(source: SpikeFile, *, n_units: int = 700, **settings: Any) -> Iterator[Events]:
    with source.opened() as (file, header):
        yield from stream_events(file, source, header, n_units=n_units, **settings)


def read_events(
    path: Path, *, dataset_name: str = "SHD", n_units: int = 700, how_to_get: str = ""
) -> WholeEvents:
    source = SpikeFile(path, dataset_name, how_to_get)
    parts = list(pieces(source, n_units=n_units))
    with source.opened() as (_, header):
        about = {"class_names": header.class_names, "speaker_sex": header.speaker_sex}
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    return WholeEvents(
        times=np.concatenate([part.times for part in parts]),
        units=np.concatenate([part.units for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        speakers=np.concatenate([part.speakers for part in parts]),
        offsets=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        n_units=n_units,
        invalid_events=sum(part.invalid_events for part in parts),
        time_type=parts[0].time_type,
        **about,
    )
