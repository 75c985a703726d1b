"""Small recordings of tones, and where real ones lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

WriteTone = Callable[..., Path]


@pytest.fixture
def write_tone(tmp_path: Path) -> WriteTone:
    """Writes a tone of some Hz for some seconds under a name; the suffix decides the format."""

    def write(
        name: str, hertz: float = 440.0, seconds: float = 0.1, rate: int = 48_000, **options: Any
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sound = 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
        soundfile.write(path, sound, rate, **options)
        return path

    return write


@pytest.fixture
def tones(write_tone: WriteTone, tmp_path: Path) -> Path:
    """Two classes, two clips each, one of them flac; noise and hidden files to leave out."""
    for index, name in enumerate(
        ("low/a_1.wav", "low/b_1.flac", "high/a_1.wav", "high/deeper/b_2.WAV")
    ):
        write_tone(f"audio/{name}", 150.0 * 8 ** ("high" in name) + index)
    write_tone("audio/_background_noise_/hum.wav")
    write_tone("audio/low/.hidden.wav")
    (tmp_path / "audio/README.md").write_text("not a sound")
    return tmp_path / "audio"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings, where they lie beside the checkout."""
    root = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not (root / "fsdd_shd").is_dir() or not (root / "gsc_mini").is_dir():
        pytest.skip(f"no recordings in {root}")
    return root
