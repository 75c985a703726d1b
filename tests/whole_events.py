"""All events of a file at once, which the package reads piece by piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snn_delays.data.events.reading import Events, stream_events
from snn_delays.data.events.spike_file import SpikeFile


def read_events(
    path: Path, *, dataset_name: str = "SHD", n_units: int = 700, how_to_get: str = ""
) -> Events:
    parts = list(stream_events(SpikeFile(path, dataset_name, how_to_get), n_units=n_units))
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    return Events(
        times=np.concatenate([part.times for part in parts]),
        units=np.concatenate([part.units for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        speakers=np.concatenate([part.speakers for part in parts]),
        offsets=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        class_names=parts[0].class_names,
        n_units=n_units,
        invalid_events=sum(part.invalid_events for part in parts),
        time_type=parts[0].time_type,
        speaker_sex=parts[0].speaker_sex,
    )
