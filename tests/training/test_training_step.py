"""One step of the optimisers: of several batches, with gradients of a largest norm."""

from __future__ import annotations

from typing import Any

import pytest
import small_runs
import torch
from small_runs import SETTINGS, network, timeless

from snn_delays.callbacks.callback import Callback, Training
from snn_delays.data import SpikeData
from snn_delays.training import fit

data = small_runs.data
# No dropout, and no normalisation over a batch: the same samples are the same numbers.
PLAIN: dict[str, Any] = {"dropout": 0.0, "batch_norm": False, "bias": True}
SHORT = SETTINGS | {"epochs": 2}


class Watches(Callback):
    """Norms of the gradients of each optimiser, and how many batches there were."""

    def __init__(self) -> None:
        self.norms: list[list[float]] = []
        self.batches: list[tuple[int, int]] = []

    def on_batch(self, training: Training) -> None:
        self.batches.append((training.batch, training.batches))
        optimizers = [
            one for one in training.optimisation if isinstance(one, torch.optim.Optimizer)
        ]
        self.norms.append([norm(optimizer) for optimizer in optimizers])


def norm(optimizer: torch.optim.Optimizer) -> float:
    gradients = [
        parameter.grad.flatten()
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]
    return float(torch.cat(gradients).norm())


@pytest.mark.parametrize(("batch_size", "accumulate"), [(16, 2), (8, 4), (11, 3), (128, 2)])
def test_batches_accumulated_are_one_large_batch(data: SpikeData, batch_size: int, accumulate: int):
    """Also where the last of them is smaller, and the only step is no whole one."""
    # One method, since Adam makes whole steps of what two make of a gradient that is nearly none.
    same = PLAIN | {"method": "dense"}
    at_once, in_parts = network(data, **same), network(data, **same)
    regulariser = {"regulariser": lambda net: 1e-3 * net.blocks[0].synapses.weight.square().sum()}
    watches = Watches()
    large = {**SHORT, "batch_size": batch_size * accumulate, **regulariser}
    parts = {**SHORT, "batch_size": batch_size, "accumulate": accumulate, **regulariser}
    expected = fit(at_once, data, **large)
    found = fit(in_parts, data, callbacks=[watches], **parts)
    steps = max(1, 100 // (batch_size * accumulate))
    assert watches.batches == [(step, steps) for step in range(1, steps + 1)] * 2
    for name, value in at_once.state_dict().items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(in_parts.state_dict()[name], value, rtol=1e-4, atol=1e-5)
    for one, other in zip(timeless(found), timeless(expected), strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_gradients_are_scaled_to_the_largest_norm_of_each_optimiser(data: SpikeData):
    free, clipped = Watches(), Watches()
    fit(network(data, **PLAIN), data, callbacks=[free], **SHORT)
    least = [min(norms[at] for norms in free.norms) for at in range(2)]
    largest = 0.5 * max(least)
    fit(network(data, **PLAIN), data, callbacks=[clipped], clip_norm=largest, **SHORT)
    assert free.norms[0][0] > largest
    assert max(max(norms) for norms in clipped.norms) <= largest * (1 + 1e-5)
    expected = [min(one, largest) for one in free.norms[0]]
    assert clipped.norms[0] == pytest.approx(expected, rel=1e-4)
    assert expected[0] != expected[1] or min(free.norms[0]) > largest


def test_a_norm_that_is_never_reached_changes_nothing(data: SpikeData):
    rows = [fit(network(data), data, clip_norm=norm, **SHORT) for norm in (None, 1e6)]
    assert timeless(rows[0]) == timeless(rows[1])
