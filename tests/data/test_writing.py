"""Writing files in SHD's format: what is written is what is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from snn_delays.data.events.reading import read_events
from snn_delays.data.events.writing import write_events

NAMES = [f"s{i % 7}" for i in range(1300)]


@pytest.mark.parametrize("most", [4, 3])
@pytest.mark.parametrize("speakers", [np.arange(1300) % 7, NAMES, None])
def test_many_recordings_come_back(
    tmp_path: Path, speakers: np.ndarray | Sequence[str] | None, most: int
) -> None:
    """More than are written at once; ragged and some without spikes, or all equally long."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0 if most == 4 else 2, most, 1300)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    times = rng.uniform(0, 0.9, offsets[-1]).astype(np.float16)
    units = rng.integers(0, 700, offsets[-1])
    write_events(
        tmp_path / "a.h5",
        times=times,
        units=units,
        offsets=offsets,
        labels=np.arange(1300) % 3,
        speakers=speakers,
        class_names=["null", "fünf", "三"],
    )
    events = read_events(tmp_path / "a.h5", dataset_name="test", how_to_get="")
    np.testing.assert_array_equal(events.offsets, offsets)
    np.testing.assert_array_equal(events.times, times)
    np.testing.assert_array_equal(events.units, units)
    assert events.class_names == ("null", "fünf", "三")
    found = events.speakers
    assert len(set(found.tolist())) == (1 if speakers is None else 7)
    if isinstance(speakers, np.ndarray):
        np.testing.assert_array_equal(found, speakers)
    elif speakers is not None:
        np.testing.assert_array_equal(found[7:], found[:-7])
