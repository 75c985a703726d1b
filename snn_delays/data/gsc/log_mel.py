"""From sound to the logarithm of its energy in mel bands, at one moment per time step.

X[t, k] = Σ_n hann[n] · x[t · hop + n − window/2] · e^(−2πi k n / n_fft)
E[t, b] = Σ_k bank[b, k] · |X[t, k]|²              feature[t, b] = ln max(E[t, b], floor)
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float32

from snn_delays.arguments import choice, real, real_number, settle, whole, whole_number
from snn_delays.errors import UsageError

MelScale = Literal["slaney", "htk"]
Frontend = Literal["standard", "published"]

_log = logging.getLogger("snn_delays")


@dataclass(frozen=True)
class LogMel:
    """The settings of the front end; equal settings give equal features.

    Args:
        rate: samples per second of the sound.
        n_mels: number of bands.
        window, hop: length of the Hann window, and from one to the next, in samples.
        n_fft: length of the Fourier transform; the window is filled up with zeros.
        fmin, fmax: lower edge of the first band and upper edge of the last, Hz.
        scale: "slaney", linear below 1 kHz and logarithmic above; "htk", 2595 lg(1 + f/700).
        floor: smallest energy; full scale is 1, and 16 bits' own noise lies at about 1e-8.

    Reference:
        Davis & Mermelstein, "Comparison of parametric representations for monosyllabic word
        recognition" (1980); Slaney, "Auditory Toolbox" (1998).
    """

    rate: int
    n_mels: int
    window: int
    hop: int
    n_fft: int
    fmin: float
    fmax: float
    scale: MelScale = "slaney"
    floor: float = 1e-6

    def __post_init__(self) -> None:
        settle(self, **dict.fromkeys(("rate", "n_mels", "window", "hop", "n_fft"), whole(1)))
        settle(self, fmin=real(unit="Hz"), fmax=real(unit="Hz"), floor=real(above=0))
        choice("scale", self.scale, get_args(MelScale))
        if not 0 <= self.fmin < self.fmax:
            raise UsageError(
                f"fmin and fmax must be frequencies with 0 <= fmin < fmax, got {self.fmin!r} and "
                f"{self.fmax!r} Hz."
            )

    @property
    def nyquist(self) -> float:
        """Half the rate, Hz: above it there is nothing to hear."""
        return self.rate / 2

    def steps(self, samples: int) -> int:
        """Number of time steps of so many samples: one window on each of 0, hop, 2 hop, …"""
        return samples // self.hop + 1

    @cached_property
    def bank(self) -> Float32[np.ndarray, "bands bins"]:
        """Triangles of height 1, equally wide on the mel scale, each to its neighbours' peaks."""
        from librosa.filters import mel  # slow to import

        edges = {"fmin": self.fmin, "fmax": self.fmax, "htk": self.scale == "htk"}
        with warnings.catch_warnings():  # of empty bands: log_mel says so itself
            warnings.simplefilter("ignore")
            return mel(sr=self.rate, n_fft=self.n_fft, n_mels=self.n_mels, norm=None, **edges)

    def empty_bands(self) -> Bool[np.ndarray, " bands"]:
        """Which bands no bin of the spectrum falls into: the same number whatever the sound."""
        from librosa.core.convert import mel_frequencies  # without the bank: quick to import

        edges = mel_frequencies(
            self.n_mels + 2, fmin=self.fmin, fmax=self.fmax, htk=self.scale == "htk"
        )
        bins = np.append(np.linspace(0, self.nyquist, self.n_fft // 2 + 1), np.inf)
        return bins[np.searchsorted(bins, edges[:-2], side="right")] >= edges[2:]

    def __call__(self, sound: Float32[np.ndarray, "n samples"]) -> Float32[np.ndarray, "n T bands"]:
        """Features of sounds of equal length, silent before their start and after their end."""
        from librosa import stft

        lengths: Any = {"n_fft": self.n_fft, "hop_length": self.hop, "win_length": self.window}
        spectrum = stft(sound, **lengths, pad_mode="constant")
        energy = np.square(np.abs(spectrum)).swapaxes(1, 2) @ self.bank.T
        return np.log(np.maximum(energy, np.float32(self.floor)))


def log_mel(
    frontend: Frontend,
    *,
    dt_ms: float,
    n_mels: int,
    window_ms: float,
    fmin: float,
    fmax: float | None,
) -> LogMel:
    """The front end of that name; warns if some of its bands are empty.

    "standard": 16 kHz, Slaney's scale, ``fmin`` to ``fmax`` (None: Nyquist, 8 kHz).
    "published", as in the code of Hammouamri et al. (2024, arXiv:2306.17670): 8 kHz, 256-point
    spectrogram, HTK scale, bands from 50 Hz to 14 kHz although the Nyquist frequency is 4 kHz;
    ``window_ms``, ``fmin`` and ``fmax`` do not apply.

    ``dt_ms`` is from one window to the next, ``window_ms`` a window's length.
    """
    choice("frontend", frontend, get_args(Frontend))
    n_mels = whole_number("n_mels", n_mels, 1)
    rate = 8_000 if frontend == "published" else 16_000
    hop = _samples("dt_ms", dt_ms, rate)
    if frontend == "published":
        made = LogMel(rate, n_mels, 256, hop, 256, 50.0, 14_000.0, "htk", floor=1e-10)
    else:
        window = _samples("window_ms", window_ms, rate)
        n_fft = 1 << (window - 1).bit_length()
        made = LogMel(rate, n_mels, window, hop, n_fft, fmin, rate / 2 if fmax is None else fmax)
    remedy = "Choose fewer n_mels, a longer window_ms or fmax=null."
    if frontend == "published":
        remedy = "That is the published setting; frontend=standard has none."
    require_heard(made, "GSC", remedy)
    return made


def require_heard(front_end: LogMel, owner: str, remedy: str) -> None:
    """Refuse a front end all of whose bands are empty; warn if some are."""
    empty, n_mels, fmax = int(front_end.empty_bands().sum()), front_end.n_mels, front_end.fmax
    if empty == n_mels:
        raise UsageError(
            f"all {n_mels} mel bands from {front_end.fmin:g} to {fmax:g} Hz are empty: expected "
            f"some below the Nyquist frequency of {front_end.nyquist:g} Hz. Lower fmin."
        )
    if empty:
        _log.warning(
            f"{owner}: {empty} of {n_mels} mel bands are EMPTY, the same number whatever is said: "
            f"bands go up to {fmax:g} Hz, the sound to {front_end.nyquist:g} Hz, in steps of "
            f"{front_end.rate / front_end.n_fft:g} Hz. {remedy}"
        )


def _samples(name: str, duration_ms: float, rate: int) -> int:
    samples = real_number(name, duration_ms, unit="ms") * rate / 1000
    if not 1 <= samples <= rate or abs(samples - round(samples)) > 1e-6:
        raise UsageError(
            f"{name} must be a whole number of samples at {rate} Hz, {1000 / rate:g} to 1000 ms, "
            f"got {duration_ms!r}."
        )
    return round(samples)
