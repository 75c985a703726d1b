"""Recordings of another number of units than SHD's: each unit is an input, and silence is told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from snn_delays.data import heidelberg as units_module
from snn_delays.data import load_shd, load_ssc
from snn_delays.errors import UsageError

Write = Callable[..., Path]
PLAIN: dict[str, Any] = {"split": "stratified", "valid_fraction": 0.5}


@pytest.fixture
def write(write_file: Write, tmp_path: Path) -> Write:
    """A folder of files whose recording i has one event of each of the first ``units`` units."""

    def write_all(
        units: int, *, says: int | None = None, dataset: str = "shd", test_says: int | None = None
    ) -> Path:
        for part, name in enumerate(("train", "valid", "test")):
            lists = [np.arange(units)] * 8
            times = [0.01 * ((lists[0] + 8 * part + at) % 31) for at in range(8)]
            path = write_file(times, lists, [0, 1] * 4, [0, 1] * 4, name=f"{dataset}_{name}.h5")
            said = test_says if name == "test" and test_says else says
            if said is not None:
                with h5py.File(path, "r+") as file:
                    file["spikes/units"].attrs["n_units"] = said
        return tmp_path

    return write_all


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("dataset", ["shd", "ssc"])
def test_each_of_64_units_is_an_input(
    write: Write, caplog: pytest.LogCaptureFixture, cache: bool, dataset: str
) -> None:
    root = write(64, dataset=dataset)
    load, settings = (load_shd, PLAIN) if dataset == "shd" else (load_ssc, {})
    with caplog.at_level(logging.WARNING, logger="snn_delays"):
        data = load(root, cache=cache, **settings)
    assert data.n_channels == 64
    spikes = data.test.collate([0]).spikes[:, 0]
    assert torch.equal(spikes.sum(0), torch.ones(64))
    (line,) = caplog.messages
    assert f"{dataset.upper()}: 64 units, as the largest that fires is 63 and no file says" in line


def test_what_is_counted_is_remembered(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(64)
    load_shd(root, **PLAIN)
    monkeypatch.delattr(units_module, "count_units")
    assert load_shd(root, **PLAIN).n_channels == 64
    for note in (root / ".snn_delays_cache").glob("*.units"):
        note.write_bytes(b"{")
    with pytest.raises(NameError, match="count_units"):
        load_shd(root, **PLAIN)


@pytest.mark.parametrize(
    ("units", "says", "settings", "channels", "silent"),
    [
        (700, None, {}, 140, 0),
        (64, 128, {}, 128, 64),
        (64, 700, {}, 140, 127),
        (64, None, {"n_units": 700}, 140, 127),
        (64, None, {"n_units": np.int64(128), "pool": 4}, 32, 16),
        (64, None, {"pool": 5}, 13, 0),
        (1024, 1024, {}, 1024, 0),
        (1024, None, {"n_units": 1024}, 1024, 0),
    ],
)
def test_channels_and_how_many_are_silent(
    write: Write,
    caplog: pytest.LogCaptureFixture,
    units: int,
    says: int | None,
    settings: dict[str, Any],
    channels: int,
    silent: int,
    unchecked: None,
) -> None:
    with caplog.at_level(logging.INFO, logger="snn_delays"):
        data = load_shd(write(units, says=says), cache=False, **PLAIN, **settings)
    assert data.n_channels == channels
    assert len(data.train.silent_channels()) == silent
    told = [line for line in caplog.messages if "never fire" in line]
    if silent:
        (line,) = told
        assert f"SHD: {silent} of {channels} input channels never fire in training" in line
    else:
        assert not told
    assert any(f"{says} units, as" in line for line in caplog.messages) == (says is not None)


def test_silence_is_that_of_the_training_recordings_alone(write_file: Write) -> None:
    for name in ("train", "test"):
        root = write_file(
            [[0.1]] * 4, [[0], [1], [2], [3]], [0] * 4, [0, 0, 1, 1], name=f"shd_{name}.h5"
        ).parent
    data = load_shd(root, valid_speakers=[1])
    assert data.train.silent_channels().tolist() == [2, 3]
    assert data.valid.silent_channels().tolist() == [0, 1]
    assert data.test.silent_channels().tolist() == []


def refusal(root: Path, **settings: Any) -> str:
    with pytest.raises(UsageError) as caught:
        load_shd(root, **PLAIN, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_more_units_than_published_want_a_word(write: Write) -> None:
    line = refusal(write(1024))
    assert "recording 0 has a unit out of range: expected 0 to 699, got 700. If there are" in line
    assert "set dataset.n_units=1024." in line


def test_files_that_contradict_each_other(write: Write) -> None:
    root = write(64, says=64, test_says=65)
    line = refusal(root)
    assert "SHD: files must have one number of units, got 64 units in " in line
    assert load_shd(root, n_units=65, **PLAIN).n_channels == 65


@pytest.mark.parametrize("says", [0, -1, 70_000, 64.0, "64", np.array([64, 64])])
def test_a_number_of_units_that_is_none(write: Write, says: Any) -> None:
    line = refusal(write(64, says=says))
    assert "has a wrong attribute n_units of spikes/units: expected 1 to 65536, got " in line


@pytest.mark.parametrize("n_units", [0, 65_537, 64.0, True, "64"])
def test_settings_that_cannot_be(write: Write, n_units: Any, unchecked: None) -> None:
    assert "n_units must be a whole number from 1 to 65536, or None" in refusal(
        write(64), n_units=n_units
    )
    assert "pool must be a whole number of units >= 1, got 0" in refusal(write(64), pool=0)
