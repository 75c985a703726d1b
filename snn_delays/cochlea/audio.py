"""Reading a recording, whatever its format, as one channel at the ear's rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float64

from snn_delays.cochlea.filters import SOUND_RATE
from snn_delays.data.features.audio import (
    BadAudioError,
    UnreadableAudioError,
    read_mono,
    require_whole,
)
from snn_delays.errors import UsageError

# SHD's times are float16, whose steps are 16 ms from 16 s on.
LONGEST = 30.0
_REPLACE = "Replace it, or leave it out."


def check_sound(path: Path) -> float:
    """Duration in s, from the header alone.

    Raises:
        UsageError: missing, unreadable, empty or too long.
    """
    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(path, str(error)) from error
    if info.format == "WAV":  # cut within its samples it would pass for a shorter one
        try:
            require_whole(path)
        except BadAudioError as damage:
            raise UsageError(f"{path} {damage}. {_REPLACE}") from damage
    if info.frames <= 0 or info.samplerate <= 0:
        raise UsageError(f"{path} is empty: expected sound, got {info.frames} samples. {_REPLACE}")
    seconds = info.frames / info.samplerate
    if seconds > LONGEST:
        raise UsageError(
            f"{path} is too long: expected at most {LONGEST:g} s, got {seconds:.1f} s "
            f"(at {info.samplerate} Hz). Cut it into words."
        )
    return seconds


def read_sound(path: Path) -> Float64[np.ndarray, " samples"]:
    """Pressure at 48 kHz: channels are averaged, other rates resampled (soxr, HQ).

    Raises:
        UsageError: as :func:`check_sound`; cut short; samples that are NaN or infinite.
    """
    check_sound(path)
    try:
        return read_mono(path, rate=SOUND_RATE, dtype="float64")
    except UnreadableAudioError as refusal:
        raise _unreadable(path, refusal.reason) from refusal
    except BadAudioError as damage:
        raise UsageError(f"{path} {damage}. {_REPLACE}") from damage


def _unreadable(path: Path, reason: str) -> UsageError:
    if not path.exists():
        return UsageError(f"{path} not found: expected a wav or flac file. Correct the path.")
    size = path.stat().st_size
    reason = " ".join(reason.split()).rstrip(".")
    return UsageError(
        f"{path} ({size:,} bytes) cannot be read: expected a whole wav or flac file, "
        f"got: {reason}. {_REPLACE}"
    )
