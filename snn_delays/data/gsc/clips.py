"""What lies in a folder of Speech Commands, which of it makes a task, and trains, validates, tests.

A task is every word there is; or ten command words, and what is neither of them: unknown words and
silence, about as many of each as of a command.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from snn_delays.errors import UsageError, refusal
from snn_delays.files.sound import BadAudioError, length
from snn_delays.files.speech_lists import LISTS, Part, listed_parts

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
Task = Literal["v2_35", "v2_12"]

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
# Of unknown words, and of silence, for every ten commands.
_SHARE = 0.1
# Which stretch of every noise file is heard in which part, so that none is heard in two.
_STRETCH: dict[Part, tuple[float, float]] = {
    "train": (0, 0.8),
    "valid": (0.8, 0.9),
    "test": (0.9, 1),
}
# The rule's own constant: it decides in which set a file is, and must not change.
_MANY = 2**27 - 1

_log = logging.getLogger("snn_delays")


@dataclass(frozen=True)
class Clip:
    """A second of sound from sample ``start`` on, of the file ``name`` in the root, with ``/``.

    ``size`` and ``modified_ns`` of the file are there so that a change is noticed.
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

    def is_as_listed(self, root: Path) -> bool:
        """Whether the file has not changed since."""
        try:
            now = (root / self.name).stat()
        except OSError:
            return False
        return (now.st_size, now.st_mtime_ns) == (self.size, self.modified_ns)


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


def _clips(root: Path, folder: str) -> list[Clip]:
    # scandir, since a hundred thousand files are looked at on every start.
    with os.scandir(root / folder) as entries:
        wavs = sorted(
            (entry.name, entry.stat())
            for entry in entries
            if entry.name.lower().endswith(".wav") and not entry.name.startswith(".")
        )
    return [Clip(f"{folder}/{name}", at.st_size, at.st_mtime_ns) for name, at in wavs]


def official_parts(root: Path, names: Sequence[str]) -> tuple[dict[str, Part], str]:
    """The part that every recording belongs to, and how it was told: "official" or "hash".

    Told by the two lists in ``root``: what neither names is for training. Where a list is missing,
    by the rule that the lists were made with; the log says so.
    """
    missing = [name for name in LISTS.values() if not (root / name).is_file()]
    if missing:
        _log.info(
            f"GSC: no {' and no '.join(missing)} in {root}: recordings are split by the hash of "
            "their names, the rule that the official lists were made with."
        )
        return {name: hashed_part(name) for name in names}, "hash"
    listed = listed_parts(root, "Restore it from the data set's archive.")
    return {name: listed.get(name, "train") for name in names}, "official"


def hashed_part(name: str) -> Part:
    """The part of a recording by the official rule, which keeps a speaker in one part.

        h = SHA1(file name without ``_nohash_…``) mod 2²⁷,  p = 100 h / (2²⁷ − 1)

    p < 10 validates, p < 20 tests.
    """
    speaker = re.sub(r"_nohash_.*$", "", name.rpartition("/")[2])
    hashed = int(hashlib.sha1(speaker.encode(), usedforsecurity=False).hexdigest(), 16)
    percent = hashed % (_MANY + 1) * (100 / _MANY)
    return "valid" if percent < 10 else "test" if percent < 20 else "train"


@dataclass(frozen=True)
class Noise:
    """A file of background noise: its length and rate, in samples and samples per second."""

    clip: Clip
    samples: int
    rate: int


@dataclass(frozen=True)
class Chosen:
    """The recordings of a task, those of one folder together, and part and label of each."""

    clips: Sequence[Clip]
    parts: Sequence[Part]
    labels: Sequence[int]
    class_names: tuple[str, ...]


def every_word(found: Mapping[str, Sequence[Clip]], parts: Mapping[str, Part]) -> Chosen:
    """All recordings, one class a word; ``found`` of every word, ``parts`` by recordings' names."""
    words = list(found)
    clips = [clip for word in words for clip in found[word]]
    labels = [words.index(clip.word) for clip in clips]
    return Chosen(clips, [parts[clip.name] for clip in clips], labels, tuple(words))


def ten_commands(
    found: Mapping[str, Sequence[Clip]],
    parts: Mapping[str, Part],
    noise: Sequence[Noise],
    seed: int,
) -> Chosen:
    """The recordings of ten commands, and for every ten of them one unknown word and one silence.

    Unknown words are drawn from all others of the same part; silence is a second of background
    noise as it is, from a stretch of the noise files that no other part draws from.
    """
    absent = [word for word in COMMANDS if word not in found]
    others = [clip for word in found if word not in COMMANDS for clip in found[word]]
    if absent or not others:
        raise UsageError(
            "GSC: task=v2_12 needs the ten commands and other words: missing "
            f"{', '.join(absent) or 'any other word'}. Use task=v2_35 for the words that are here."
        )
    if not noise:
        raise UsageError(
            f"GSC: task=v2_12 draws silence from wav files in {NOISE}: expected at least 1, got 0. "
            "Unpack the whole archive, or use task=v2_35."
        )
    names = (*COMMANDS, "unknown", "silence")
    commands = [clip for word in COMMANDS for clip in found[word]]
    chosen = [(clip, parts[clip.name], names.index(clip.word)) for clip in commands]
    for number, part in enumerate(_STRETCH):
        rng = np.random.default_rng([seed, number])
        wanted = math.ceil(_SHARE * sum(parts[clip.name] == part for clip in commands))
        pool = [clip for clip in others if parts[clip.name] == part]
        drawn = sorted(rng.permutation(len(pool))[:wanted].tolist())
        chosen += [(pool[index], part, names.index("unknown")) for index in drawn]
        silence = _silence(noise, part, wanted, rng)
        chosen += [(clip, part, names.index("silence")) for clip in silence]
    # Kept features are in files of one folder each.
    chosen.sort(key=lambda row: row[0].word)
    clips, own_parts, labels = zip(*chosen, strict=True)
    return Chosen(clips, own_parts, labels, names)


def measure_noise(root: Path) -> tuple[list[Noise], dict[str, str]]:
    """How long each noise file is, and what is wrong with those that will not do."""
    good, bad = [], {}
    for clip in _clips(root, NOISE) if (root / NOISE).is_dir() else []:
        try:
            samples, rate = length(root / clip.name)
        except BadAudioError as error:
            bad[clip.name] = str(error)
            continue
        if min(end - begin for begin, end in _STRETCH.values()) * samples < rate:
            got = f"{samples / rate:.3g} s"
            bad[clip.name] = f"is too short: expected at least 10 s of noise, got {got}"
        else:
            good.append(Noise(clip, samples, rate))
    return good, bad


def _silence(
    noise: Sequence[Noise], part: Part, number: int, rng: np.random.Generator
) -> list[Clip]:
    """Seconds drawn from the stretches of a part, file after file."""
    begin, end = _STRETCH[part]
    drawn = []
    for file in (noise[index] for index in np.sort(rng.integers(len(noise), size=number))):
        first, last = math.ceil(begin * file.samples), math.floor(end * file.samples) - file.rate
        start = int(rng.integers(first, max(first, last), endpoint=True))
        drawn.append(replace(file.clip, start=start))
    return drawn
