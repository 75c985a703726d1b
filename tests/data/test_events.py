"""What is read from a file is what is in it; what cannot be read is said in one line."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from whole_events import WholeEvents, pieces, read_events

from snn_delays.data.events import reading as recordings_module
from snn_delays.data.events.spike_file import SpikeFile
from snn_delays.errors import UsageError

HOW_TO_GET = "Download it from example.org."


def read(path: Path) -> WholeEvents:
    return read_events(path, dataset_name="SHD", how_to_get=HOW_TO_GET)


def refusal(path: Path) -> str:
    """The message, after checking what holds for every one."""
    with pytest.raises(UsageError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"SHD: {path} ")
    assert message.endswith(HOW_TO_GET)
    assert "\n" not in message
    assert "expected" in message
    return message


def outcome(path: Path) -> str | None:
    """The message, or None if the file can be read after all."""
    try:
        read(path)
    except UsageError as error:
        return str(error)
    return None


def test_everything_in_a_file_is_read(write_file: Any) -> None:
    events = read(write_file())
    np.testing.assert_array_equal(events.times, np.float16([0.0, 0.011, 0.02]).astype(float))
    np.testing.assert_array_equal(events.units, [0, 699, 7])
    np.testing.assert_array_equal(events.offsets, [0, 2, 3])
    np.testing.assert_array_equal(events.labels, [0, 1])
    np.testing.assert_array_equal(events.speakers, [0, 1])
    assert events.class_names == ("null", "fünf")
    assert (events.n_units, events.invalid_events, len(events)) == (700, 0, 2)


def test_float16_seconds_become_float64_before_anything_is_computed(write_file: Any) -> None:
    events = read(write_file([[1.3], [60000.0]], [[1], [2]]))
    assert events.times.dtype == np.float64
    # In float16 already 1.3 s × 10⁶ would be infinite.
    np.testing.assert_allclose(events.times * 1e6, [1.3e6, 6e10], rtol=1e-3)


@pytest.mark.parametrize("unit_dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint64])
@pytest.mark.parametrize("time_dtype", [np.float16, np.float32, np.float64])
def test_any_width_of_number_is_read(write_file: Any, unit_dtype: Any, time_dtype: Any) -> None:
    path = write_file(
        [[0.25], [0.5, 1.0]], [[3], [2, 250]], unit_dtype=unit_dtype, time_dtype=time_dtype
    )
    events = read(path)
    np.testing.assert_array_equal(events.times, [0.25, 0.5, 1.0])
    np.testing.assert_array_equal(events.units, [3, 2, 250])
    assert events.units.dtype == np.int64


def test_times_that_are_none_are_left_out_and_counted(write_file: Any) -> None:
    times = [[np.nan, 0.25, -0.5], [np.inf], [-np.inf, 0.5]]
    events = read(write_file(times, [[1, 2, 3], [4], [5, 6]], [0, 1, 0], [0, 0, 0]))
    np.testing.assert_array_equal(events.times, [0.25, 0.5])
    np.testing.assert_array_equal(events.units, [2, 6])
    np.testing.assert_array_equal(events.offsets, [0, 1, 1, 2])
    assert events.invalid_events == 4


def test_silent_recordings_stay(write_file: Any) -> None:
    events = read(write_file([[], [0.5], []], [[], [3], []], [0, 1, 1], [0, 0, 0]))
    np.testing.assert_array_equal(events.offsets, [0, 0, 1, 1])
    silent = read(write_file([[], []], [[], []]))
    assert len(silent) == 2
    assert len(silent.times) == 0


def test_names_and_speakers_may_be_unknown(write_file: Any) -> None:
    events = read(write_file(labels=[0, 3], speakers=None, keys=None))
    assert events.class_names == ("0", "1", "2", "3")
    np.testing.assert_array_equal(events.speakers, [-1, -1])


def test_speakers_known_by_text_are_numbered(write_file: Any) -> None:
    events = read(write_file(speakers=np.array([b"d0faf7e4", b"0a2b400e"])))
    # By their names alone, so that two files of one data set agree.
    np.testing.assert_array_equal(
        events.speakers, [zlib.crc32(b"d0faf7e4"), zlib.crc32(b"0a2b400e")]
    )


def test_pieces_make_the_whole(write_file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 9, 23)
    path = write_file(
        [rng.random(count) for count in counts],
        [rng.integers(0, 700, count) for count in counts],
        rng.integers(0, 2, 23),
        rng.integers(0, 5, 23),
    )
    whole = read(path)
    monkeypatch.setattr(recordings_module, "_RECORDINGS_PER_CHUNK", 4)
    parts = list(pieces(SpikeFile(path, "SHD", HOW_TO_GET)))
    assert [len(part) for part in parts] == [4, 4, 4, 4, 4, 3]
    again = read(path)
    for name in ("times", "units", "offsets", "labels", "speakers"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    with h5py.File(path, "r+") as file:
        file["spikes/units"][13] = np.full(counts[13] + 1, 2)
    assert "recording 13 is ragged" in refusal(path)


def test_missing_file(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "shd_train.h5")


def test_folder_in_place_of_the_file(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


def test_no_bytes(tmp_path: Path) -> None:
    path = tmp_path / "shd_train.h5"
    path.touch()
    assert "got 0 bytes" in refusal(path)


def test_a_web_page_in_place_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "shd_train.h5"
    path.write_text("<!DOCTYPE html>\n<html>404</html>\n")
    assert "is not HDF5: expected an HDF5 file, got one that starts with b'<!DOCTYPE" in refusal(
        path
    )


@pytest.mark.parametrize("share", np.linspace(0.01, 0.99, 25))
def test_truncated_file(write_file: Any, share: float) -> None:
    path = write_file([[0.5] * 50] * 40, [[1] * 50] * 40, [0] * 40, [0] * 40)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "truncated" in (message := refusal(path)) or "HDF5" in message


def test_damage_inside(write_file: Any) -> None:
    path = write_file([[0.5] * 50] * 40, [[1] * 50] * 40, [0] * 40, [0] * 40)
    content = path.read_bytes()
    assert b"GCOL" in content  # the heap that holds the lists
    path.write_bytes(content.replace(b"GCOL", b"gone"))
    assert "is damaged: expected whole lists in spikes/times, got no collection" in refusal(path)


@pytest.mark.parametrize("part", ["times", "units", "labels"])
def test_missing_array(write_file: Any, part: str) -> None:
    assert f"has no array {'' if part == 'labels' else 'spikes/'}{part}" in refusal(
        write_file(**{part: None})
    )


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ({"times": [[0.1, 0.2], [0.3]], "units": [[1, 2], [3, 4]]}, "recording 1 is ragged"),
        ({"units": [[0, 1], [700]]}, "recording 1 has a unit out of range: expected 0 to 699"),
        ({"units": [[0, 65535], [1]]}, "recording 0 has a unit out of range"),
        ({"units": [[0, 1], [-1]], "unit_dtype": np.int32}, "recording 1 has a unit out of range"),
        ({"labels": [0, 2]}, "recording 1 has a label out of range: expected 0 to 1"),
        ({"labels": [-1, 0]}, "recording 0 has a label out of range"),
        ({"labels": [-1, -1], "keys": None}, "recording 0 has a label out of range"),
        ({"labels": [0, 1, 1]}, "expected 2 entries in labels"),
        ({"labels": [[0, 1]]}, "expected 2 entries in labels"),
        ({"labels": [0.5, 1.0]}, "expected integers, got float64"),
        ({"speakers": [0]}, "expected 2 entries in extra/speaker"),
        ({"units": [[0, 1]]}, "expected spikes/units of as many recordings"),
        ({"times": [[1, 2], [3]], "time_dtype": np.int64}, "wrong spikes/times"),
        ({"units": [[1, 2], [3]], "unit_dtype": np.float32}, "wrong spikes/units"),
        ({"time_dtype": np.dtype(np.float32).newbyteorder()}, "machine's order of bytes, got >f4"),
        ({"unit_dtype": np.dtype(np.int32).newbyteorder()}, "machine's order of bytes, got >i4"),
        ({"times": [], "units": [], "labels": [], "speakers": []}, "holds no recordings"),
    ],
)
def test_wrong_content(write_file: Any, broken: dict[str, Any], complaint: str) -> None:
    assert complaint in refusal(write_file(**broken))


def test_tables_in_place_of_lists(write_file: Any) -> None:
    path = write_file()
    with h5py.File(path, "r+") as file:
        del file["spikes/times"]
        file["spikes/times"] = np.zeros((2, 3))
    assert "expected one variable-length list of floats per recording" in refusal(path)
    with h5py.File(path, "r+") as file:
        del file["spikes"]
        file["spikes"] = np.zeros(3)
    assert "has no array spikes/times" in refusal(path)


def test_a_file_may_not_be_readable(write_file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_file()

    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", deny)
    assert "Permission denied" in refusal(path)


def test_damage_is_never_anything_but_one_line(write_file: Any, tmp_path: Path) -> None:
    whole = write_file([[0.5] * 5] * 8, [[1] * 5] * 8, [0] * 8, [0] * 8)
    content = np.frombuffer(whole.read_bytes(), dtype=np.uint8)
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged.h5"
    for _ in range(60):
        damaged = content.copy()
        damaged[rng.integers(len(content), size=20)] = rng.integers(256, size=20)
        path.write_bytes(damaged.tobytes())
        message = outcome(path)
        assert message is None or (str(path) in message and "\n" not in message)


def test_the_file_is_only_read(write_file: Any, tmp_path: Path) -> None:
    path = write_file()
    before = shutil.copy(path, tmp_path / "before.h5")
    read(path)
    assert path.read_bytes() == before.read_bytes()
