"""Reading a recording, whatever its format, as one channel at the ear's rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr
from jaxtyping import Float64

from snn_delays.cochlea.filters import SOUND_RATE
from snn_delays.data.audio import BadAudioError, require_whole
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
        raise _unreadable(path, error) from error
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
        with soundfile.SoundFile(path) as file:
            promised, rate = file.frames, file.samplerate
            samples = file.read(dtype="float64", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(path, error) from error
    if len(samples) < promised:
        raise UsageError(
            f"{path} is cut short: expected {promised} samples, got {len(samples)}. {_REPLACE}"
        )
    sound = samples.mean(axis=1)
    if not np.isfinite(sound).all():
        raise UsageError(f"{path} holds samples that are NaN or infinite. {_REPLACE}")
    if rate == SOUND_RATE:
        return sound
    return soxr.resample(sound, rate, SOUND_RATE, quality="HQ")


def _unreadable(path: Path, error: Exception) -> UsageError:
    if not path.exists():
        return UsageError(f"{path} not found: expected a wav or flac file. Correct the path.")
    size = path.stat().st_size
    reason = " ".join(str(error).split()).rstrip(".")
    return UsageError(
        f"{path} ({size:,} bytes) cannot be read: expected a whole wav or flac file, "
        f"got: {reason}. {_REPLACE}"
    )
