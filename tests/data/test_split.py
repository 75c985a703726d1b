"""A dense batch is exactly the events of its recordings, and nothing else."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric
from torch.utils.data import DataLoader

from snn_delays.data import SpikeSplit

Recording = list[tuple[int, int]]
N_CHANNELS = 5
recordings = st.lists(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, N_CHANNELS - 1)), max_size=15),
    min_size=1,
    max_size=6,
)


def split_of(events: list[Recording]) -> SpikeSplit:
    flat = [event for recording in events for event in recording]
    counts = torch.tensor([0] + [len(recording) for recording in events])
    return SpikeSplit(
        steps=torch.tensor([step for step, _ in flat], dtype=torch.int16),
        channels=torch.tensor([channel for _, channel in flat], dtype=torch.int16),
        offsets=counts.cumsum(0),
        labels=torch.arange(len(events)) % 3,
        speakers=torch.arange(len(events)) - 1,
        n_channels=N_CHANNELS,
        name="train",
    )


def naive(events: list[Recording], indices: Sequence[int]) -> torch.Tensor:
    n_steps = max(max((step + 1 for step, _ in events[i]), default=1) for i in indices)
    spikes = torch.zeros(n_steps, len(indices), N_CHANNELS)
    for position, i in enumerate(indices):
        for step, channel in events[i]:
            spikes[step, position, channel] += 1
    return spikes


@settings(deadline=None)
@given(recordings, st.data())
def test_collate_equals_a_loop(events: list[Recording], data: st.DataObject) -> None:
    indices = data.draw(st.lists(st.integers(0, len(events) - 1), min_size=1, max_size=8))
    split = split_of(events)
    batch = split.collate(indices)
    torch.testing.assert_close(batch.spikes, naive(events, indices), rtol=0, atol=0)
    assert batch.labels.tolist() == [i % 3 for i in indices]
    assert batch.speakers.tolist() == [i - 1 for i in indices]
    for n, i in enumerate(indices):
        assert batch.lengths[n] == max((step + 1 for step, _ in events[i]), default=1)
        assert not batch.spikes[batch.lengths[n] :, n].any()
    assert {batch.labels.dtype, batch.lengths.dtype, batch.speakers.dtype} == {torch.int64}


@settings(deadline=None)
@given(recordings, st.data())
def test_subset_and_concatenate_keep_every_recording(
    events: list[Recording], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(events))))
    cut = data.draw(st.integers(0, len(events)))
    split = split_of(events)
    parts = [split.subset(order[:cut], "a"), split.subset(order[cut:], "b")]
    joined = SpikeSplit.concatenate(parts, "both")
    for got, expected in zip(joined.collate(range(len(joined))), split.collate(order), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)
    assert joined.name == "both"
    assert joined.steps.dtype == torch.int16


def test_works_in_a_shuffling_data_loader() -> None:
    events = [[(i, i % N_CHANNELS)] * (i + 1) for i in range(10)]
    split = split_of(events)

    def epoch() -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(3)
        loader = DataLoader(
            split, batch_size=4, shuffle=True, generator=generator, collate_fn=split.collate
        )
        return [batch.spikes for batch in loader]

    first, second = epoch(), epoch()
    assert [batch.shape[1] for batch in first] == [4, 4, 2]
    assert sum(int(batch.sum()) for batch in first) == sum(map(len, events))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_silent_recording_lasts_one_step() -> None:
    batch = split_of([[], []]).collate([0, 1])
    assert batch.spikes.shape == (1, 2, N_CHANNELS)
    assert batch.lengths.tolist() == [1, 1]
    assert not batch.spikes.any()


def test_no_recordings_make_an_empty_batch() -> None:
    batch = split_of([[(3, 1)]]).collate([])
    assert batch.spikes.shape == (0, 0, N_CHANNELS)
    assert len(batch.labels) == 0


@pytest.mark.parametrize("index", [-1, 2, 100])
def test_an_index_outside_is_refused(index: int) -> None:
    split = split_of([[(0, 0)], [(1, 1)]])
    for use in (lambda: split[index], lambda: split.collate([0, index])):
        with pytest.raises(IndexError, match=f"train has 2 recordings, got index {index}"):
            use()
    assert list(split) == [0, 1]


def test_survives_the_journey_to_a_worker_process() -> None:
    split = split_of([[(0, 0)], [(1, 1), (4, 2)]])
    copied = pickle.loads(pickle.dumps(split))
    assert torch.equal(copied.collate([1, 0]).spikes, split.collate([1, 0]).spikes)


@settings(deadline=None)
@given(recordings, st.data())
def test_counts_stand_for_equal_events(events: list[Recording], data: st.DataObject) -> None:
    flat = sum(map(len, events))
    counts = data.draw(st.lists(st.integers(1, 300), min_size=flat, max_size=flat))
    number = iter(counts)
    repeated = [[event for event in one for _ in range(next(number))] for one in events]
    plain = split_of(events)
    counted = SpikeSplit(
        steps=plain.steps,
        channels=plain.channels,
        counts=torch.tensor(counts, dtype=torch.int32),
        offsets=plain.offsets,
        labels=plain.labels,
        speakers=plain.speakers,
        n_channels=N_CHANNELS,
        name="train",
    )
    indices = data.draw(st.lists(st.integers(0, len(events) - 1), min_size=1, max_size=8))
    expected = naive(repeated, indices)
    assert torch.equal(counted.collate(indices).spikes, expected)
    # With and without counts, whole and in part: all may be put together.
    joined = SpikeSplit.concatenate([plain, counted.subset(indices, "some"), counted], "all")
    places = range(len(events), len(events) + len(indices))
    assert torch.equal(joined.collate(places).spikes, expected)
    assert torch.equal(joined.collate(range(len(events))).spikes, naive(events, range(len(events))))


def test_a_subset_copies_no_events() -> None:
    split = split_of([[(0, 0)], [(1, 1), (4, 2)], [], [(7, 3)]])
    part = split.subset([3, 1, 1], "part").subset([1, 0], "part of it")
    assert part.steps is split.steps
    assert part.channels is split.channels
    assert (part.name, len(part), part.labels.tolist()) == ("part of it", 2, [1, 0])
    assert part.lengths.tolist() == [5, 8]
    assert torch.equal(part.collate([0, 1]).spikes, split.collate([1, 3]).spikes)
    copied = pickle.loads(pickle.dumps(part))
    assert torch.equal(copied.collate([1, 0]).spikes, part.collate([1, 0]).spikes)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_batch_laid_out_on_a_device_is_the_same(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    split = split_of([[(i, i % N_CHANNELS)] * (i + 1) for i in range(10)])
    fabric = Fabric(accelerator=device, devices=1)
    here = split.collate([3, 0, 9])
    for sparse in (split.sparse([3, 0, 9]).to(device), fabric.to_device(split.sparse([3, 0, 9]))):
        there = sparse.dense()
        assert {tensor.device.type for tensor in there} == {device}
        for mine, yours in zip(here, there, strict=True):
            assert torch.equal(mine, yours.cpu())
