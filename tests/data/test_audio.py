"""Wav files of every kind come out as one second of mono, and broken ones as one line."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from drawn_speech import tone, write_wav

from snn_delays.files.sound import BadAudioError, length, read_audio


def read(path: Path, rate: int = 16_000, start: int = 0) -> np.ndarray:
    return read_audio(path, rate, rate, start=start)


@pytest.mark.parametrize(
    ("subtype", "error"),
    [("PCM_U8", 1 / 120), ("PCM_16", 1e-4), ("PCM_24", 1e-6), ("PCM_32", 1e-6), ("FLOAT", 1e-6)],
)
def test_every_depth_is_the_same_sound(tmp_path: Path, subtype: str, error: float) -> None:
    sound = tone(440)
    got = read(write_wav(tmp_path / "a.wav", sound, subtype=subtype))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, sound, atol=error)


def test_stereo_is_averaged(tmp_path: Path) -> None:
    left, right = tone(300), tone(800, seed=1)
    got = read(write_wav(tmp_path / "a.wav", np.stack([left, right], axis=1)))
    np.testing.assert_allclose(got, (left + right) / 2, atol=1e-4)


@pytest.mark.parametrize("own_rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled(tmp_path: Path, own_rate: int) -> None:
    quiet = {"seed": 2, "seconds": 1.0}
    got = read(write_wav(tmp_path / "a.wav", tone(700, rate=own_rate, **quiet), own_rate))
    clean = tone(700, **quiet)
    assert len(got) == 16_000
    # But for the noise, which differs, it is the same tone in the same place.
    inside = slice(500, -500)
    assert np.abs(got[inside] - clean[inside]).max() < 0.03
    assert np.corrcoef(got[inside], clean[inside])[0, 1] > 0.999


def test_what_is_above_nyquist_does_not_come_back_as_something_else(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(11_000, rate=44_100), 44_100)
    assert np.abs(read(path)[500:-500]).max() < 0.02


def test_short_ones_are_filled_up_and_long_ones_cut(tmp_path: Path) -> None:
    sound = tone(440, seconds=1.5)
    short = read(write_wav(tmp_path / "a.wav", sound[:12_000]))
    np.testing.assert_allclose(short[:12_000], sound[:12_000], atol=1e-4)
    assert len(short) == 16_000
    assert not short[12_000:].any()
    long = read(write_wav(tmp_path / "b.wav", sound))
    np.testing.assert_allclose(long, sound[:16_000], atol=1e-4)
    later = read(tmp_path / "b.wav", start=8_000)
    np.testing.assert_allclose(later, sound[8_000:], atol=1e-4)
    assert length(tmp_path / "b.wav") == (24_000, 16_000)


def whole(tmp_path: Path) -> bytes:
    return write_wav(tmp_path / "whole.wav", tone(440)).read_bytes()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("missing", "cannot be read: No such file or directory"),
        ("folder", "cannot be read: Is a directory"),
        ("no bytes", "is empty: expected a wav file, got 0 bytes"),
        ("no samples", "has no samples: expected about a second of sound"),
        ("truncated", "is truncated: expected 32044 bytes, got 9000"),
        ("html", "is not audio: expected a wav file, got one that starts with b'<!DOCTYPE ht'"),
        ("text", "is not audio"),
        ("corrupt header", "cannot be read as audio"),
        ("header alone", "is truncated"),
        ("nan", "holds samples that are NaN or infinite"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, how: str, expected: str) -> None:
    path, content = tmp_path / "bad.wav", whole(tmp_path)
    if how == "folder":
        path.mkdir()
    elif how == "no samples":
        write_wav(path, np.zeros(0))
    elif how == "nan":
        write_wav(path, np.full(100, np.nan), subtype="FLOAT")
    elif how != "missing":
        path.write_bytes(
            {
                "no bytes": b"",
                "truncated": content[:9000],
                "html": b"<!DOCTYPE html><title>404</title>",
                "text": b"hello",
                "corrupt header": content[:12] + b"\xff" * 32 + content[44:],
                "header alone": content[:30],
            }[how]
        )
    for use in (read, length):
        if use is length and how in ("no samples", "nan"):
            continue
        with pytest.raises(BadAudioError) as caught:
            use(path)
        assert "\n" not in str(caught.value)
        assert expected in str(caught.value)


def test_a_size_that_the_writer_did_not_know_is_no_damage(tmp_path: Path) -> None:
    content = whole(tmp_path)
    for size in (0, 0xFFFFFFFF):
        path = tmp_path / "streamed.wav"
        path.write_bytes(content[:4] + struct.pack("<I", size) + content[8:])
        np.testing.assert_allclose(read(path), tone(440), atol=1e-4)


def test_no_damage_to_a_header_ends_otherwise(tmp_path: Path) -> None:
    content, path = whole(tmp_path), tmp_path / "bad.wav"
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        broken = bytearray(content)
        for place in rng.integers(0, 60, size=3):
            broken[place] = rng.integers(256)
        path.write_bytes(broken[: rng.integers(1, len(broken))])
        try:
            assert read(path).shape == (16_000,)
        except BadAudioError:
            refused += 1
    assert refused > 100
