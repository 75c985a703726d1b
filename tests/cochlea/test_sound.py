"""Reading sound: every format becomes the same pressure, every broken file one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from snn_delays.errors import UsageError
from snn_delays.files.sound import check_sound, read_sound

WriteTone = Callable[..., Path]


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("8-bit.wav", {"subtype": "PCM_U8"}, 2e-2),
        ("16-bit.wav", {"subtype": "PCM_16"}, 1e-4),
        ("24-bit.wav", {"subtype": "PCM_24"}, 1e-6),
        ("float.wav", {"subtype": "FLOAT"}, 1e-6),
        ("tone.flac", {}, 1e-4),
        ("44.1-kHz.wav", {"rate": 44_100}, 1e-2),
        ("16-kHz.wav", {"rate": 16_000}, 1e-2),
        ("8-kHz.wav", {"rate": 8_000}, 1e-2),
    ],
)
def test_formats_and_rates_agree(write_tone: WriteTone, name: str, options: dict, tolerance: float):
    sound = read_sound(write_tone(name, **options))
    assert abs(len(sound) - 4_800) <= 6
    expected = 0.3 * np.sin(2 * np.pi * 440 * np.arange(len(sound)) / 48_000)
    # Resampling rings where the tone is switched on and off.
    inner = slice(600, -600)
    np.testing.assert_allclose(sound[inner], expected[inner], atol=tolerance)


def test_channels_are_averaged(tmp_path: Path):
    stereo = np.random.default_rng(0).uniform(-0.5, 0.5, (1000, 2))
    soundfile.write(tmp_path / "stereo.wav", stereo, 48_000, subtype="FLOAT")
    np.testing.assert_allclose(read_sound(tmp_path / "stereo.wav"), stereo.mean(1), atol=1e-6)


def wrong(path: Path) -> str:
    with pytest.raises(UsageError) as raised:
        read_sound(path)
    (line,) = str(raised.value).splitlines()
    assert str(path) in line
    return line


def test_wrong_files_are_told_apart(write_tone: WriteTone, tmp_path: Path):
    good = write_tone("good.wav", seconds=0.5).read_bytes()

    def broken(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    assert "not found" in wrong(tmp_path / "missing.wav")
    assert "cannot be read" in wrong(tmp_path)
    assert "(0 bytes)" in wrong(broken("zero.wav", b""))
    assert "cannot be read" in wrong(broken("page.wav", b"<html>404</html>" * 20))
    assert "cannot be read" in wrong(broken("header.wav", b"RIFX" + good[4:12] + b"????" * 40))
    assert "is empty" in wrong(write_tone("empty.wav", seconds=0.0))
    assert "too long" in wrong(write_tone("long.wav", seconds=31.0, rate=8_000))
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), 48_000, subtype="FLOAT")
    assert "NaN" in wrong(tmp_path / "nan.wav")


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_cut_file_gives_a_line_or_what_is_left(write_tone: WriteTone, suffix: str):
    whole = write_tone(f"whole{suffix}", seconds=0.2)
    content, samples = whole.read_bytes(), len(read_sound(whole))
    refused = []
    for size in np.linspace(0, len(content) - 1, 40).astype(int):
        path = whole.with_name(f"cut{suffix}")
        path.write_bytes(content[:size])
        try:
            check_sound(path)
            # A wav file has no checksum: libsndfile takes it for as long as it is.
            assert len(read_sound(path)) <= samples
        except UsageError as error:
            refused.append(str(error))
    assert refused
    assert all(len(line.splitlines()) == 1 for line in refused)


def test_a_wav_cut_within_its_samples_is_no_shorter_clip(tmp_path: Path) -> None:
    path = tmp_path / "cut.wav"
    soundfile.write(path, np.zeros(4800), 48_000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="cut.wav is truncated: expected .* bytes, got"):
        check_sound(path)
