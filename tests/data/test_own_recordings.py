"""``recordings``: one's own arrays, in every form, make the same data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from snn_delays.data import SpikeData, Split, recordings
from snn_delays.errors import UsageError

N, UNITS, STEPS = 40, 6, 12
KNOWN = {"n_units": UNITS, "dt_ms": 10.0}


def drawn() -> tuple[np.ndarray, list[int]]:
    """Counts [n, T, C] and labels; every recording has a spike in its last step."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.2, (N, STEPS, UNITS))
    counts[:, -1, 0] += 1
    return counts, [n % 4 for n in range(N)]


def as_events(counts: np.ndarray, unit: float, kind: type) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs (times, units), events in the middle of their step of 10 ms = ``unit`` times."""
    found = []
    for one in counts:
        steps, units = np.nonzero(one)
        times = np.repeat((steps + 0.5) * unit, one[steps, units]).astype(kind)
        found.append((times, np.repeat(units, one[steps, units])))
    return found


def structured(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """As tonic gives them: fields t (µs), x and p."""
    kind = np.dtype([("t", np.int64), ("x", np.int16), ("p", np.int8)])
    made = []
    for times, units in pairs:
        made.append(np.ones(len(times), kind))
        made[-1]["t"], made[-1]["x"] = times, units
    return made


class Indexed:
    """A data set of torch's kind: a length and items."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, at: int) -> Any:
        return self.items[at]


def require_same(one: SpikeData, other: SpikeData) -> None:
    assert (one.class_names, one.dt_ms, one.split) == (other.class_names, other.dt_ms, other.split)
    for name in ("train", "valid", "test"):
        a, b = (whole(getattr(data, name)) for data in (one, other))
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True)), name


def whole(split: Split) -> Any:
    return split.collate(range(len(split)))


def test_every_form_is_the_same_data_set():
    counts, labels = drawn()
    dense = recordings(counts, labels, **KNOWN)
    micro = structured(as_events(counts, 10_000, np.int64))
    for other in (
        recordings(torch.from_numpy(counts).float(), labels, **KNOWN),
        recordings(as_events(counts, 0.01, np.float64), labels, **KNOWN),
        recordings(as_events(counts, 10, np.float32), labels, time_unit="ms", **KNOWN),
        recordings(micro, labels, time_unit="us", **KNOWN),
        recordings(zip(micro, labels, strict=True), time_unit="us", **KNOWN),
        recordings(Indexed(list(zip(micro, labels, strict=True))), time_unit="us", **KNOWN),
    ):
        require_same(dense, other)
    assert [len(split) for split in (dense.train, dense.valid, dense.test)] == [32, 4, 4]
    assert sorted(dense.test.labels.tolist()) == [0, 1, 2, 3]
    total = sum(whole(split).spikes.sum() for split in (dense.train, dense.valid, dense.test))
    assert total == counts.sum()
    assert dense.n_channels == UNITS


def test_counts_may_be_long_and_large():
    counts = np.zeros((8, 60_000, 1), np.int64)
    counts[:, [0, -1]] = 10**9
    data = recordings(counts, [0, 1] * 4, n_units=1, dt_ms=1.0, valid_fraction=0.25, test=0.25)
    batch = data.train.collate([0])
    assert batch.spikes.shape == (60_000, 1, 1)
    assert batch.spikes.flatten().nonzero().flatten().tolist() == [0, 59_999]
    assert float(batch.spikes.max()) == 1e9


def test_times_on_the_grid_belong_to_the_step_that_begins():
    times = [np.arange(20) * 10, np.arange(20) * 10.0]
    units = np.zeros(20, dtype=int)
    for time, unit, scale in ((times[0], "ms", 1), (times[1], "ms", 1), (times[0], "us", 1000)):
        one = ((time * scale).astype(time.dtype), units)
        data = recordings([one] * 12, [0, 1] * 6, time_unit=unit, **KNOWN)
        assert data.train[0][0][:, 0].tolist() == [1.0] * 20


@pytest.mark.parametrize(
    "beside",
    [
        ([], []),
        (np.zeros(0), np.zeros(0, int)),
        (np.array([0.3]), np.array([1])),
        (np.array([0.1 + 0.2]), np.array([1])),
        (np.array([3]), np.array([1])),
    ],
    ids=["empty list", "empty array", "double", "no single", "whole"],
)
@pytest.mark.parametrize("stored", [np.float32, np.float64])
def test_a_recording_of_another_type_moves_no_event_of_the_others(beside: Any, stored: type):
    """Half of what single precision makes of k · dt lies below it."""
    steps = np.arange(1, 60)
    times = (steps * np.float32(0.1)).astype(np.float32).astype(stored)
    assert np.any(times.astype(float) < steps * 0.1)
    events = [(times, steps % UNITS)] * 12 + [beside]
    data = recordings(
        events, [0, 1] * 6 + [0], n_units=UNITS, dt_ms=0.1, time_unit="ms", class_names="ab"
    )
    found = [counts for split in (data.train, data.valid, data.test) for counts, _ in split]
    whole = [counts for counts in found if counts.sum() == len(steps)]
    assert len(whole) == 12
    for counts in whole:
        assert counts.nonzero().tolist() == [[step, step % UNITS] for step in steps]


def test_settings_of_the_grid_are_those_of_the_loaders():
    counts, labels = drawn()
    plain = whole(recordings(counts, labels, **KNOWN).train).spikes
    pooled = recordings(counts, labels, pool=4, max_count=1, **KNOWN)
    assert pooled.n_channels == 2
    expected = torch.stack([plain[..., :4].sum(2), plain[..., 4:].sum(2)], dim=2).clamp(max=1)
    torch.testing.assert_close(whole(pooled.train).spikes, expected)
    events = as_events(counts, 0.01, np.float64)
    short = recordings(events, labels, max_time_ms=50, **KNOWN)
    torch.testing.assert_close(whole(short.train).spikes, plain[:5])


def test_names_of_classes_and_a_test_set_of_ones_own():
    counts, labels = drawn()
    words = [("on", "off", "left", "right")[label] for label in labels]
    assert recordings(counts, words, **KNOWN).class_names == ("left", "off", "on", "right")
    named = recordings(counts, words, class_names=("on", "off", "left", "right"), **KNOWN)
    numbers = recordings(counts, labels, class_names=("on", "off", "left", "right"), **KNOWN)
    require_same(named, numbers)
    own = recordings(counts[:30], labels[:30], test=(counts[30:], labels[30:]), **KNOWN)
    assert len(own.test) == 10
    assert len(own.train) + len(own.valid) == 30
    torch.testing.assert_close(
        whole(own.test).spikes.permute(1, 0, 2), torch.from_numpy(counts[30:]).float()
    )


def test_a_groups_recordings_stay_together():
    counts, labels = drawn()
    speakers = [("ann", "bob", "cy", "dee", "eve")[n % 5] for n in range(N)]
    data = recordings(counts, labels, groups=speakers, valid_fraction=0.2, test=0.2, **KNOWN)
    parts = [set(split.speakers.tolist()) for split in (data.train, data.valid, data.test)]
    assert [len(part) for part in parts] == [3, 1, 1]
    assert set.union(*parts) == {0, 1, 2, 3, 4}
    assert data.split == "speaker"
    again = recordings(counts, labels, groups=speakers, valid_fraction=0.2, test=0.2, **KNOWN)
    require_same(data, again)
    others = {
        tuple(
            recordings(counts, labels, groups=speakers, seed=seed, **KNOWN).test.speakers.tolist()
        )
        for seed in range(6)
    }
    assert len(others) > 1


def test_events_whose_time_is_none_are_counted(caplog: pytest.LogCaptureFixture):
    counts, labels = drawn()
    events = as_events(counts, 0.01, np.float64)
    events[3][0][:2] = (np.nan, -1)
    assert recordings(events, labels, **KNOWN).invalid_events == 2
    assert "left out 2 of" in caplog.text


def test_recordings_that_are_in_two_splits_are_told(caplog: pytest.LogCaptureFixture):
    """As of a file in another's place; few events may be alike by chance."""
    rng = np.random.default_rng(0)
    counts, labels = rng.poisson(1.0, (N, STEPS, UNITS)), [n % 4 for n in range(N)]
    other, own = rng.poisson(1.0, (20, STEPS, UNITS)), [n % 4 for n in range(20)]
    recordings(counts, labels, test=(other, own), **KNOWN)
    assert "recordings are in" not in caplog.text
    other[:8], own[7] = counts[:8], 9  # of another class
    data = recordings(counts, labels, test=(other, own), **KNOWN)
    known = set(map(bytes, (one.numpy() for one in whole(data.train).spikes.unbind(1))))
    in_train = sum(bytes(one.astype(np.float32)) in known for one in counts[:7])
    assert 0 < in_train < 7
    lines = [one.getMessage() for one in caplog.records if "recordings are in" in one.getMessage()]
    told = [("training", in_train), ("validation", 7 - in_train)]
    for line, (where, count) in zip(lines, told, strict=True):
        assert f"{count} of 20 test recordings are in {where} too, event for event" in line
    caplog.clear()
    few = counts * (np.arange(STEPS) < 1)[:, None]
    recordings(few, labels, test=(few, labels), **KNOWN)
    assert "recordings are in" not in caplog.text


PAIR = (np.array([0.1, 0.2]), np.array([0, 1]))
SENSOR = np.zeros(2, [("t", int), ("x", int), ("y", int)])
SENSOR["y"] = [0, 1]
WRONG = [
    ({"labels": [0] * 3}, "one label for every recording and at least one .* 12 recordings and 3"),
    ({"events": [], "labels": []}, "at least one recording, got 0 recordings"),
    ({"events": [PAIR[0]] * 12}, "must be a pair \\(times, units\\) or a structured array"),
    ({"events": [PAIR] * 12, "labels": None}, "labels must be whole numbers from 0 on, or names"),
    ({"events": [(PAIR[0], PAIR[1][:1])] * 12}, "as long as each other"),
    ({"events": [(PAIR[1], PAIR[1])] * 12}, "times are whole numbers. Say what they count"),
    ({"events": [(PAIR[0], PAIR[1] + 5)] * 12}, "from 0 to n_units − 1 = 5, got .* from 5 to 6"),
    ({"events": [SENSOR] * 12, "time_unit": "us"}, "differ in the field y"),
    ({"events": [SENSOR[["t", "y"]]] * 12}, "must have the fields t and x, got t, y"),
    ({"events": np.ones((12, 3, 5))}, "n_units = 6 channels, got \\[12, 3, 5\\]"),
    ({"events": np.full((12, 3, 6), 0.5)}, "count spikes in whole numbers"),
    ({"events": np.ones((12, 3, 6)), "time_unit": "ms"}, "are for events, got an array"),
    ({"time_unit": "min"}, "time_unit must be one of s, ms, us, got 'min'"),
    ({"labels": [0.5] * 12}, "labels must be whole numbers from 0 on, or names"),
    ({"class_names": ["a"]}, "class_names must name every label once"),
    ({"groups": [0, 1]}, "one group for every recording, got 2 for 12"),
    ({"groups": [0, 1] * 6}, "valid_fraction leaves too few of 6 recordings in 1 groups"),
    ({"test": 1.5}, "test must be > 0 and < 1, got 1.5"),
    ({"valid_fraction": 0}, "valid_fraction must be > 0 and < 1, got 0"),
    ({"valid_fraction": 0.001}, "valid_fraction of 1. recordings leaves none"),
    ({"n_units": 0}, "n_units must be"),
    (
        {"events": [(PAIR[0].astype(np.float16), PAIR[1]), PAIR] * 6},
        "float16.* must be in seconds and all of them of this type, .* others of float64",
    ),
    ({"dt_ms": 0}, "dt_ms must be"),
    ({"events": [(PAIR[0] * 1e6, PAIR[1])] * 12}, "within 50000 steps, got one at 2e\\+08 ms"),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("change", "expected"), WRONG)
def test_what_makes_no_data_set_is_refused_in_one_line(change: dict[str, Any], expected: str):
    given = {"events": [PAIR] * 12, "labels": [0, 1] * 6, **KNOWN, **change}
    with pytest.raises(UsageError, match=expected) as refused:
        recordings(**given)
    assert "\n" not in str(refused.value)
