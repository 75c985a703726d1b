"""The front end: where its filters lie, and that it is what it says it is."""

from __future__ import annotations

import logging
import math
import warnings
from typing import Any

import librosa
import numpy as np
import pytest

from snn_delays.data.gsc.log_mel import LogMel, log_mel
from snn_delays.errors import UsageError

DEFAULT: dict[str, Any] = {
    "dt_ms": 10.0,
    "n_mels": 140,
    "window_ms": 25.0,
    "fmin": 20.0,
    "fmax": None,
}


def made(frontend: Any = "standard", **settings: Any) -> LogMel:
    return log_mel(frontend, **{**DEFAULT, **settings})


def test_by_default_no_band_is_empty_and_all_lie_below_nyquist(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="snn_delays"):
        front_end = made()
    assert not caplog.records
    assert not front_end.empty_bands().any()
    assert front_end.fmax == front_end.nyquist == 8000
    bank = front_end.bank
    assert bank.shape == (140, 257)
    assert (bank >= 0).all()
    assert (bank <= 1).all()
    assert (np.diff(bank.argmax(axis=1)) >= 0).all()
    # Between the first peak and the last, neighbours add up to 1: nothing in between is unheard.
    hertz = np.linspace(0, 8000, 257)
    inside = (hertz > hertz[bank[0].argmax()]) & (hertz < hertz[bank[-1].argmax()])
    np.testing.assert_allclose(bank.sum(axis=0)[inside], 1, atol=1e-5)


def test_the_published_setting_has_53_empty_bands_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="snn_delays"):
        front_end = made("published")
    assert (front_end.rate, front_end.hop, front_end.n_fft) == (8000, 80, 256)
    assert front_end.empty_bands().sum() == 53
    assert front_end.empty_bands()[-53:].all()  # those above 4 kHz
    (line,) = caplog.messages
    assert "53 of 140 mel bands are EMPTY" in line
    features = front_end(np.random.default_rng(0).standard_normal((2, 8000)).astype(np.float32))
    np.testing.assert_array_equal(features[..., -53:], np.float32(math.log(1e-10)))
    assert features[..., :-53].std() > 0.1


def test_the_count_of_empty_bands_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="snn_delays"):
        front_end = made(n_mels=400)
    empty = int((front_end.bank == 0).all(axis=1).sum())
    assert empty > 0
    assert f"{empty} of 400 mel bands are EMPTY" in caplog.text


@pytest.mark.parametrize("frontend", ["standard", "published"])
def test_the_bank_is_librosas(frontend: str) -> None:
    front_end = made(frontend)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = librosa.filters.mel(
            sr=front_end.rate,
            n_fft=front_end.n_fft,
            n_mels=front_end.n_mels,
            fmin=front_end.fmin,
            fmax=front_end.fmax,
            htk=front_end.scale == "htk",
            norm=None,
        )
    np.testing.assert_allclose(front_end.bank, theirs, atol=1e-5)


@pytest.mark.parametrize("frontend", ["standard", "published"])
def test_features_are_librosas(frontend: str) -> None:
    front_end = made(frontend)
    sound = np.random.default_rng(1).standard_normal((3, front_end.rate)).astype(np.float32) / 10
    power = np.abs(
        librosa.stft(
            sound,
            n_fft=front_end.n_fft,
            hop_length=front_end.hop,
            win_length=front_end.window,
            pad_mode="constant",
        )
    )
    energy = np.einsum("bk,nkt->ntb", front_end.bank, power**2)
    theirs = np.log(np.maximum(energy, front_end.floor))
    ours = front_end(sound)
    assert ours.shape == theirs.shape == (3, 101, 140)
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_a_tone_is_loudest_in_the_band_around_it() -> None:
    front_end = made()
    time = np.arange(16000) / 16000
    peaks = front_end.bank.argmax(axis=1) * 16000 / 512
    for hertz in (300.0, 1000.0, 4000.0):
        sound = np.sin(2 * np.pi * hertz * time, dtype=np.float64).astype(np.float32)[None]
        loudest = front_end(sound)[0, 50].argmax()
        assert abs(peaks[loudest] - hertz) <= 63


def test_a_click_is_heard_in_its_step_and_silence_is_the_floor() -> None:
    front_end = made()
    sound = np.zeros((1, 16000), np.float32)
    assert (front_end(sound) == np.float32(math.log(front_end.floor))).all()
    sound[0, 40 * front_end.hop] = 1
    assert (front_end(sound)[0].sum(axis=1).argmax()) == 40


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"frontend": "mfcc"}, "frontend must be one of standard, published, got 'mfcc'"),
        ({"n_mels": 0}, "n_mels must be a whole number >= 1, got 0"),
        ({"dt_ms": 0.0}, "dt_ms must be a whole number of samples at 16000 Hz"),
        ({"dt_ms": 0.1}, "0.0625 to 1000 ms, got 0.1"),
        ({"window_ms": math.nan}, "window_ms"),
        ({"fmin": 9000.0}, "0 <= fmin < fmax, got 9000.0 and 8000.0 Hz"),
        ({"fmin": 9000.0, "fmax": 12000.0}, "all 140 mel bands from 9000 to 12000 Hz are empty"),
    ],
)
def test_wrong_settings_are_one_line(
    unchecked: None, settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UsageError) as caught:
        made(**settings)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
