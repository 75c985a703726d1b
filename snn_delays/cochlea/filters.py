"""The basilar membrane as a bank of filters: sound in, velocity of every place out.

The published converter multiplies v (see :mod:`~snn_delays.cochlea.membrane`) by the first half of
the sound's spectrum and keeps the real part of the inverse transform, at half the sampling rate.
Two things about that deserve knowing:

- v is written for time running as e^(−iωt), the transform has e^(+iωt). So the published response
  runs *backwards*: places of low frequencies answer before the sound, by up to 25 ms, where in an
  ear they answer that much later. SHD's recordings were made that way. ``causal=True`` takes
  the conjugate of v instead, which turns the response round in time and changes nothing else.
- v depends on the length of the clip, as the grid of frequencies does. Here every sound is filtered
  in blocks of one length (overlap-add), so that v is computed once, whatever the clips.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Complex64, Float
from scipy import fft

from snn_delays.arguments import choice, require, whole_number
from snn_delays.cochlea.membrane import membrane_velocity, places
from snn_delays.errors import UsageError

SOUND_RATE = 48_000  # Hz, of the audio
RATE = SOUND_RATE // 2  # Hz, of everything behind the membrane
# A block: so many steps (at RATE) of sound, and as many as a response may last, 0.25 s: ten times
# the latency of the slowest place.
BLOCK, RESPONSE = 24_000, 6_000
BINS = BLOCK + RESPONSE
HALF = BINS // 2 + 1

# Channels whose spectra are inverted at once.
_TOGETHER = 8
# Below this share of a place's largest velocity none is computed (a float32 resolves 6e-8), and
# every how many bins that is looked at.
_NOTHING, _COARSE = 1e-9, 50


def filter_table(
    channels: int, first: int = 0, last: int | None = None
) -> Complex64[np.ndarray, "some half"]:
    """v of the channels ``first`` … ``last`` − 1 of ``channels``, as :class:`FilterBank` takes it.

    The real part of a K-point inverse transform of Y is the inverse transform of the Hermitian
    half of Y, (Y_k + Ȳ_{K−k}) / 2. A row holds v_k for k = 0 … K/2, then v_{K−k} conjugated, so
    that the real transform of half the length does.

    Raises:
        UsageError: fewer than two channels; a first or last one that is none.
    """
    channels = whole_number("filter_table: channels", channels, 2)
    first = whole_number("filter_table: first", first, 0, channels - 1)
    last = channels if last is None else whole_number("filter_table: last", last, 1, channels)
    place, frequency = places(channels)[first:last], np.linspace(1.0, float(RATE), BINS)
    table = np.empty((len(place), 2 * HALF), np.complex64)
    for row in range(0, len(place), _TOGETHER):
        some = place[row : row + _TOGETHER]
        # Far above its own frequency a place does not move: most of the table is nothing.
        size = np.abs(membrane_velocity(some, frequency[::_COARSE])).max(axis=0)
        moving = (np.flatnonzero(size > _NOTHING * size.max()).max() + 1) * _COARSE
        v = np.zeros((len(some), BINS), np.complex128)
        v[:, :moving] = membrane_velocity(some, frequency[:moving]) / 2
        table[row : row + _TOGETHER] = _folded(v)
    return table


class FilterBank:
    """Velocities of all places for one sound after the other.

    Args:
        table: of :func:`filter_table`, all channels; 240 KB each.
        causal: answer after the sound, as an ear does, not before it, as the published converter.

    Raises:
        UsageError: a table of another kind or shape.

    Shape:
        ``table`` ``[channels, BINS + 2]``.
    """

    def __init__(self, table: Complex64[np.ndarray, "channels half"], *, causal: bool = False):
        known = isinstance(table, np.ndarray) and table.dtype == np.complex64 and len(table)
        must = f"be complex64 [channels, {2 * HALF}], as filter_table makes it"
        require(known and table.shape[1:] == (2 * HALF,), "FilterBank: table", must, table)
        self.table, self.causal = table, choice("FilterBank: causal", causal, (True, False))

    def velocities(
        self, sound: Float[np.ndarray, " samples"]
    ) -> Iterator[Float[np.ndarray, " steps"]]:
        """Velocity of one place after the other, ``ceil(samples / 2)`` steps at ``RATE``.

        Raises:
            UsageError: ``sound`` is no finite pressure over time, at ``SOUND_RATE``.
        """
        check_pressure(sound)
        steps = (len(sound) + 1) // 2
        blocks = [_spectrum(sound[2 * start :][: 2 * BLOCK]) for start in range(0, steps, BLOCK)]
        for first in range(0, len(self.table), _TOGETHER):
            rows = self.table[first : first + _TOGETHER]
            # A response lies behind its block, or before it, where the circle closes.
            found = np.zeros((len(rows), RESPONSE + len(blocks) * BLOCK + RESPONSE), np.float32)
            for index, block in enumerate(blocks):
                answer = self._answer(rows, block)
                start = RESPONSE + index * BLOCK
                if self.causal:
                    found[:, start : start + BINS] += answer
                else:
                    found[:, start : start + BLOCK] += answer[:, :BLOCK]
                    found[:, start - RESPONSE : start] += answer[:, BLOCK:]
            yield from found[:, RESPONSE : RESPONSE + steps]

    def _answer(self, rows: np.ndarray, spectrum: np.ndarray) -> np.ndarray:
        rows = rows.conj() if self.causal else rows
        folded = rows[:, :HALF] * spectrum[:HALF]
        folded += rows[:, HALF:] * spectrum[HALF:]
        return np.asarray(fft.irfft(folded, BINS))


def check_pressure(sound: Float[np.ndarray, " samples"]) -> None:
    """Refuse what is no sound: several channels, whole numbers, no samples or infinite ones."""
    real = isinstance(sound, np.ndarray) and sound.dtype.kind == "f"
    must = f"be a float array [samples] of one channel at {SOUND_RATE} Hz"
    require(real and sound.ndim == 1 and len(sound), "sound", must, sound)
    if not np.isfinite(sound).all():
        raise UsageError(f"sound must be finite, got {int((~np.isfinite(sound)).sum())} others.")


def _spectrum(sound: Float[np.ndarray, " samples"]) -> Complex64[np.ndarray, " half"]:
    return _folded(np.asarray(fft.rfft(sound, 2 * BINS))[:BINS]).astype(np.complex64)


def _folded(y: np.ndarray) -> np.ndarray:
    """Y_k for k = 0 … K/2, then Y_{K−k} conjugated, side by side."""
    index = np.arange(HALF)
    return np.concatenate([y[..., index], y[..., -index].conj()], axis=-1)
