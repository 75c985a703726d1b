"""What lies in a folder of Speech Commands: one folder of wav files for every word."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from snn_delays.data.features.clip import Clip
from snn_delays.errors import UsageError

URL = "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
NOISE = "_background_noise_"
# The words of version 0.02.
# fmt: off
WORDS = frozenset((
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward",
    "four", "go", "happy", "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one",
    "right", "seven", "sheila", "six", "stop", "three", "tree", "two", "up", "visual", "wow",
    "yes", "zero",
))
# fmt: on

_log = logging.getLogger("snn_delays")


def find_clips(root: Path) -> dict[str, list[Clip]]:
    """The recordings of every word there is, words and recordings in alphabetical order.

    Raises:
        UsageError: no such folder, or no recordings in it.
    """
    how_to_get = f"Download {URL} and unpack it into {root} (see datasets/README.md)."
    try:
        folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
        found = {
            word: clips
            for word in folders
            if not word.startswith(("_", ".")) and (clips := _clips(root, word))
        }
    except OSError as error:
        raise UsageError(
            f"GSC: {root} cannot be read: expected a folder of words, got "
            f"{error.strerror or error}. {how_to_get}"
        ) from error
    if not found:
        raise UsageError(
            f"GSC: {root} has no recordings: expected wav files in one folder per word, such as "
            f"yes/0a7c2a8d_nohash_0.wav. {how_to_get}"
        )
    if strange := sorted(set(found) - WORDS):
        _log.info("GSC: not words of version 0.02, but taken as classes: %s.", ", ".join(strange))
    if absent := len(WORDS - set(found)):
        _log.info(
            "GSC: %d of the %d words of version 0.02 are here.", len(WORDS) - absent, len(WORDS)
        )
    return found


def noise_clips(root: Path) -> list[Clip]:
    """The files of background noise; none where there is no such folder."""
    return _clips(root, NOISE) if (root / NOISE).is_dir() else []


def _clips(root: Path, folder: str) -> list[Clip]:
    # scandir, since a hundred thousand files are looked at on every start.
    with os.scandir(root / folder) as entries:
        wavs = sorted(
            (entry.name, entry.stat())
            for entry in entries
            if entry.name.lower().endswith(".wav") and not entry.name.startswith(".")
        )
    return [Clip(f"{folder}/{name}", at.st_size, at.st_mtime_ns) for name, at in wavs]
