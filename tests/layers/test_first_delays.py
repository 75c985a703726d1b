"""Where delays start: uniform in a range, or half-normal."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch

from snn_delays.errors import UsageError
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.layers.granularity import GRANULARITIES
from snn_delays.layers.recurrent import RecurrentDelayLayer
from snn_delays.layers.sparsity import draw_delays_
from snn_delays.neurons import lif


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_uniform_in_a_range(granularity: Any) -> None:
    torch.manual_seed(0)
    settings: Any = {"granularity": granularity, "first_delays": (10, 30)}
    layer = DelayLayer(200, 300, 41, **settings)
    low, high = float(layer.delay.detach().min()), float(layer.delay.detach().max())
    assert 10 <= low <= high <= 30
    if granularity != "common":
        assert low < 10.4
        assert high > 29.6
        assert float(layer.delay.detach().mean()) == pytest.approx(20, abs=1)


def test_half_normal() -> None:
    """Its mean is width · √(2/π), counted from the shortest delay."""
    torch.manual_seed(0)
    layer = DelayLayer(100, 100, 100, first_delays=12.0)
    mean = 12 * math.sqrt(2 / math.pi)
    assert float(layer.delay.detach().mean()) == pytest.approx(mean, rel=0.03)
    back = RecurrentDelayLayer(100, lif(tau=2.0), 100, first_delays=12.0)
    assert float(back.delay.min()) >= 1
    assert float(back.delay.detach().mean()) == pytest.approx(1 + mean, rel=0.03)


def test_all_of_the_kernel_else() -> None:
    torch.manual_seed(0)
    delay = RecurrentDelayLayer(100, lif(tau=2.0), 20).delay
    assert 1 <= float(delay.min()) < 1.05
    assert 19.95 < float(delay.max()) <= 20


def test_what_grows_starts_there_too() -> None:
    torch.manual_seed(0)
    layer = DelayLayer(20, 20, 40, first_delays=[30, 31])
    with torch.no_grad():
        layer.delay.zero_()
    draw_delays_(layer, torch.ones(20, 20, 1, dtype=torch.bool))
    assert 30 <= float(layer.delay.min()) <= float(layer.delay.max()) <= 31


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("given", [(5, 2), (0, 25), (-1, 3), (1,), -3.0, (1, math.nan), "ten"])
def test_refused(given: Any) -> None:
    with pytest.raises(UsageError, match="DelayLayer: first_delays must"):
        DelayLayer(3, 4, 24, first_delays=given)
    with pytest.raises(UsageError, match=r"within 1 … 24 steps, or the width of a half-normal"):
        partial(RecurrentDelayLayer, 3, lif(tau=2.0), 24)(first_delays=(0, 3))
