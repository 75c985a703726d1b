"""What the check finds is what is there, and what training refuses or skips is what it finds."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from snn_delays.data import load_shd, load_ssc
from snn_delays.data.events.check import Report, check_files
from snn_delays.data.heidelberg import official_file
from snn_delays.errors import UsageError

WriteFile = Callable[..., Path]
SOUND = {
    "nan_times": 0,
    "infinite_times": 0,
    "negative_times": 0,
    "units_out_of_range": 0,
    "ragged_recordings": 0,
    "labels_out_of_range": 0,
    "unsorted_recordings": 0,
    "empty_recordings": 0,
    "repeated_recordings": 0,
    "defective_recordings": 0,
}


def check(*paths: Path) -> Report:
    return check_files(
        [official_file(path.parent, path.name, "SHD") for path in paths], n_units=700
    )


def counts(report: Report) -> dict[str, Any]:
    (file,) = report.files
    return {key: getattr(file, key) for key in SOUND}


def test_a_sound_file(shd_root: Path) -> None:
    train, test = shd_root / "shd_train.h5", shd_root / "shd_test.h5"
    report = check(train, test)
    assert not report.failures
    with h5py.File(train) as file:
        times = file["spikes/times"][:]
        labels, speakers = file["labels"][:], file["extra/speaker"][:]
    first = report.files[0]
    assert (first.recordings, first.events) == (120, sum(map(len, times)))
    assert first.longest_s == max(float(one.max()) for one in times)
    assert first.per_class == tuple(np.bincount(labels).tolist())
    assert first.per_speaker == {
        who: int((speakers == who).sum()) for who in np.unique(speakers).tolist()
    }
    assert first.class_names == ("zero", "one", "two")
    assert [pair.recordings for pair in report.shared] == [0]
    saved = json.loads(json.dumps(report.as_json()))
    assert saved["passed"]
    assert saved["files"][1]["recordings"] == 30


def test_every_defect_and_remark_is_counted(write_file: WriteFile) -> None:
    path = write_file(
        times=[
            [0.1, np.nan, np.inf, -np.inf],
            [-0.1, 0.2],
            [0.3, 0.2, 0.1],
            [],
            [0.1, 0.2, 0.3],
            [0.1, 0.2],
            [0.5],
            [0.25, 0.5],
            [0.25, 0.5],
            [0.5, np.nan, 0.25],
        ],
        units=[
            [1, 2, 3, 4],
            [5, 6],
            [1, 2, 3],
            [],
            [1, 2],
            [700, 65535],
            [9],
            [3, 4],
            [3, 4],
            [1, 2, 3],
        ],
        labels=[0, 1, 0, 1, 0, 1, 2, 0, 1, 1],
        speakers=[0] * 10,
    )
    report = check(path)
    assert counts(report) == {
        "nan_times": 2,
        "infinite_times": 2,
        "negative_times": 1,
        "units_out_of_range": 2,
        "ragged_recordings": 1,
        "labels_out_of_range": 1,
        # Not the last: neither step to or from NaN is a step back.
        "unsorted_recordings": 1,
        "empty_recordings": 1,
        "repeated_recordings": 1,
        "defective_recordings": 3,
    }
    assert report.files[0].defects == [
        "recording 4 is ragged: expected as many units as times, got 2 units and 3 times",
        "recording 5 has a unit out of range: expected 0 to 699, got 700",
        "recording 6 has a label out of range: expected 0 to 1 (2 class names), got 2",
    ]
    assert report.failures == [f"{path}: {report.files[0].defects[0]}"]
    assert not report.as_json()["passed"]


def test_remarks_alone_fail_nothing(write_file: WriteFile) -> None:
    report = check(write_file([[0.2, 0.1, np.nan], []], [[1, 2, 3], []]))
    assert not report.failures
    assert counts(report) == SOUND | {
        "nan_times": 1,
        "unsorted_recordings": 1,
        "empty_recordings": 1,
    }


def test_recordings_in_two_splits_are_found(write_file: WriteFile) -> None:
    train = write_file([[0.1], [0.2], [0.3], []], [[1], [2], [3], []], [0] * 4, [0] * 4)
    test = write_file(
        [[], [0.3], [0.1], [0.2]], [[], [3], [1], [9]], [0] * 4, [0] * 4, name="shd_test.h5"
    )
    (found,) = check(train, test).shared
    assert (found.first, found.second) == (str(train), str(test))
    assert found.recordings == 2
    assert found.pairs == [(0, 2), (2, 1)]


def test_a_file_that_cannot_be_read_is_reported_beside_the_others(write_file: WriteFile) -> None:
    train = write_file()
    broken = train.with_name("shd_test.h5")
    broken.write_text("<html>")
    report = check(train, broken, train.with_name("missing.h5"))
    assert [file.passed for file in report.files] == [True, False, False]
    assert "is not HDF5" in report.files[1].error
    assert "does not exist" in report.files[2].error
    assert all("\n" not in failure for failure in report.failures)


def test_many_defects_are_listed_in_part_and_counted_in_full(write_file: WriteFile) -> None:
    report = check(write_file([[0.1]] * 30, [[700]] * 30, [0] * 30, [0] * 30))
    assert report.files[0].defective_recordings == 30
    assert len(report.files[0].defects) == 20


def spoil(root: Path) -> dict[int, str]:
    """Make three of the training recordings defective, each in another way."""
    with h5py.File(root / "shd_train.h5", "r+") as file:
        file["spikes/units"][3] = np.array([65535], dtype=np.uint16)
        file["spikes/times"][3] = np.array([0.1], dtype=np.float16)
        file["spikes/times"][50] = np.zeros(77, dtype=np.float16)
        labels = file["labels"][:]
        labels[119] = 3
        file["labels"][:] = labels
    return {3: "has a unit", 50: "is ragged", 119: "has a label"}


def test_training_refuses_and_names_the_recording(shd_root: Path) -> None:
    def refusal() -> str:
        with pytest.raises(UsageError) as caught:
            load_shd(shd_root)
        return str(caught.value)

    def mend(i: int) -> None:
        with h5py.File(shd_root / "shd_train.h5", "r+") as file:
            for name in ("times", "units"):
                file[f"spikes/{name}"][i] = np.zeros(7, dtype=file[f"spikes/{name}"][0].dtype)
            labels = file["labels"][:]
            labels[i] = 0
            file["labels"][:] = labels

    spoiled = spoil(shd_root)
    for i in (119, 3, 50):  # labels are there before any event is read
        assert f"shd_train.h5 recording {i} {spoiled[i]}" in refusal()
        mend(i)
    assert load_shd(shd_root).skipped_recordings == 0


@pytest.mark.parametrize("cached", [False, True])
def test_skipping_drops_and_counts(
    shd_root: Path, caplog: pytest.LogCaptureFixture, cached: bool
) -> None:
    whole = load_shd(shd_root, split="paper", cache=False)
    gone = spoil(shd_root)
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="snn_delays"):
            data = load_shd(shd_root, split="stratified", on_bad="skip", cache=cached)
        assert data.skipped_recordings == 3
        (line,) = caplog.messages
        assert line.startswith("SHD: on_bad=skip left out 3 of 120 recordings of ")
        assert "recording 3 has a unit out of range" in line
    data = load_shd(shd_root, split="paper", on_bad="skip", cache=cached)
    kept = [i for i in range(120) if i not in gone]
    expected, found = whole.train.collate(kept), data.train.collate(range(117))
    for mine, yours in zip(found, expected, strict=True):
        assert torch.equal(mine, yours)
    # What skipping has kept is no reason to take the file as it is.
    with pytest.raises(UsageError, match="recording 119 has a label"):
        load_shd(shd_root, cache=cached)


def test_skipping_all_is_refused(write_file: WriteFile) -> None:
    path = write_file([[0.1]], [[700]], [0], [0])
    with pytest.raises(UsageError, match="has no sound recording: .* recording 0 has a unit"):
        load_shd(path.parent, on_bad="skip")


def test_a_sound_file_is_the_same_either_way(shd_root: Path) -> None:
    one, other = (load_shd(shd_root, on_bad=how) for how in ("refuse", "skip"))
    assert one.skipped_recordings == other.skipped_recordings == 0
    assert torch.equal(
        one.train.collate(range(len(one.train))).spikes,
        other.train.collate(range(len(other.train))).spikes,
    )


@pytest.mark.parametrize("load", [load_shd, load_ssc])
@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"on_bad": "ignore"}, "on_bad must be one of refuse, skip, got 'ignore'"),
        ({"max_count": 0}, "max_count must be a whole number of spikes >= 1 "),
        ({"max_count": 1.5}, "max_count must be a whole number"),
        ({"max_count": True}, "max_count must be a whole number"),
    ],
)
def test_settings_that_cannot_be(
    tmp_path: Path, load: Any, settings: Any, complaint: str, unchecked: None
) -> None:
    with pytest.raises(UsageError, match=complaint):
        load(tmp_path, **settings)


@pytest.mark.parametrize("cache", [True, False])
def test_counts_are_clipped_from_one_cache(shd_root: Path, cache: bool) -> None:
    plain = load_shd(shd_root, dt_ms=50.0, pool=100, cache=cache)
    spikes = plain.test.collate(range(30)).spikes
    assert spikes.max() > 2
    for limit in (1, 2, 1000):
        data = load_shd(shd_root, dt_ms=50.0, pool=100, max_count=limit, cache=cache)
        assert torch.equal(data.test.collate(range(30)).spikes, spikes.clamp(max=limit))
        assert torch.equal(data.test.lengths, plain.test.lengths)
    if cache:
        assert len(list((shd_root / ".snn_delays_cache").glob("*.events"))) == 2


def test_sex_of_speakers_is_known_where_the_file_says_so(shd_root: Path) -> None:
    assert load_shd(shd_root, cache=False).speaker_sex == {}
    with h5py.File(shd_root / "shd_train.h5", "r+") as file:
        file["extra/meta_info/gender"] = np.array([b"female", b"male", b"male", b"female"])
    with h5py.File(shd_root / "shd_test.h5", "r+") as file:
        file["extra/meta_info/gender"] = np.array([[1.0]])  # of another kind: not known
    sexes = {0: "female", 1: "male", 2: "male", 3: "female"}
    for _ in range(2):  # from the cache, too
        assert load_shd(shd_root).speaker_sex == sexes
    assert check(shd_root / "shd_train.h5").files[0].speaker_sex == sexes


def test_labels_without_names_have_a_limit(write_file: WriteFile) -> None:
    path = write_file(labels=np.array([0, 2**63], dtype=np.uint64), keys=None)
    assert "recording 1 has a label out of range" in check(path).failures[0]
    path = write_file(labels=np.array([0, 2**40]), keys=None)
    assert "has no class names and a label 1099511627776" in check(path).failures[0]


def test_real_speech_is_sound(fsdd_root: Path) -> None:
    report = check(fsdd_root / "shd_train.h5", fsdd_root / "shd_test.h5")
    assert not report.failures
    assert [file.recordings for file in report.files] == [2250, 750]
    assert [len(file.per_speaker) for file in report.files] == [5, 6]
    assert report.shared[0].recordings == 0
