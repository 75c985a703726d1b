"""Writing files in SHD's format: what is written is what is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from whole_events import read_events

from snn_delays.errors import UsageError
from snn_delays.files.shd_format import write_events

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


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        # As unsigned numbers of 16 bits these would be other ones.
        ({"units": np.array([0, 65536, 2])}, "units must be 0 to 65535 (65536 units), got 65536"),
        ({"units": np.array([0, 1, 5]), "n_units": 5}, "units must be 0 to 4 (5 units), got 5"),
        ({"units": np.array([0, -1, 2])}, "units must be 0 to 65535 (65536 units), got -1"),
        (
            {"units": np.array([0.0, 1.5, 2.0])},
            "units must be a one-dimensional array or CPU tensor of 3 whole numbers",
        ),
        ({"speakers": np.array([0, -1])}, "speakers must be 0 to 65535 (None: unknown), got -1"),
        ({"speakers": ["jackson"]}, "speakers must be 2 names, got 1"),
        ({"labels": np.array([0, 2])}, "labels must be 0 to 1 (2 class_names), got 2"),
        ({"labels": np.array([0, 1, 1])}, "labels must be 2 numbers, got 3"),
        ({"offsets": np.array([0, 1, 4])}, "offsets must be 0 to 3 (3 events), got 4"),
        ({"times": np.array([0.1, np.nan, 0.2])}, "times must be seconds, a float array [E]"),
        ({"times": np.array([1, 2, 3])}, "times must be seconds, a float array [E]"),
        ({"n_units": 0}, "n_units must be a whole number from 1 to 65536, got 0"),
    ],
)
def test_what_cannot_be_written_as_it_is(
    tmp_path: Path, changed: dict[str, Any], expected: str, unchecked: None
) -> None:
    settings: dict[str, Any] = {
        "times": np.array([0.1, 0.2, 0.3]),
        "units": np.array([0, 1, 2]),
        "offsets": np.array([0, 1, 3]),
        "labels": np.array([0, 1]),
        "speakers": None,
        "class_names": ["a", "b"],
    }
    with pytest.raises(UsageError) as caught:
        write_events(tmp_path / "a.h5", **settings | changed)
    assert expected in str(caught.value)
    assert not list(tmp_path.iterdir())
