"""Which recordings make a task of Speech Commands, and what they are called.

Reference:
    Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition" (2018,
    arXiv:1804.03209): ten command words, and what is neither of them: unknown words and silence,
    about as many of each as of a command.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from snn_delays.data.gsc.clips import NOISE, Clip, Part
from snn_delays.errors import UsageError
from snn_delays.sound import BadAudioError, length

Task = Literal["v2_35", "v2_12"]

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN, SILENCE = "unknown", "silence"
# Of unknown words, and of silence, for every ten commands.
_SHARE = 0.1
# Which stretch of every noise file is heard in which part, so that none is heard in two.
_STRETCH: dict[Part, tuple[float, float]] = {
    "train": (0.0, 0.8),
    "valid": (0.8, 0.9),
    "test": (0.9, 1.0),
}


@dataclass(frozen=True)
class Noise:
    """A file of background noise: its length and rate, in samples and samples per second."""

    clip: Clip
    samples: int
    rate: int


@dataclass(frozen=True)
class Chosen:
    """The recordings of a task, those of one folder together, and part and label of each."""

    clips: list[Clip]
    parts: list[Part]
    labels: list[int]
    class_names: tuple[str, ...]


def every_word(found: Mapping[str, Sequence[Clip]], parts: Mapping[str, Part]) -> Chosen:
    """All recordings, one class a word.

    Args:
        found: the recordings of every word.
        parts: of every recording, by its name.
    """
    words = list(found)
    clips = [clip for word in words for clip in found[word]]
    return Chosen(
        clips=clips,
        parts=[parts[clip.name] for clip in clips],
        labels=[words.index(clip.word) for clip in clips],
        class_names=tuple(words),
    )


def ten_commands(
    found: Mapping[str, Sequence[Clip]],
    parts: Mapping[str, Part],
    noise: Sequence[Noise],
    seed: int,
) -> Chosen:
    """The recordings of ten commands, and for every ten of them one unknown word and one silence.

    Unknown words are drawn from all others of the same part; silence is a second of background
    noise as it is, from a stretch of the noise files that no other part draws from.

    Args:
        found, parts: as in :func:`every_word`.
        seed: of both draws.
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
    names = (*COMMANDS, UNKNOWN, SILENCE)
    commands = [clip for word in COMMANDS for clip in found[word]]
    chosen = [(clip, parts[clip.name], names.index(clip.word)) for clip in commands]
    for number, part in enumerate(_STRETCH):
        rng = np.random.default_rng([seed, number])
        wanted = math.ceil(_SHARE * sum(parts[clip.name] == part for clip in commands))
        pool = [clip for clip in others if parts[clip.name] == part]
        drawn = sorted(rng.permutation(len(pool))[:wanted].tolist())
        chosen += [(pool[index], part, names.index(UNKNOWN)) for index in drawn]
        silence = _silence(noise, part, wanted, rng)
        chosen += [(clip, part, names.index(SILENCE)) for clip in silence]
    # Kept features are in files of one folder each.
    chosen.sort(key=lambda row: row[0].word)
    return Chosen(*(list(column) for column in zip(*chosen, strict=True)), class_names=names)


def measure_noise(root: Path, clips: Sequence[Clip]) -> tuple[list[Noise], dict[Clip, str]]:
    """How long each noise file is, and what is wrong with those that will not do."""
    good, bad = [], {}
    for clip in clips:
        try:
            samples, rate = length(root / clip.name)
        except BadAudioError as error:
            bad[clip] = str(error)
            continue
        if min(end - begin for begin, end in _STRETCH.values()) * samples < rate:
            bad[clip] = f"is too short: expected at least 10 s of noise, got {samples / rate:.3g} s"
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
