"""The features of some hundred recordings: computed, written to one file, and read back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, Float64

from snn_delays.data.features.audio import BadAudioError, read_audio
from snn_delays.data.features.clip import Clip
from snn_delays.data.features.log_mel import LogMel
from snn_delays.data.files.array_file import DamagedError, map_arrays, write_arrays

# Part of every key: raise it when the same recordings and settings come to mean other features.
_VERSION = 1
# Recordings whose sound is held at once.
_BATCH = 64


@dataclass(frozen=True)
class FeaturePart:
    """Features of some recordings, and what normalising them takes.

    Shape:
        ``features`` ``[n, T, bands]``; ``sums``, ``squares`` ``[n, bands]``: Σ_t feature and
        Σ_t feature². ``bad`` says what is wrong with the file of a row, which is all 0 then.
    """

    features: Float16[np.ndarray, "n T bands"]
    sums: Float64[np.ndarray, "n bands"]
    squares: Float64[np.ndarray, "n bands"]
    bad: dict[int, str]


@dataclass(frozen=True)
class PartKey:
    """Which recordings and which settings: what a file of features is named after.

    A recording is known by its file's path within the root, size and time of its last change.
    """

    clips: tuple[Clip, ...]
    front_end: LogMel

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The same in JSON's types."""
        listed = json.dumps(
            [[clip.name, clip.size, clip.modified_ns, clip.start] for clip in self.clips]
        )
        return {
            "version": _VERSION,
            "front_end": asdict(self.front_end),
            "clips_sha256": hashlib.sha256(listed.encode()).hexdigest(),
            "n_clips": len(self.clips),
        }

    @cached_property
    def file_name(self) -> str:
        """Another one for other content or settings."""
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()
        return f"{self.clips[0].word}-{digest[:24]}.features"


def compute_part(root: Path, key: PartKey) -> FeaturePart:
    """Read the recordings and compute their features; what is wrong with a file is noted."""
    front_end, rate = key.front_end, key.front_end.rate
    shape = (len(key.clips), front_end.steps(rate), front_end.n_mels)
    features = np.zeros(shape, np.float16)
    bad: dict[int, str] = {}
    for first in range(0, len(key.clips), _BATCH):
        rows, sounds = [], []
        for row, clip in enumerate(key.clips[first : first + _BATCH], start=first):
            try:
                sounds.append(
                    read_audio(root / clip.name, rate=rate, samples=rate, start=clip.start)
                )
                rows.append(row)
            except BadAudioError as error:
                bad[row] = str(error)
        if rows:
            features[rows] = front_end(np.stack(sounds))
    # Of the rounded numbers, which are what is normalised.
    exact = features.astype(np.float32)
    sums = exact.sum(axis=1, dtype=np.float64)
    squares = np.square(exact).sum(axis=1, dtype=np.float64)
    return FeaturePart(features, sums, squares, bad)


def write_part(path: Path, key: PartKey, part: FeaturePart) -> None:
    """Write a file that :func:`read_part` reads, all of it or nothing.

    Raises:
        UsageError: the file system refuses.
    """
    about = {
        "settings": key.settings,
        "shape": part.features.shape,
        "bad": {str(row): reason for row, reason in part.bad.items()},
    }
    arrays = {name: getattr(part, name).ravel() for name in ("features", "sums", "squares")}
    write_arrays(path, about, arrays)


def read_part(path: Path, key: PartKey) -> FeaturePart:
    """What was written there for this very key; features are mapped, and read when touched.

    Raises:
        FileNotFoundError: nothing was.
        DamagedError: something else is there, or what is left of it.
    """
    about, arrays = map_arrays(path)
    try:
        if about["settings"] != key.settings:
            raise DamagedError("belongs to other recordings or to other settings")
        n, steps, bands = about["shape"]
        return FeaturePart(
            features=arrays["features"].reshape(n, steps, bands),
            sums=arrays["sums"].reshape(n, bands),
            squares=arrays["squares"].reshape(n, bands),
            bad={int(row): str(reason) for row, reason in about["bad"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError("lacks a part") from error
