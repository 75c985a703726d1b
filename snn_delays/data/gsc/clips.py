"""What lies in a folder of Speech Commands, and which of it trains, validates and tests.

Reference:
    Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition" (2018,
    arXiv:1804.03209), and the README of the data set.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from snn_delays.errors import UsageError, one_line, refusal

URL = "http://download.tensorflow.org/data"
ARCHIVE = "speech_commands_v0.02.tar.gz"
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
Part = Literal["train", "valid", "test"]
LISTS: dict[Part, str] = {"valid": "validation_list.txt", "test": "testing_list.txt"}
# The rule's own constant: it decides in which set a file is, and must not change.
_MANY = 2**27 - 1

_log = logging.getLogger("snn_delays")


@dataclass(frozen=True)
class Clip:
    """A second of sound, and which file it is in.

    Args:
        name: path of the file within the root, with ``/``.
        size, modified_ns: of the file, so that a change is noticed.
        start: where the second begins, in samples of the file.
    """

    name: str
    size: int
    modified_ns: int
    start: int = 0

    @property
    def word(self) -> str:
        """The folder that the file is in."""
        return self.name.partition("/")[0]

    @property
    def speaker(self) -> int:
        """The speaker's number, which file names give in hexadecimal; -1 where they do not."""
        told, mark, _ = self.name.rpartition("/")[2].partition("_nohash_")
        try:
            return int(told, 16) if mark and len(told) <= 15 else -1
        except ValueError:
            return -1


def find_clips(root: Path) -> dict[str, list[Clip]]:
    """The recordings of every word there is, words and recordings in alphabetical order."""
    how_to_get = f"Download {URL}/{ARCHIVE} and unpack it into {root} (see datasets/README.md)."
    try:
        folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
        words = [word for word in folders if not word.startswith(("_", "."))]
        found = {word: clips for word in words if (clips := _clips(root, word))}
    except OSError as error:
        raise UsageError(
            f"GSC: {root} cannot be read: expected a folder of words, got {refusal(error)}. "
            f"{how_to_get}"
        ) from error
    if not found:
        raise UsageError(
            f"GSC: {root} has no recordings: expected wav files in one folder per word, such as "
            f"yes/0a7c2a8d_nohash_0.wav. {how_to_get}"
        )
    if strange := sorted(set(found) - WORDS):
        _log.info(f"GSC: not words of version 0.02, but taken as classes: {', '.join(strange)}.")
    if (known := len(WORDS & set(found))) < len(WORDS):
        _log.info(f"GSC: {known} of the {len(WORDS)} words of version 0.02 are here.")
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


def official_parts(root: Path, names: Sequence[str]) -> tuple[list[Part], str]:
    """The part that every recording belongs to, and how it was told: "official" or "hash".

    Told by the two lists in ``root``: what neither names is for training. Where a list is missing,
    by the rule that the lists were made with; the log says so.

    Args:
        names: of the recordings, such as ``bed/0a7c2a8d_nohash_0.wav``.

    Raises:
        UsageError: a list that cannot be read, or a recording in both.
    """
    missing = [name for name in LISTS.values() if not (root / name).is_file()]
    if missing:
        _log.info(
            f"GSC: no {' and no '.join(missing)} in {root}: recordings are split by the hash of "
            "their names, the rule that the official lists were made with."
        )
        return [hashed_part(name) for name in names], "hash"
    listed: dict[str, Part] = {}
    for part, file in LISTS.items():
        for name in _read_list(root / file):
            if listed.setdefault(name, part) != part:
                raise UsageError(
                    f"GSC: {name} is in both {' and '.join(LISTS.values())} of {root}: expected it "
                    "in one. Restore the official lists."
                )
    return [listed.get(name, "train") for name in names], "official"


def hashed_part(name: str, *, valid_percent: float = 10, test_percent: float = 10) -> Part:
    """The part of a recording by the official rule, which keeps a speaker in one part.

        h = SHA1(file name without ``_nohash_…``) mod 2²⁷,  p = 100 h / (2²⁷ − 1)

    p < 10 validates, p < 20 tests.
    """
    speaker = re.sub(r"_nohash_.*$", "", name.rpartition("/")[2])
    hashed = int(hashlib.sha1(speaker.encode(), usedforsecurity=False).hexdigest(), 16)
    percent = hashed % (_MANY + 1) * (100 / _MANY)
    if percent < valid_percent:
        return "valid"
    return "test" if percent < valid_percent + test_percent else "train"


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"GSC: {path} cannot be read as a list of recordings: {one_line(error)}. "
            "Restore it from the data set's archive."
        ) from error
    return [line.strip().replace("\\", "/").removeprefix("./") for line in lines if line.strip()]
