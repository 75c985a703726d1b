"""Sound from a file: whatever its rate, depth and channels, one channel at the rate asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr
from jaxtyping import Float, Float32, Float64

from snn_delays.errors import UsageError, one_line, refusal

# s; SHD's times are float16, whose steps are 16 ms from 16 s on.
LONGEST = 30.0
# Writers that did not know how long a recording would become leave one of these as its size.
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)
# What soundfile raises, depending on which byte of a file is damaged.
_DAMAGE = (OSError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError)


class BadAudioError(Exception):
    """A file that holds no sound one could use; the message reads on after the path."""


class UnreadableAudioError(BadAudioError):
    """What libsndfile refuses."""

    def __init__(self, path: Path, error: Exception) -> None:
        why = one_line(error).removeprefix(f"Error opening {str(path)!r}: ").rstrip(".")
        super().__init__(f"cannot be read as audio: {why}")


def read_audio(
    path: Path, rate: int, samples: int, *, start: int = 0
) -> Float32[np.ndarray, " samples"]:
    """Read a stretch of sound as mono at ``rate``, cut or filled up with silence to ``samples``.

    Args:
        start: where to begin, in samples of the file.
    """
    _require_whole(path)
    mono = _read_mono(path, rate, "float32", start, samples)[:samples]
    return np.pad(mono, (0, samples - len(mono)))


def read_sound(path: Path, rate: int = 48_000) -> Float64[np.ndarray, " samples"]:
    """Pressure at ``rate``: channels are averaged, other rates resampled (soxr, HQ)."""
    check_sound(path)
    try:
        return _read_mono(path, rate, "float64")
    except BadAudioError as damage:
        raise _refused(path, damage) from damage


def check_sound(path: Path) -> float:
    """Duration in s, from the header alone."""
    try:
        info = _info(path)
        if info.format == "WAV":  # cut within its samples it would pass for a shorter one
            _require_whole(path)
    except BadAudioError as damage:
        raise _refused(path, damage) from damage
    if info.frames <= 0 or info.samplerate <= 0:
        raise _refused(path, f"is empty: expected sound, got {info.frames} samples")
    seconds = info.frames / info.samplerate
    if seconds > LONGEST:
        raise UsageError(
            f"{path} is too long: expected at most {LONGEST:g} s, got {seconds:.1f} s "
            f"(at {info.samplerate} Hz). Cut it into words."
        )
    return seconds


def length(path: Path) -> tuple[int, int]:
    """Number of samples in a file, and how many there are per second."""
    _require_whole(path)
    info = _info(path)
    return info.frames, info.samplerate


def _read_mono(
    path: Path,
    rate: int,
    dtype: Literal["float32", "float64"],
    start: int = 0,
    samples: int | None = None,
) -> Float[np.ndarray, " samples"]:
    """At least ``samples`` of the result, fewer where the file ends; None: all that it promises.

    Depths from 8 to 32 bits and floats all become −1 … 1. Another rate than the file's is reached
    with the band-limited resampler that librosa uses too, soxr.
    """
    try:
        with soundfile.SoundFile(path) as file:
            promised, own_rate = file.frames, file.samplerate
            if samples is None:
                wanted = -1
            else:
                wanted = samples if own_rate == rate else -(-samples * own_rate // rate) + 1
            if start:
                file.seek(min(start, file.frames))
            sound = file.read(wanted, dtype=dtype, always_2d=True)
    except _DAMAGE as error:
        raise UnreadableAudioError(path, error) from error
    if samples is None and len(sound) < promised - start:
        raise BadAudioError(f"is cut short: expected {promised - start} samples, got {len(sound)}")
    if not len(sound):
        raise BadAudioError("has no samples: expected about a second of sound")
    mono = sound[:, 0] if sound.shape[1] == 1 else sound.mean(axis=1)
    if not np.isfinite(mono).all():
        raise BadAudioError("holds samples that are NaN or infinite")
    return mono if own_rate == rate else soxr.resample(mono, own_rate, rate, quality="HQ")


def _info(path: Path) -> soundfile._SoundFileInfo:
    try:
        return soundfile.info(path)
    except _DAMAGE as error:
        raise UnreadableAudioError(path, error) from error


def _require_whole(path: Path) -> None:
    """Find what libsndfile would say less clearly, or not at all."""
    try:
        with path.open("rb") as file:
            start, size = file.read(12), file.seek(0, 2)
    except OSError as error:
        raise BadAudioError(f"cannot be read: {refusal(error)}") from error
    if not size:
        raise BadAudioError("is empty: expected a wav file, got 0 bytes")
    if start[:4] == b"RIFF" and start[8:12] == b"WAVE":
        told = int.from_bytes(start[4:8], "little")
        # The size leaves out its own 8 bytes, and a last padding byte is often missing.
        if told not in _UNKNOWN_SIZES and told + 8 > size + 1:
            raise BadAudioError(f"is truncated: expected {told + 8} bytes, got {size}")
    elif start[:4] not in (b"RIFX", b"RF64", b"fLaC", b"OggS", b"FORM"):
        raise BadAudioError(
            f"is not audio: expected a wav file, got one that starts with {start!r}"
        )


def _refused(path: Path, damage: BadAudioError | str) -> UsageError:
    if not path.exists():
        return UsageError(f"{path} not found: expected a wav or flac file. Correct the path.")
    unreadable = isinstance(damage, UnreadableAudioError)
    size = f"({path.stat().st_size:,} bytes) " if unreadable else ""
    return UsageError(f"{path} {size}{damage}. Replace it, or leave it out.")
