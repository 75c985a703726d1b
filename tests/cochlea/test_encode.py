"""Whole collections: the same file whatever the way, and nothing lost or overwritten."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from snn_delays.cochlea import Encoder, encode as module, find_recordings  # isort: skip
from whole_events import read_events

from snn_delays.errors import UsageError

WriteTone = Callable[..., Path]
CHANNELS = 6


def encode(audio: Path, output: Path, *, force: bool = False, **settings: Any) -> Path:
    settings = {"channels": CHANNELS, "workers": 1} | settings
    with Encoder(**settings) as encoder:
        encoder.encode(find_recordings(audio), output, force=force)
    return output


def read(path: Path) -> Any:
    return read_events(path, dataset_name="test", n_units=CHANNELS, how_to_get="")


def test_the_file_is_what_loaders_read(tones: Path, tmp_path: Path):
    events = read(encode(tones, tmp_path / "new/out.h5"))
    assert events.class_names == ("high", "low")
    assert events.labels.tolist() == [0, 0, 1, 1]
    assert events.speakers.tolist() == [-1] * 4
    assert (np.diff(events.offsets) > 0).all()
    assert events.times.max() < 0.1
    # Low tones excite higher units.
    units = [events.units[a:b] for a, b in zip(events.offsets, events.offsets[1:], strict=False)]
    assert np.mean(units[0]) + 0.5 < np.mean(units[3])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.h5"]


def test_equal_seeds_give_equal_files_with_any_number_of_workers(tones: Path, tmp_path: Path):
    one = encode(tones, tmp_path / "one.h5").read_bytes()
    assert encode(tones, tmp_path / "two.h5", workers=2).read_bytes() == one
    assert encode(tones, tmp_path / "seed.h5", seed=1).read_bytes() != one
    assert encode(tones, tmp_path / "causal.h5", causal=True).read_bytes() != one


def test_a_clip_s_spikes_do_not_depend_on_the_others(tones: Path, tmp_path: Path):
    all_of_them = read(encode(tones, tmp_path / "all.h5"))
    (tones / "high").rename(tones / "_high")
    some = read(encode(tones, tmp_path / "some.h5"))
    start = all_of_them.offsets[2]
    np.testing.assert_array_equal(some.times, all_of_them.times[start:])
    np.testing.assert_array_equal(some.units, all_of_them.units[start:])


def test_two_clips_of_the_same_sound_differ(tones: Path, tmp_path: Path):
    (tones / "low/copy.wav").write_bytes((tones / "low/a_1.wav").read_bytes())
    events = read(encode(tones, tmp_path / "out.h5"))
    first, last = (events.times[events.offsets[i] : events.offsets[i + 1]] for i in (2, 4))
    assert len(first) != len(last) or (first != last).any()


@pytest.mark.parametrize(
    ("pattern", "expected"), [(r"_(\d)\.", [1, 2, 1, 1]), (r"(.)_\d", ["a", "b", "a", "b"])]
)
def test_speakers_are_numbers_or_names(
    tones: Path, tmp_path: Path, pattern: str, expected: list[Any]
):
    path = tmp_path / "out.h5"
    with Encoder(channels=CHANNELS, workers=1) as encoder:
        encoder.encode(find_recordings(tones, speaker=pattern), path)
    with h5py.File(path) as file:
        stored: Any = file["extra/speaker"]
        values = stored[()]
    assert [v.decode() if isinstance(v, bytes) else v for v in values.tolist()] == expected
    speakers = read(path).speakers
    assert speakers[0] == speakers[2] != speakers[1]


def test_nothing_is_overwritten_unasked(tones: Path, tmp_path: Path):
    output = tmp_path / "out.h5"
    output.write_bytes(b"mine")
    with pytest.raises(UsageError, match="out.h5 exists.*force=true"):
        encode(tones, output)
    assert output.read_bytes() == b"mine"
    encode(tones, output, force=True)
    assert len(read(output)) == 4


def test_all_recordings_are_looked_at_before_the_first_is_encoded(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tones / "low/broken.wav").write_bytes(b"RIFF but no more")
    monkeypatch.setattr(module, "_encode", lambda *_: pytest.fail("encoded"))
    with pytest.raises(UsageError, match="broken.wav .* cannot be read"):
        encode(tones, tmp_path / "out.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["audio"]


def test_an_interrupted_call_goes_on(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = encode(tones, tmp_path / "whole.h5").read_bytes()
    real, names = module._encode, []

    def interrupted(seed: int, name: str, path: Path) -> Any:
        names.append(name)
        if len(names) == 3:
            raise KeyboardInterrupt
        return real(seed, name, path)

    monkeypatch.setattr(module, "_encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encode(tones, tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()
    assert encode(tones, tmp_path / "out.h5").read_bytes() == whole
    clips = [one.name for one in find_recordings(tones).recordings]
    assert names == [*clips[:3], *clips[2:]]


def test_a_changed_recording_is_encoded_again(
    tones: Path, tmp_path: Path, write_tone: WriteTone, monkeypatch: pytest.MonkeyPatch
):
    real, names = module._encode, []

    def once(seed: int, name: str, path: Path) -> Any:
        if names:
            raise KeyboardInterrupt
        names.append(name)
        return real(seed, name, path)

    monkeypatch.setattr(module, "_encode", once)
    with pytest.raises(KeyboardInterrupt):
        encode(tones, tmp_path / "out.h5")
    monkeypatch.setattr(module, "_encode", real)
    write_tone("audio/high/a_1.wav", 2_000.0, 0.12)
    fresh = encode(tones, tmp_path / "fresh.h5").read_bytes()
    assert encode(tones, tmp_path / "out.h5").read_bytes() == fresh


@pytest.mark.parametrize("workers", [1, 2])
def test_a_recording_that_breaks_later_is_named(tones: Path, tmp_path: Path, workers: int):
    path = tones / "low/b_1.flac"
    path.write_bytes(path.read_bytes()[:-2000])  # the header still promises all of it
    with pytest.raises(UsageError, match="b_1.flac"):
        encode(tones, tmp_path / "out.h5", workers=workers)


@pytest.mark.parametrize(
    "settings",
    [
        {"channels": 1},
        {"channels": 70_000},
        {"channels": 7.5},
        {"seed": -1},
        {"workers": 0},
        {"workers": "many"},
        {"causal": "yes"},
    ],
)
def test_wrong_settings_get_one_line(settings: dict[str, Any], unchecked: None):
    (name,) = settings
    with pytest.raises(UsageError, match=f"^{name} must be"):
        Encoder(**settings)


def test_outputs_that_are_no_file_get_one_line(tones: Path, tmp_path: Path):
    (tmp_path / "folder.h5").mkdir()
    for output in (tmp_path / "out.txt", tmp_path / "folder.h5", tmp_path):
        with pytest.raises(UsageError, match="output must be a file"):
            encode(tones, output)


def test_no_room_for_the_membrane_is_one_line(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UsageError, match="No space left on device.*TMPDIR"):
        encode(tones, tmp_path / "out.h5")
