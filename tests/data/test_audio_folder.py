"""Folders and lists of sounds: what is read, as which features, and for which part."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from drawn_speech import tone, write_speech, write_wav

from snn_delays.data import SpikeData
from snn_delays.data.audio import load_audio_folder
from snn_delays.errors import UsageError
from snn_delays.tasks import MultiLabel, SingleLabel

# Half of the published rate, window and hop.
SMALL: dict[str, Any] = {
    **{"seconds": 0.5, "rate": 16_000, "n_fft": 512, "hop": 160, "n_mels": 64, "fmax": 8000.0},
    **{"valid_fraction": 0.2, "test_fraction": 0.2},
}


def loaded(root: Path, **settings: Any) -> SpikeData:
    return load_audio_folder(root, **{**SMALL, **settings})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of ten sounds of a second, and noise that is none."""
    return write_speech(
        tmp_path, ("high", "low"), train=10, valid=0, test=0, lists=False, noise_seconds=0.1
    )


@pytest.fixture
def listing(root: Path) -> Path:
    kinds = ('"b,a c"', "b")
    rows = [f"high/{0xA0 + n:08x}_nohash_0.wav,{kinds[n % 2]}" for n in range(10)]
    rows.append("low/000000a0_nohash_1.wav,")
    path = root / "list.csv"
    path.write_text("\n".join(["file,labels", *rows]) + "\n")
    return path


def test_features_are_librosas(root: Path) -> None:
    published = {"rate": 32_000, "n_fft": 1024, "hop": 320, "n_mels": 128, "fmin": 50.0}
    sound = tone(440.0, rate=32_000, seed=7).astype(np.float32)
    for number in range(6):
        write_wav(root / "loud" / f"{number}.wav", sound, 32_000, subtype="FLOAT")
    data = loaded(root, **published, seconds=1.0, fmax=14_000.0)
    assert data.frame == (1, 101, 128)
    place = int((data.test.labels == data.class_names.index("loud")).nonzero()[0])
    found = data.test[place][0][0, 0]
    lengths: Any = {"n_fft": 1024, "hop_length": 320, "win_length": 1024, "pad_mode": "constant"}
    energy = librosa.feature.melspectrogram(
        y=sound, sr=32_000, **lengths, n_mels=128, fmin=50.0, fmax=14_000.0, norm=None
    )
    expected = np.log(np.maximum(energy.T, 1e-6))
    split: Any = data.test
    np.testing.assert_allclose(found * split.std + split.mean, expected, atol=0.01)
    assert np.ptp(expected) > 10


def test_shares_of_every_class_are_held_out(root: Path) -> None:
    data, again, other = loaded(root), loaded(root), loaded(root, seed=1)
    assert data.class_names == ("high", "low")
    assert (data.split, data.frame, data.dt_ms) == ("stratified", (1, 51, 64), 500.0)
    parts = (data.train, data.valid, data.test)
    assert [one.labels.bincount().tolist() for one in parts] == [[6, 6], [2, 2], [2, 2]]
    assert isinstance(data.task, SingleLabel)
    # Sounds differ by their noise, so that none can be in two parts unseen.
    every = torch.cat([one.sparse(range(len(one))).dense().spikes[0] for one in parts])
    assert len(every.flatten(1).unique(dim=0)) == 20
    train, same, drawn = (
        one.train.sparse(range(12)).dense().spikes for one in (data, again, other)
    )
    assert torch.equal(train, same)
    assert not torch.equal(train, drawn)
    assert train.mean().abs() < 1e-4
    assert (train.std(correction=0) - 1).abs() < 1e-4


def test_official_lists_are_followed(tmp_path: Path) -> None:
    root = write_speech(tmp_path, train=3, valid=1, test=2)
    data = loaded(root)
    assert [len(one) for one in (data.train, data.valid, data.test)] == [9, 3, 6]
    assert data.split == "official"
    (root / "testing_list.txt").unlink()
    with pytest.raises(UsageError, match=r"or neither, got validation_list.txt alone"):
        loaded(root)


def test_sounds_of_several_classes(root: Path, listing: Path) -> None:
    data = loaded(root, listing=listing)
    assert data.class_names == ("a c", "b")
    assert isinstance(data.task, MultiLabel)
    labels = torch.cat([one.labels for one in (data.train, data.valid, data.test)])
    assert sorted(map(tuple, labels.tolist())) == [(0, 0)] + [(0, 1)] * 5 + [(1, 1)] * 5
    text = listing.read_text().splitlines()
    parts = ["split", *["train"] * 6, "test", "valid", "train", "test", "valid"]
    told = [f"{row},{part}" for row, part in zip(text, parts, strict=True)]
    listing.write_text("\n".join(told))
    data = loaded(root, listing=listing)
    assert [len(one) for one in (data.train, data.valid, data.test)] == [7, 2, 2]
    assert data.split == "official"
    assert data.test.labels.tolist() == [[1, 1], [0, 1]]
    assert data.valid.labels.tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must begin with the line file,labels or file,labels,split, got ''"),
        ("low/a.wav,b", "must begin with the line file,labels"),
        ("file,labels\nlow/a.wav,b,c", "row 2: expected 2 columns, got 3. Names of several"),
        ("file,labels\n\nlow/a.wav", "row 3: expected 2 columns, got 1"),
        ('file,labels\nlow/a.wav,"b,,c"', "row 2: labels must be distinct names, got 'b,,c'"),
        ('file,labels\nlow/a.wav,"b,b"', "row 2: labels must be distinct names, got 'b,b'"),
        ("file,labels,split\nlow/a.wav,b,dev", "must be train, valid or test, got 'dev'"),
        ("file,labels\nlow/a.wav,b\nlow/a.wav,b", "must list a file once, got low/a.wav"),
        ("file,labels\nlow/a.wav,", "must list sounds with labels, got 1 without"),
        ("file,labels,split\nlow/a.wav,b,train", "got 1 for train, 0 for valid, 0 for test"),
    ],
)
def test_a_bad_list_is_refused_in_a_line(root: Path, text: str, expected: str) -> None:
    path = root / "bad.csv"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        loaded(root, listing=path)
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_missing_or_no_sound_is_refused_in_a_line(root: Path, listing: Path) -> None:
    with pytest.raises(UsageError, match="other not found: expected a folder of class folders"):
        loaded(root / "other")
    with pytest.raises(UsageError, match=r"of at least 2 classes, got 0"):
        loaded(root / "low")
    with pytest.raises(UsageError, match=r"none.csv cannot be read as a CSV file"):
        loaded(root, listing=root / "none.csv")
    first = root / "high" / "000000a0_nohash_0.wav"
    for content, expected in ((None, "cannot be read"), (b"", "is empty"), (b"ID3", "no|not")):
        first.unlink(missing_ok=True)
        if content is not None:
            first.write_bytes(content)
        with pytest.raises(UsageError, match=f"{first.name} .*{expected}") as refused:
            loaded(root, listing=listing)
        assert "\n" not in str(refused.value)
    for settings, expected in (
        ({"fmax": 9000.0}, r"fmax must be a number of Hz > 50 and <= 8000, got 9000"),
        ({"seconds": 0.01}, r"seconds must be"),
        ({"hop": 513}, r"hop must be"),
        ({"test_fraction": 0.9}, r"must be < 1, got 0.2 \+ 0.9"),
    ):
        with pytest.raises(UsageError, match=expected):
            loaded(root, **settings)


def test_long_sounds_are_cut_and_short_ones_filled_up(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sound = tone(300.0)
    write_wav(root / "long" / "short.wav", sound[:4000])
    write_wav(root / "long" / "exact.wav", sound[:8000])
    write_wav(root / "long" / "whole.wav", sound)
    path = root / "parts.csv"
    parts = {"exact": "train", "whole": "valid", "short": "test"}
    rows = [f"long/{name}.wav,x,{part}" for name, part in parts.items()]
    path.write_text("\n".join(["file,labels,split", *rows]))
    with caplog.at_level(logging.INFO, logger="snn_delays"):
        data = loaded(root, listing=path)
    assert "features of 3 sounds of 0.5 s: 1 longer ones cut, 1 shorter ones filled" in caplog.text
    exact, whole, short = (one[0][0][0, 0] for one in (data.train, data.valid, data.test))
    assert torch.equal(exact, whole)
    split: Any = data.test
    silent = short * split.std + split.mean
    assert torch.equal(exact[:23], short[:23])  # windows that end before 0.25 s
    torch.testing.assert_close(silent[28:], torch.full((23, 64), np.log(1e-6)), atol=0.01, rtol=0)


def test_bands_above_what_the_files_hold_are_told(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded(root)
    assert "NOTHING" not in caplog.text
    loaded(root, rate=32_000, n_fft=1024, fmax=14_000.0)
    assert "20 of 20 files have a rate of their own too low for bands up to 14000 Hz" in caplog.text
    assert "NOTHING above half of it, 8000 Hz at the least" in caplog.text
    loaded(root, n_mels=256)
    assert "mel bands are EMPTY" in caplog.text
