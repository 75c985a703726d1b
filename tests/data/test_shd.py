"""SHD and SSC from their files: which recordings end up where, and what is said about it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from snn_delays.data import SpikeData, load_shd, load_ssc
from snn_delays.errors import UsageError


def rows(data: Any) -> set[tuple[int, ...]]:
    """Every recording of a split as something that can be compared."""
    dense = data.collate(range(len(data))).spikes.transpose(0, 1)
    return {tuple(one.nonzero().flatten().tolist()) for one in dense}


@pytest.mark.parametrize("split", ["speaker", "stratified"])
def test_a_clean_split_parts_the_training_file(shd_root: Path, split: Any) -> None:
    data = load_shd(shd_root, split=split)
    whole = load_shd(shd_root, split="paper").train
    assert rows(data.train).isdisjoint(rows(data.valid))
    assert rows(data.train) | rows(data.valid) == rows(whole)
    assert len(data.train) + len(data.valid) == len(whole) == 120
    assert len(data.test) == 30
    assert (data.split, data.clean_split) == (split, True)
    assert (data.train.name, data.valid.name, data.test.name) == ("train", "valid", "test")


def test_speakers_are_held_out_as_a_whole(shd_root: Path) -> None:
    data = load_shd(shd_root, split="speaker", valid_speakers=[1, 3])
    assert set(data.valid.speakers.tolist()) == {1, 3}
    assert set(data.train.speakers.tolist()) == {0, 2}
    drawn = [load_shd(shd_root, seed=seed).valid.speakers.unique().tolist() for seed in range(8)]
    assert all(len(speakers) == 1 for speakers in drawn)
    assert len({speakers[0] for speakers in drawn}) > 1


def test_stratified_holds_out_the_same_share_of_all(shd_root: Path) -> None:
    valid = load_shd(shd_root, split="stratified", valid_fraction=0.2).valid
    assert torch.bincount(valid.labels).tolist() == [8, 8, 8]
    assert torch.bincount(valid.speakers).tolist() == [6, 6, 6, 6]


def test_the_published_split_is_said_loudly(
    shd_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="snn_delays"):
        load_shd(shd_root, split="speaker")
        assert not caplog.records
        data = load_shd(shd_root, split="paper")
    assert "NOT an honest estimate" in caplog.text
    assert not data.clean_split
    assert torch.equal(data.valid.steps, data.test.steps)
    assert len(data.train) == 120


def test_shape_names_and_grid(shd_root: Path) -> None:
    data = load_shd(shd_root, dt_ms=5.0, pool=10, max_time_ms=100.0)
    assert (data.n_channels, data.n_classes, data.dt_ms) == (70, 3, 5.0)
    assert data.class_names == ("zero", "one", "two")
    batch = data.test.collate(range(30))
    assert batch.spikes.shape == (20, 30, 70)
    assert load_shd(shd_root).n_channels == 140


def test_invalid_events_are_counted_and_said(
    shd_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_shd(shd_root).invalid_events == 0
    for name, bad in (("train", [np.nan, 0.1]), ("test", [np.inf, -1.0])):
        with h5py.File(shd_root / f"shd_{name}.h5", "r+") as file:
            file["spikes/times"][0] = np.array(bad, dtype=np.float16)
            file["spikes/units"][0] = np.array([1, 2], dtype=np.uint16)
    with caplog.at_level(logging.WARNING, logger="snn_delays"):
        assert load_shd(shd_root).invalid_events == 3
    assert "left out 3 of " in caplog.text
    assert "%" in caplog.text


@pytest.mark.parametrize("name", ["shd_train.h5", "shd_test.h5"])
def test_a_missing_file_says_where_to_get_it(shd_root: Path, name: str) -> None:
    (shd_root / name).unlink()
    with pytest.raises(UsageError) as caught:
        load_shd(shd_root)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        f"SHD: {shd_root / name} does not exist",
        f"https://zenkelab.org/datasets/{name}.zip",
        f"unzip it into {shd_root}",
        "datasets/README.md",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"split": "random"}, "split must be one of speaker, stratified, paper, got 'random'"),
        ({"split": "paper", "valid_speakers": [1]}, "valid_speakers is for split=speaker"),
        ({"valid_speakers": [8]}, "must be some, not all, of 0, 1, 2, 3, got"),
        ({"valid_fraction": 0.0}, "valid_fraction must be"),
        ({"dt_ms": 0.0}, "dt_ms must be"),
        ({"pool": 0}, "pool must be"),
        ({"max_time_ms": 1e-9}, "before max_time_ms"),
    ],
)
def test_settings_that_cannot_be(shd_root: Path, settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        load_shd(shd_root, **settings)
    assert "\n" not in str(caught.value)


def test_files_of_two_data_sets_do_not_mix(shd_root: Path, write_file: Callable[..., Path]) -> None:
    write_file(keys=("zero", "ten"), name="shd_test.h5")
    with pytest.raises(UsageError, match=r"calls label 1 'ten', .* not of one data set"):
        load_shd(shd_root)
    write_file(keys=("zero", "one"), name="shd_test.h5")
    assert load_shd(shd_root).n_classes == 3


def test_ssc_has_a_file_for_each_split(shd_root: Path) -> None:
    for ours, theirs in (("train", "train"), ("valid", "test"), ("test", "test")):
        (shd_root / f"ssc_{ours}.h5").write_bytes((shd_root / f"shd_{theirs}.h5").read_bytes())
    data = load_ssc(shd_root)
    assert (len(data.train), len(data.valid), len(data.test)) == (120, 30, 30)
    assert (data.split, data.clean_split, data.valid.name) == ("official", True, "valid")
    with pytest.raises(UsageError, match="split must be 'official', got 'speaker'"):
        load_ssc(shd_root, split="speaker")
    (shd_root / "ssc_valid.h5").unlink()
    with pytest.raises(UsageError, match=r"zenkelab\.org/datasets/ssc_valid\.h5\.zip"):
        load_ssc(shd_root)


def test_real_speech(fsdd_root: Path) -> None:
    started = time.perf_counter()
    data: SpikeData = load_shd(fsdd_root, split="speaker", cache=False)
    print(f"loaded {fsdd_root.name} in {time.perf_counter() - started:.2f} s")
    assert len(data.train) + len(data.valid) == 2250
    assert len(data.test) == 750
    assert (data.n_channels, data.n_classes, data.invalid_events) == (140, 10, 0)
    assert 5 not in data.train.speakers
    assert 5 in data.test.speakers
    with h5py.File(fsdd_root / "shd_test.h5") as file:
        units = file["spikes/units"][:]
    batch = data.test.collate(range(750))
    assert batch.spikes.sum(dtype=torch.float64) == sum(map(len, units))
    per_channel = np.bincount(np.concatenate(units) // 5, minlength=140)
    np.testing.assert_array_equal(batch.spikes.sum((0, 1), dtype=torch.float64), per_channel)
    occupied = batch.spikes.count_nonzero() / (batch.lengths.sum() * data.n_channels)
    assert 0.2 < occupied < 0.3  # a quarter, as its makers state
