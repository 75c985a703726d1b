"""Rounding that does not hurt: delays that act as rounded in training, of every kind of layer."""

from __future__ import annotations

import copy
import itertools
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import small_runs
import torch
from small_runs import SETTINGS, network
from spikingjelly.activation_based import functional
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from snn_delays import DelayLayer, RecurrentDelayLayer, fit, rounded
from snn_delays.callbacks.callback import Callback, Training
from snn_delays.data import SpikeData
from snn_delays.errors import UsageError
from snn_delays.interpolation import INTERPOLATIONS
from snn_delays.layers import set_rounding
from snn_delays.layers.granularity import GRANULARITIES
from snn_delays.layers.networks import delay_layers
from snn_delays.network import DelaySNN, plain_synapses
from snn_delays.schedules import Constant, Exponential

data = small_runs.data
KINDS: list[dict[str, Any]] = [
    {"granularity": granularity, "interpolation": interpolation, "kernel_count": count}
    for granularity, interpolation, count in itertools.product(
        GRANULARITIES, INTERPOLATIONS, (1, 2)
    )
]
KINDS += [
    {"recurrent": granularity, "interpolation": interpolation}
    for granularity, interpolation in itertools.product(
        RecurrentDelayLayer.granularities, INTERPOLATIONS
    )
]


def kind_of_network(data: SpikeData, kind: dict[str, Any] | None) -> DelaySNN:
    if kind is not None and "recurrent" not in kind:
        return network(data, **kind)
    torch.manual_seed(0)
    sizes, back = [data.n_channels, 16, data.n_classes], None
    if kind is not None:
        settings = {"granularity": kind["recurrent"], "interpolation": kind["interpolation"]}
        back = partial(RecurrentDelayLayer, max_delay=8, **settings)
    return DelaySNN(sizes, plain_synapses, recurrent=back)


def delays_of(net: nn.Module) -> list[Tensor]:
    return [layer.delay.detach().clone() for layer in delay_layers(net)]


class Delays(Callback):
    """Writes down the delays after the last batch of every epoch, and after its validation."""

    def __init__(self) -> None:
        self.trained: list[list[Tensor]] = []
        self.validated: list[list[Tensor]] = []

    def on_batch(self, training: Training) -> None:
        if training.batch == training.batches:
            self.trained.append(delays_of(training.net))

    def on_epoch(self, training: Training) -> None:
        self.validated.append(delays_of(training.net))


@pytest.mark.parametrize("kind", [*KINDS, None], ids=str)
def test_integer_delays_leave_nothing_to_round(data: SpikeData, kind: dict[str, Any] | None):
    net, delays = kind_of_network(data, kind), Delays()
    schedule = Exponential(start=4.27, until=0.5, integer_from=0.5)
    fit(net, data, schedule=schedule, callbacks=[delays], **SETTINGS)
    net.eval()
    x = data.valid.collate(range(8)).spikes
    assert torch.equal(net(x), rounded(net)(x))
    for one, other in zip(delays.trained, delays.validated, strict=True):
        assert all(map(torch.equal, one, other)), "validation has moved the master's delays"
    for one, other in itertools.pairwise(delays.trained[1:]):
        assert all(map(torch.equal, one, other)), "delays at rest have moved"
    first, second = delays.trained[:2]
    assert kind is None or not all(map(torch.equal, first, second))
    # Saved with the network, and read by one that is made anew.
    again = kind_of_network(data, kind).eval()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(x), net(x))
    assert torch.equal(copy.deepcopy(net)(x), net(x))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_straight_through_acts_as_rounded_and_still_moves(data: SpikeData, interpolation: Any):
    net, delays = network(data, interpolation=interpolation), Delays()
    schedule = Constant(start=1.0, straight_through_from=0.5)
    fit(net, data, schedule=schedule, callbacks=[delays], **SETTINGS)
    net.eval()
    x = data.valid.collate(range(8)).spikes
    assert torch.equal(net(x), rounded(net)(x))
    for one, other in itertools.pairwise(delays.trained):
        assert not any(map(torch.equal, one, other))
    assert all((delay != delay.round()).any() for delay in delays.validated[-1])


@pytest.mark.parametrize("mode", ["s", "m"])
def test_frozen_weights_leave_straight_through_delays_to_learn(mode: str):
    torch.manual_seed(0)
    layer = DelayLayer(5, 4, 6, sigma=0.7, step_mode="m" if mode == "m" else "s")
    layer.weight.requires_grad_(False)
    set_rounding(layer, "straight_through")
    x = torch.rand(9, 2, 5)
    y = layer(x) if mode == "m" else torch.stack([layer(step) for step in x])
    y.square().sum().backward()
    assert layer.delay.grad is not None
    assert layer.delay.grad.all()


def test_a_schedule_says_when_delays_act_as_rounded():
    schedule = Constant(1.0, integer_from=0.75, straight_through_from=0.5)
    assert schedule.roundings(4) == ["none", "none", "straight_through", "integer"]
    assert Constant(1.0).roundings(2) == ["none", "none"]
    assert Constant(1.0, straight_through_from=0).roundings(1) == ["straight_through"]
    with pytest.raises(UsageError, match=r"straight_through_from must be a share of training in"):
        Constant(1.0, straight_through_from=1.5)


def test_the_state_without_rounding_has_none():
    layer = DelayLayer(3, 2, 4, interpolation="triangle")
    plain = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.rounding = "integer"
    assert "rounding=integer" in repr(layer)
    assert set(layer.state_dict()) == {*plain, "_rounding"}
    layer.load_state_dict(plain)
    assert layer.rounding == "none"
    with pytest.raises(UsageError, match="rounding must be one of none, straight_through, integer"):
        layer.rounding = "up"
    functional.reset_net(layer)


@pytest.mark.parametrize("watch", ["passes and steps", "steps"])
def test_delays_rest_while_operations_are_counted(watch: str):
    """Momentum of wider kernels moves no delay at rest, whoever watches what torch does."""
    torch.manual_seed(0)
    layer, x = DelayLayer(3, 4, max_delay=6), torch.rand(9, 2, 3)
    adam = torch.optim.Adam(layer.parameters(), lr=0.1)
    for sigma in (2.0, 0.0, 0.0):
        layer.sigma = sigma
        before = layer.delay.detach().clone()
        with nullcontext() if watch == "steps" else FlopCounterMode(display=False):
            adam.zero_grad()
            layer(x).square().sum().backward()
        with FlopCounterMode(display=False):
            adam.step()
        assert torch.equal(layer.delay, before) is (sigma == 0)
