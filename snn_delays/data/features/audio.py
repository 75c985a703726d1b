"""Sound from a file: whatever its rate, depth and channels, one channel at the rate asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr
from jaxtyping import Float, Float32

# Writers that did not know how long a recording would become leave one of these as its size.
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)


class BadAudioError(Exception):
    """A file that holds no sound one could use; the message reads on after the path."""


class UnreadableAudioError(BadAudioError):
    """What libsndfile refuses; ``reason`` is the error's words in one line."""

    def __init__(self, path: Path, error: Exception) -> None:
        self.reason = " ".join(str(error).split())
        why = self.reason.removeprefix(f"Error opening {str(path)!r}: ")
        super().__init__(f"cannot be read as audio: {why}")


def read_audio(
    path: Path, *, rate: int, samples: int, start: int = 0
) -> Float32[np.ndarray, " samples"]:
    """Read a stretch of sound as mono at ``rate``, cut or filled up with silence to ``samples``.

    Args:
        path: a wav file, or any other that libsndfile reads.
        rate: samples per second of the result.
        samples: length of the result.
        start: where to begin, in samples of the file.

    Raises:
        BadAudioError: no such file, no bytes, no audio, truncated, no samples, not finite.
    """
    require_whole(path)
    mono = read_mono(path, rate=rate, dtype="float32", start=start, samples=samples)
    if len(mono) >= samples:
        return mono[:samples]
    return np.pad(mono, (0, samples - len(mono)))


def read_mono(
    path: Path,
    *,
    rate: int,
    dtype: Literal["float32", "float64"],
    start: int = 0,
    samples: int | None = None,
) -> Float[np.ndarray, " samples"]:
    """Read sound as mono at ``rate``.

    Channels are averaged; depths from 8 to 32 bits and floats all become −1 … 1. Another rate
    than the file's is reached with the band-limited resampler that librosa uses too, soxr.

    Args:
        path: a file that libsndfile reads.
        rate: samples per second of the result.
        dtype: of the result, and of all arithmetic.
        start: where to begin, in samples of the file.
        samples: about how many of the result are wanted, fewer where the file ends before; None
            for all that the file promises.

    Raises:
        BadAudioError: no audio, no samples or fewer than promised, not finite.
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
    # What soundfile raises, depending on which byte of the file is damaged.
    except (OSError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise UnreadableAudioError(path, error) from error
    if samples is None and len(sound) < promised - start:
        raise BadAudioError(f"is cut short: expected {promised - start} samples, got {len(sound)}")
    if not len(sound):
        raise BadAudioError("has no samples: expected about a second of sound")
    mono = sound[:, 0] if sound.shape[1] == 1 else sound.mean(axis=1)
    if not np.isfinite(mono).all():
        raise BadAudioError("holds samples that are NaN or infinite")
    return mono if own_rate == rate else soxr.resample(mono, own_rate, rate, quality="HQ")


def length(path: Path) -> tuple[int, int]:
    """Number of samples in a file, and how many there are per second.

    Raises:
        BadAudioError: as :func:`read_audio`.
    """
    require_whole(path)
    try:
        with soundfile.SoundFile(path) as file:
            return file.frames, file.samplerate
    except (OSError, RuntimeError, ValueError) as error:
        raise BadAudioError("cannot be read as audio") from error


def require_whole(path: Path) -> None:
    """Find what libsndfile would say less clearly, or not at all.

    Raises:
        BadAudioError: no bytes, a wav file cut short, something else than sound.
    """
    try:
        with path.open("rb") as file:
            start = file.read(12)
            size = file.seek(0, 2)
    except OSError as error:
        raise BadAudioError(f"cannot be read: {error.strerror or error}") from error
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
