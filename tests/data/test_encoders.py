"""What each encoder promises about its spikes, on drawn levels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.data.gsc.encoders import Encoder, delta, latency, level
from snn_delays.errors import UsageError


def levels(seed: int, steps: int = 40, bands: int = 5) -> torch.Tensor:
    """Random walks, as slow as speech and as fast as noise."""
    generator = torch.Generator().manual_seed(seed)
    pace = torch.rand(1, 3, bands, generator=generator) * 2
    return (torch.randn(steps, 3, bands, generator=generator) * pace).cumsum(0) / 3


thresholds = st.sampled_from([0.1, 0.25, 0.5, 1.3])


@given(seed=st.integers(0, 10_000), threshold=thresholds)
def test_delta_is_never_a_threshold_away(seed: int, threshold: float) -> None:
    x = levels(seed)
    spikes = delta(x, threshold)
    on, off = spikes.chunk(2, dim=2)
    assert torch.equal(spikes, spikes.round())
    assert (spikes >= 0).all()
    assert not ((on > 0) & (off > 0)).any()
    rebuilt = threshold * (on - off).cumsum(0)
    assert (rebuilt - x).abs().max() < threshold + 1e-5


@given(seed=st.integers(0, 10_000), threshold=thresholds)
def test_delta_is_its_recursion(seed: int, threshold: float) -> None:
    x = levels(seed, bands=2).double()
    on, off = delta(x, threshold).chunk(2, dim=2)
    for n in range(3):
        for band in range(2):
            sent = 0
            for t in range(len(x)):
                move = int((float(x[t, n, band]) / threshold) - sent)  # towards zero
                sent += move
                assert int(on[t, n, band] - off[t, n, band]) == move


def test_delta_does_not_answer_trembling() -> None:
    trembling = torch.tensor([0.1, -0.1, 0.3, -0.2]).repeat(10)[:, None, None]
    assert delta(trembling, 0.5).sum() == 0
    assert level(trembling, 0.5).sum() > 20  # its levels are fixed, and one of them is 0


@given(seed=st.integers(0, 10_000), threshold=thresholds)
def test_level_says_between_which_levels(seed: int, threshold: float) -> None:
    x = levels(seed)
    on, off = level(x, threshold).chunk(2, dim=2)
    assert (on >= 0).all()
    assert (off >= 0).all()
    below = threshold * (on - off).cumsum(0)
    assert (x - below > -1e-5).all()
    assert (x - below < threshold + 1e-5).all()


@given(seed=st.integers(0, 10_000), threshold=st.sampled_from([-1.0, 0.0, 0.5, 3.0]))
def test_latency_is_the_first_time_and_the_only_one(seed: int, threshold: float) -> None:
    x = levels(seed)
    spikes = latency(x, threshold)
    assert spikes.sum(0).max() <= 1
    reached = (x >= threshold).any(0)
    assert torch.equal(spikes.sum(0), reached.float())
    first = spikes.argmax(0)
    for t in range(len(x)):
        assert not ((x[t] >= threshold) & reached & (t < first)).any()
    assert (x.gather(0, first[None])[0][reached] >= threshold).all()


def test_a_louder_onset_is_not_later() -> None:
    x = levels(3)
    quiet, loud = latency(x, 1.0), latency(x + 0.7, 1.0)
    fired = quiet.sum(0) > 0
    assert fired.any()
    assert (loud.argmax(0)[fired] <= quiet.argmax(0)[fired]).all()


@pytest.mark.parametrize("name", ["none", "delta", "level", "latency"])
def test_shape_and_the_independence_of_recordings(name: Any) -> None:
    encoder, x = Encoder(name, 0.5), levels(5)
    spikes = encoder(x)
    assert spikes.shape == (40, 3, encoder.channels(5))
    assert torch.equal(encoder(x[:, 1:2]), spikes[:, 1:2])
    assert torch.equal(encoder(x[:20]), spikes[:20])  # causal
    assert encoder(x[:, :0]).shape == (40, 0, encoder.channels(5))
    if name == "none":
        assert torch.equal(spikes, x)


@pytest.mark.parametrize(
    ("name", "threshold", "expected"),
    [
        ("poisson", 0.5, "encoder must be one of none, delta, level, latency, got 'poisson'"),
        ("delta", 0.0, "threshold must be a number of standard deviations > 0, got 0.0"),
        ("level", -1.0, "got -1.0"),
        ("latency", float("nan"), "got nan"),
        ("none", "low", "got 'low'"),
    ],
)
def test_wrong_settings_are_one_line(
    unchecked: None, name: Any, threshold: Any, expected: str
) -> None:
    with pytest.raises(UsageError, match=expected):
        Encoder(name, threshold)
