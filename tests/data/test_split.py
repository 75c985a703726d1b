"""A dense batch is exactly the events of its recordings, and nothing else."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric
from torch.utils.data import DataLoader, Subset

from snn_delays.data import SpikeSplit
from snn_delays.errors import UsageError

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
    beyond = index if index >= 0 else -3  # of one recording, counted from the end as lists are
    with pytest.raises(IndexError, match=f"train has 2 recordings, got index {beyond}"):
        split[beyond]
    with pytest.raises(IndexError, match=f"train has 2 recordings, got index {index}"):
        split.collate([0, index])


@pytest.mark.parametrize(
    "indices",
    [[0.7], np.array([0.0, 1.0]), np.array([True, False]), torch.eye(2).long(), [[0], [0, 1]], "a"],
)
def test_indices_are_whole_numbers(indices: Any, unchecked: None) -> None:
    split = split_of([[(0, 0)], [(1, 1)]])
    with pytest.raises(
        UsageError,
        match="train: indices must be a one-dimensional array or CPU tensor of whole numbers",
    ):
        split.collate(indices)
    for one in (0.7, True, slice(0, 1), None):
        with pytest.raises(TypeError, match="train: an index must be a whole number, got"):
            split[one]  # pyright: ignore


EVENTS: list[Recording] = [[(1, 4), (1, 4)], [], [(6, 0), (2, 3)]]


def test_an_item_is_one_recording_and_its_label(unchecked: None) -> None:
    split = split_of(EVENTS)
    whole = naive(EVENTS, range(3))  # 7 steps, as the longest
    items = list(split)
    assert len(items) == 3
    for i, (spikes, label) in enumerate(items):
        assert torch.equal(spikes, whole[:, i])
        assert label == i % 3
        assert type(label) is int
    for index in (-1, np.int64(2), torch.tensor(-1)):
        spikes, label = split[index]  # pyright: ignore
        assert torch.equal(spikes, whole[:, 2])
        assert label == 2
    part = split.subset([1, 0], "part")
    assert [tuple(spikes.shape) for spikes, _ in part] == [(2, N_CHANNELS)] * 2


@pytest.mark.parametrize("workers", [0, 1])
def test_torchs_own_batches(workers: int) -> None:
    loader = DataLoader(split_of(EVENTS), batch_size=2, num_workers=workers)
    batches = list(loader)
    assert [list(spikes.shape) for spikes, _ in batches] == [[2, 7, N_CHANNELS], [1, 7, N_CHANNELS]]
    spikes = torch.cat([spikes for spikes, _ in batches])
    assert torch.equal(spikes.transpose(0, 1), naive(EVENTS, range(3)))
    assert torch.cat([labels for _, labels in batches]).tolist() == [0, 1, 2]
    own = DataLoader(
        split_of(EVENTS), batch_size=3, collate_fn=lambda items: sorted(items, key=str)
    )
    assert len(next(iter(own))) == 3


def test_a_torch_subset_takes_either_collate_function() -> None:
    split = split_of(EVENTS)
    some = Subset(split, [2, 0])
    spikes, labels = next(iter(DataLoader(some, batch_size=2)))
    batch = next(iter(DataLoader(some, batch_size=2, collate_fn=split.collate)))
    assert torch.equal(batch.spikes.transpose(0, 1), spikes)
    assert batch.labels.tolist() == labels.tolist() == [2, 0]


def test_the_collate_function_of_another_split_is_refused() -> None:
    split = split_of(EVENTS)
    loader = DataLoader(split, batch_size=2, collate_fn=split.subset([1, 0], "valid").sparse)
    with pytest.raises(UsageError, match="valid: a DataLoader must .* got recordings of train"):
        next(iter(loader))


def test_no_recording_is_laid_out_before_its_batch(
    monkeypatch: pytest.MonkeyPatch, unchecked: None
) -> None:
    split, calls = split_of(EVENTS), list[int]()
    sparse = SpikeSplit.sparse

    def counted(self: SpikeSplit, indices: Any) -> Any:
        calls.append(len(indices))
        return sparse(self, indices)

    monkeypatch.setattr(SpikeSplit, "sparse", counted)
    list(DataLoader(split, batch_size=2, collate_fn=split.sparse))
    assert calls == [2, 1]


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
