"""Batches of events that lie on a device are the batches of the host."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from snn_delays.data import SpikeSplit
from snn_delays.data.splits import resident

CPU = torch.device("cpu")


def split_of(sizes: list[int], counted: bool, frame: tuple[int, ...] = (5,)) -> SpikeSplit:
    torch.manual_seed(sum(sizes))
    total, inputs = sum(sizes), int(torch.tensor(frame).prod())
    return SpikeSplit(
        steps=torch.randint(0, 13, (total,), dtype=torch.uint8),
        channels=torch.randint(0, inputs, (total,), dtype=torch.int16),
        counts=torch.randint(1, 4, (total,)) if counted else None,
        offsets=torch.tensor([0, *sizes]).cumsum(0),
        labels=torch.arange(len(sizes)) % 3,
        speakers=torch.arange(len(sizes)) - 1,
        n_channels=inputs,
        frame=frame,
        name="train",
    )


def same(one: object, other: object) -> None:
    for field in fields(one):  # pyright: ignore[reportArgumentType]
        a, b = (getattr(each, field.name) for each in (one, other))
        if isinstance(a, Tensor):
            assert a.dtype == b.dtype
            assert torch.equal(a, b), field.name
        else:
            assert a == b


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=7),
    st.booleans(),
    st.sampled_from([(5,), (2, 3, 2)]),
    st.data(),
)
def test_batches_are_the_same(
    sizes: list[int], counted: bool, frame: tuple[int, ...], data: st.DataObject
) -> None:
    split = split_of(sizes, counted, frame)
    chosen = st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=9)
    indices = data.draw(chosen)
    there = split.held_by(CPU)
    same(there.sparse(indices), split.sparse(indices))
    part = data.draw(chosen)
    places = data.draw(st.lists(st.integers(0, len(part) - 1), min_size=1, max_size=5))
    for subset in (split.subset(part, "part").held_by(CPU), there.subset(part, "part")):
        same(subset.sparse(places), split.subset(part, "part").sparse(places))


def test_loaders_take_it() -> None:
    split = split_of([3, 0, 4, 2, 6], counted=True)
    there = split.held_by(CPU)
    for one, other in zip(
        DataLoader(there, 2, collate_fn=there.sparse),
        DataLoader(split, 2, collate_fn=split.sparse),
        strict=True,
    ):
        same(one, other)


def test_only_what_fits_lies_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    split = split_of([3, 2], counted=False)
    assert split.on(CPU) is split
    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    assert resident.fits(250, cuda)
    assert not resident.fits(251, cuda)
    asked: list[int] = []
    monkeypatch.setattr(
        "snn_delays.data.splits.spike_split.fits",
        lambda needed, device: bool(asked.append(needed)),
    )
    assert split.subset([1, 1], "part").on(cuda).sparse([0]).shape[1] == 1
    assert asked == [2 * 2 * (1 + 2)]  # events of 1 + 2 bytes
