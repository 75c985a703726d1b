"""Small folders in the layout of Speech Commands: every word a tone of its own, in noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 16_000
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")


def tone(hertz: float, *, rate: int = RATE, seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    """A tone that swells in the middle, and a little noise."""
    time = np.arange(round(rate * seconds)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return 0.3 * np.sin(2 * np.pi * hertz * time) * np.sin(np.pi * time) ** 2 + 0.002 * noise


def write_wav(path: Path, sound: np.ndarray, rate: int = RATE, **settings: Any) -> Path:
    """16 bits unless ``subtype`` says otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate, **{"subtype": "PCM_16", **settings})
    return path


def write_speech(
    root: Path,
    words: Sequence[str] = ("yes", "no", "bed"),
    *,
    train: int = 4,
    valid: int = 2,
    test: int = 2,
    noise_seconds: float = 0,
    lists: bool = True,
) -> Path:
    """A folder with so many recordings of every word, the first of them for training."""
    named: dict[str, list[str]] = {"validation": [], "testing": []}
    for number, word in enumerate(words):
        hertz = 200 * 1.35**number
        for index in range(train + valid + test):
            name = f"{word}/{0xA0 + index:08x}_nohash_{number % 2}.wav"
            write_wav(root / name, tone(hertz, seed=100 * number + index))
            if index >= train:
                named["validation" if index < train + valid else "testing"].append(name)
    if lists:
        for which, names in named.items():
            (root / f"{which}_list.txt").write_text("\n".join(names) + "\n")
    if noise_seconds:
        rng = np.random.default_rng(9)
        for name in ("rain", "tap"):
            sound = 0.1 * rng.standard_normal(round(RATE * noise_seconds))
            write_wav(root / "_background_noise_" / f"{name}.wav", sound)
    return root
