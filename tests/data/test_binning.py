"""The grid against a loop over events."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from exact_grid import begins_below, exact_step
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays.data.events.binning import bin_events, merge_equal
from snn_delays.data.events.reading import Events
from snn_delays.errors import UsageError

N_UNITS = 17


def events_of(recordings: list[list[tuple[float, int]]]) -> Events:
    flat = [event for recording in recordings for event in recording]
    n = len(recordings)
    return Events(
        times=np.array([time for time, _ in flat], dtype=np.float64),
        units=np.array([unit for _, unit in flat], dtype=np.int64),
        offsets=np.cumsum([0, *map(len, recordings)], dtype=np.int64),
        labels=np.zeros(n, dtype=np.int64),
        speakers=np.full(n, -1, dtype=np.int64),
        n_units=N_UNITS,
        invalid_events=0,
    )


@settings(deadline=None)
@given(
    recordings=st.lists(
        st.lists(st.tuples(st.floats(0, 1.5), st.integers(0, N_UNITS - 1)), max_size=20),
        min_size=1,
        max_size=4,
    ),
    dt_ms=st.sampled_from([0.7, 1.0, 4.0, 10.0, 2000.0]),
    pool=st.integers(1, N_UNITS + 3),
    max_time_ms=st.none() | st.floats(0.5, 2000),
)
def test_equals_a_loop(
    recordings: list[list[tuple[float, int]]], dt_ms: float, pool: int, max_time_ms: float | None
) -> None:
    split = bin_events(
        events_of(recordings), dt_ms=dt_ms, pool=pool, max_time_ms=max_time_ms, name="train"
    )
    assert split.n_channels == math.ceil(N_UNITS / pool)
    assert split.name == "train"
    batch = split.collate(range(len(recordings)))
    expected = torch.zeros_like(batch.spikes)
    for n, recording in enumerate(recordings):
        length = 1
        for time, unit in recording:
            if max_time_ms is None or not begins_below(time, 1, max_time_ms):
                step = exact_step(time, dt_ms)
                expected[step, n, unit // pool] += 1
                length = max(length, step + 1)
        assert batch.lengths[n] == length
    torch.testing.assert_close(batch.spikes, expected, rtol=0, atol=0)
    if max_time_ms is None:
        assert batch.spikes.sum() == sum(map(len, recordings))


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 0.05), st.integers(0, 5)), max_size=20),
        min_size=1,
        max_size=5,
    )
)
def test_merged_events_make_the_same_batches(recordings: list[list[tuple[float, int]]]) -> None:
    split = bin_events(events_of(recordings), dt_ms=10.0, pool=3, name="train")
    merged = merge_equal(split)
    cells = {
        (n, exact_step(time, 10.0), unit // 3)
        for n, recording in enumerate(recordings)
        for time, unit in recording
    }
    owners = np.repeat(np.arange(len(split)), merged.offsets.diff().numpy())
    found = zip(owners.tolist(), merged.steps.tolist(), merged.channels.tolist(), strict=True)
    assert list(found) == sorted(cells)
    for mine, yours in zip(
        merged.collate(range(len(split))), split.collate(range(len(split))), strict=True
    ):
        assert torch.equal(mine, yours)


def test_a_cell_may_hold_any_number_of_events() -> None:
    for number, dtype in ((255, torch.uint8), (256, torch.int32), (70_000, torch.int32)):
        recordings = [[(0.1, 1)] * number, [], [(0.2, 1)]]
        merged = merge_equal(bin_events(events_of(recordings), dt_ms=10.0, pool=1, name="train"))
        assert merged.counts is not None
        assert merged.counts.dtype == dtype
        assert merged.counts.tolist() == [number, 1]
        assert merged.collate([2, 0]).spikes.sum((0, 2)).tolist() == [1, number]


def test_recordings_too_long_to_number_their_cells_in_32_bits() -> None:
    recordings = [[(0.0, 0), (49.9, 16), (49.9, 16)]] * 3000
    split = bin_events(events_of(recordings), dt_ms=1.0, pool=1, name="train")
    assert len(split) * 49_901 * N_UNITS > np.iinfo(np.int32).max
    merged = merge_equal(split)
    assert merged.steps.tolist() == [0, 49_900] * 3000
    assert merged.channels.tolist() == [0, 16] * 3000
    assert merged.counts is not None
    assert merged.counts.tolist() == [1, 2] * 3000
    # A batch of all would be larger than this machine's memory; where its events go is not.
    sparse = merged.sparse(range(3000))
    assert sparse.cells.dtype == torch.int64
    step, rest = np.divmod(sparse.cells.numpy(), 3000 * N_UNITS)
    recording, channel = np.divmod(rest, N_UNITS)
    assert step.tolist() == [0, 49_900] * 3000
    assert recording.tolist() == np.repeat(np.arange(3000), 2).tolist()
    assert channel.tolist() == [0, 16] * 3000


def test_the_grid_begins_at_zero_and_an_edge_belongs_to_the_later_step() -> None:
    split = bin_events(events_of([[(0.03, 0), (0.0399, 0)], [(0.0, 1)]]), dt_ms=10.0, name="train")
    assert split.steps.tolist() == [3, 3, 0]
    assert split.lengths.tolist() == [4, 1]


def test_an_event_at_max_time_is_left_out() -> None:
    events = events_of([[(0.05, 0)], [(0.02, 0), (0.049, 3)]])
    split = bin_events(events, dt_ms=10.0, max_time_ms=50.0, name="train")
    assert split.offsets.tolist() == [0, 0, 2]
    assert split.lengths.tolist() == [1, 5]


def test_steps_are_held_as_narrowly_as_they_fit() -> None:
    for last, dtype in (
        (0.255, torch.uint8),
        (0.256, torch.int16),
        (32.767, torch.int16),
        (32.768, torch.int32),
        (40.0, torch.int32),
    ):
        split = bin_events(events_of([[(last + 1e-6, 0)]]), dt_ms=1.0, name="train")
        assert split.steps.dtype == dtype
        assert split.steps.tolist() == [round(1000 * last)]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("dt_ms", 0.0),
        ("dt_ms", -1.0),
        ("dt_ms", math.nan),
        ("dt_ms", math.inf),
        ("pool", 0),
        ("pool", -5),
        ("pool", 2.5),
        ("max_time_ms", 0.0),
        ("max_time_ms", -3.0),
        ("max_time_ms", math.nan),
        ("max_time_ms", math.inf),
    ],
)
def test_a_grid_that_is_none_is_refused(setting: str, value: float, unchecked: None) -> None:
    grid = {"dt_ms": 10.0, "pool": 5, "max_time_ms": None, setting: value}
    with pytest.raises(UsageError, match=rf"^{setting} must be .* got {value!r}\.$"):
        bin_events(events_of([[(0.1, 0)]]), **grid, name="train")


def test_one_event_hours_after_the_rest_does_not_fill_the_memory() -> None:
    events = events_of([[(0.1, 0), (60_000.0, 0)]])
    with pytest.raises(UsageError, match=r"^train: .* got one at 6e\+07 ms, .*max_time_ms"):
        bin_events(events, dt_ms=10.0, name="train")
    assert len(bin_events(events, dt_ms=10.0, max_time_ms=1000.0, name="train").steps) == 1
