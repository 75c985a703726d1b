"""The synthetic task: nothing but relative timing tells its classes apart, and delays read it."""

from __future__ import annotations

import logging
import multiprocessing
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snn_delays.data import SpikeSplit, load_synthetic
from snn_delays.data.synthetic import SyntheticTask, generate_synthetic
from snn_delays.errors import UsageError

QUIET: dict[str, Any] = {"jitter": 0.0, "spurious": 0.0, "deletion": 0.0}
SMALL: dict[str, Any] = {"n_train": 64, "n_valid": 16, "n_test": 32}


def dense(split: SpikeSplit) -> torch.Tensor:
    return split.collate(range(len(split))).spikes


def detected(split: SpikeSplit, task: SyntheticTask) -> torch.Tensor:
    """The class whose delays bring most spikes into one step, give or take one."""
    spikes = dense(split)
    scores = []
    for pattern in task.patterns():
        delays = task.pattern_steps + 1 - pattern
        aligned = spikes.new_zeros(len(spikes) + task.pattern_steps + 2, len(split))
        for channel, delay in enumerate(delays):
            for shift, weight in ((-1, 0.5), (0, 1.0), (1, 0.5)):
                start = delay + shift
                aligned[start : start + len(spikes)] += weight * spikes[:, :, channel]
        scores.append(aligned.amax(0))
    return torch.stack(scores).argmax(0)


def test_the_right_delays_solve_it(tmp_path: Path) -> None:
    data = load_synthetic(tmp_path)
    accuracy = (detected(data.test, SyntheticTask()) == data.test.labels).float().mean()
    assert accuracy > 0.97


def test_counts_alone_tell_nothing(tmp_path: Path) -> None:
    data = load_synthetic(tmp_path, n_train=4000, n_test=1000)
    for axis in (0, 2):  # per channel over time, per step over channels
        counts = {name: dense(getattr(data, name)).sum(axis) for name in ("train", "test")}
        train, test = (c if axis == 0 else c.T for c in counts.values())
        width = max(train.shape[1], test.shape[1])
        train, test = (torch.nn.functional.pad(c, (0, width - c.shape[1])) for c in (train, test))
        means = torch.stack([train[data.train.labels == k].mean(0) for k in range(8)])
        guess = torch.cdist(test, means).argmin(1)
        assert (guess == data.test.labels).float().mean() < 1 / 8 + 0.05


def test_without_noise_every_channel_fires_once_and_none_together(tmp_path: Path) -> None:
    data = load_synthetic(tmp_path, **QUIET, **SMALL)
    spikes = dense(data.train)
    assert (spikes.sum(0) == 1).all()
    assert spikes.sum(2).max() == 1


def test_times_stored_as_float16_stay_in_their_step(tmp_path: Path) -> None:
    task = SyntheticTask(**QUIET, dt_ms=5.0, max_onset=150)  # until 0.875 s
    data = load_synthetic(tmp_path, **QUIET, dt_ms=5.0, max_onset=150, **SMALL)
    patterns = torch.from_numpy(task.patterns())
    steps = dense(data.train).argmax(0)
    onsets = steps.min(1, keepdim=True).values
    assert torch.equal(steps, onsets + patterns[data.train.labels])
    assert onsets.max() > 130


def test_float16_must_resolve_a_step() -> None:
    with pytest.raises(UsageError, match="too many for times stored as float16"):
        SyntheticTask(dt_ms=1.0, max_onset=2000)


def test_noise_is_what_was_asked_for(tmp_path: Path) -> None:
    data = load_synthetic(
        tmp_path, jitter=0.0, spurious=2.0, deletion=0.25, n_train=4000, n_valid=1, n_test=1
    )
    counts = dense(data.train).sum((0, 2))
    assert counts.mean() == pytest.approx(12 * 0.75 + 2.0, abs=0.15)
    assert counts.var() == pytest.approx(12 * 0.75 * 0.25 + 2.0, rel=0.1)


def test_classes_are_far_apart_at_every_shift() -> None:
    task = SyntheticTask(n_classes=10)
    patterns = task.patterns()
    assert patterns.shape == (10, 12)
    offsets = np.rint(np.linspace(0, 24, 12))
    for pattern in patterns:
        np.testing.assert_array_equal(np.sort(pattern), offsets)
    for one, other in combinations(patterns, 2):
        shifts = one - other
        assert np.unique(shifts, return_counts=True)[1].max() <= 4


def test_too_many_classes_for_the_channels() -> None:
    with pytest.raises(UsageError, match=r"clearly different classes.*n_channels\.$"):
        SyntheticTask(n_classes=40, n_channels=3).patterns()


def test_equal_settings_make_equal_files(tmp_path: Path) -> None:
    def content(task: SyntheticTask, **kwargs: int) -> bytes:
        generate_synthetic(tmp_path / "one.h5", task, n_samples=20, **kwargs)
        return (tmp_path / "one.h5").read_bytes()

    task = SyntheticTask()
    assert content(task) == content(task)
    assert content(task) != content(task, part=1)
    assert content(task) != content(replace(task, seed=1))
    np.testing.assert_raises(
        AssertionError,
        np.testing.assert_array_equal,
        task.patterns(),
        replace(task, seed=1).patterns(),
    )


def test_splits_share_classes_and_no_recordings(tmp_path: Path) -> None:
    data = load_synthetic(tmp_path, **SMALL)
    assert (len(data.train), len(data.valid), len(data.test)) == (64, 16, 32)
    assert (data.n_channels, data.n_classes, data.split) == (12, 8, "official")
    assert torch.bincount(data.train.labels).tolist() == [8] * 8
    splits = [
        {tuple(one.nonzero().flatten().tolist()) for one in dense(split).transpose(0, 1)}
        for split in (data.train, data.valid, data.test)
    ]
    assert all(one.isdisjoint(other) for one, other in combinations(splits, 2))


def test_files_are_made_once_and_again_when_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "not" / "there"
    first = load_synthetic(root, **SMALL)
    files = {path: path.stat().st_mtime_ns for path in root.iterdir()}
    assert len(files) == 3
    assert all(path.match("synthetic_*_*.h5") for path in files)
    load_synthetic(root, **SMALL)
    assert files == {path: path.stat().st_mtime_ns for path in root.iterdir()}
    assert not caplog.records

    broken = next(path for path in files if path.stem.endswith("train"))
    broken.write_bytes(broken.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING, logger="snn_delays"):
        again = load_synthetic(root, **SMALL)
    assert "Making it again." in caplog.text
    assert torch.equal(again.train.steps, first.train.steps)
    load_synthetic(root, **SMALL, seed=1)
    assert len(list(root.iterdir())) == 6


def _load(root: Path) -> int:
    return int(dense(load_synthetic(root, n_train=600, n_valid=10, n_test=10).train).sum())


def test_processes_may_make_the_same_files_at_once(tmp_path: Path) -> None:
    # Spawned, since a forked child of a process with threads may hang.
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        sums = pool.map(_load, [tmp_path] * 4, chunksize=1)
    assert len(set(sums)) == 1
    assert len(list(tmp_path.iterdir())) == 3


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"^cannot write .*Choose a folder") as caught:
        load_synthetic(tmp_path / "file", **SMALL)
    assert "\n" not in str(caught.value)


def test_what_is_not_finished_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(UsageError, match="No space left on device"):
        load_synthetic(tmp_path, **SMALL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("n_classes", 1),
        ("n_channels", 1),
        ("n_channels", 2.5),
        ("pattern_steps", 10),
        ("max_onset", -1),
        ("jitter", -0.1),
        ("jitter", float("nan")),
        ("spurious", -1.0),
        ("deletion", 1.0),
        ("dt_ms", 0.0),
        ("n_train", 0),
    ],
)
def test_settings_that_cannot_be(
    tmp_path: Path, setting: str, value: float, unchecked: None
) -> None:
    with pytest.raises(UsageError, match=r"^synthetic: .*got ") as caught:
        load_synthetic(tmp_path, **{setting: value})
    assert "\n" not in str(caught.value)
