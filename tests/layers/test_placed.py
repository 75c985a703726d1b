"""Convolutions whose elements learn where in space they stand, as well as when they arrive."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from snn_delays import (
    DelayConv1d,
    DelayConv2d,
    UsageError,
    clamp_delays_,
    parameter_groups,
    set_sigma,
)
from snn_delays.interpolation import interpolate


def learned(kind: Any = DelayConv2d, **settings: Any) -> Any:
    torch.manual_seed(0)
    size = (3, 4) if kind is DelayConv2d else 4
    chosen: dict[str, Any] = {
        "groups": 2,
        "stride": 2,
        "padding": 1,
        "kernel_count": 3,
        "sigma": 0.7,
    }
    made = kind(4, 6, size, 3, spacing="learned", **(chosen | settings)).double()
    with torch.no_grad():
        position = places(made)
        for axis, extent in enumerate(made.kernel_size):
            position[axis].uniform_(-(extent - 1) / 2, (extent - 1) / 2)
    return made


def places(made: Any) -> Any:
    return made.parametrizations.weight[0].position


def by_hand(made: Any, x: Tensor) -> Tensor:
    """Element by element, place by place, step by step."""
    own = made.parametrizations.weight.original
    y = torch.zeros(*made(x).shape, dtype=torch.float64)
    functional.reset_net(made)
    padded = nn.functional.pad(x, [made.padding[0]] * 2 * made.space)
    out_of, in_of = made.out_channels // made.groups, made.in_channels // made.groups
    spread = interpolate(made.delay, made.sigma, made.max_delay, made.interpolation)
    for o, i, k in itertools.product(range(made.out_channels), range(in_of), range(own.shape[-1])):
        at = (o, i, *[0] * made.space, k)
        for place in itertools.product(*map(range, made.kernel_size)):
            share = own[at]
            for axis, here in enumerate(place):
                centre = (made.kernel_size[axis] - 1) / 2 + places(made)[(axis, *at)]
                share = share * (1 - (here - centre).abs()).clamp(min=0)
            if share == 0:
                continue
            channel = (o // out_of) * in_of + i
            for t, j in itertools.product(range(len(x)), range(made.max_delay + 1)):
                for spot in itertools.product(*map(range, y.shape[3:])):
                    if j <= t:
                        read = [s * made.stride[0] + p for s, p in zip(spot, place, strict=True)]
                        value = padded[(t - j, slice(None), channel, *read)]
                        y[(t, slice(None), o, *spot)] += share * spread[at][j] * value
    return y


@pytest.mark.parametrize("kind", [DelayConv1d, DelayConv2d])
@pytest.mark.parametrize("method", ["reference", "dense", "taps"])
@torch.no_grad()
def test_every_method_computes_the_sum_over_elements(kind: Any, method: Any) -> None:
    made = learned(kind, method=method)
    x = (torch.rand(5, 2, 4, *[6] * made.space) < 0.3).double()
    torch.testing.assert_close(made(x), by_hand(made, x), rtol=0, atol=1e-9)
    assert made.method_used == method


@pytest.mark.parametrize("method", ["dense", "taps"])
def test_positions_weights_and_delays_have_the_gradients_of_the_reference(method: Any) -> None:
    made = learned(method=method)
    other = copy.deepcopy(made)
    other.method = "reference"
    x = (torch.rand(5, 2, 4, 6, 6) < 0.3).double().requires_grad_()
    y = made(x)
    judge = torch.randn_like(y)
    ours = torch.autograd.grad((y * judge).sum(), [x, *made.parameters()])
    theirs = torch.autograd.grad((other(x) * judge).sum(), [x, *other.parameters()])
    for one, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, reference, rtol=0, atol=1e-9)
    assert all(one.abs().max() > 0 for one in ours)


def test_an_element_at_every_place_is_the_dense_kernel() -> None:
    torch.manual_seed(0)
    dense = DelayConv1d(2, 3, 4, 5, granularity="common")
    made = DelayConv1d(2, 3, 4, 5, kernel_count=4, spacing="learned")
    with torch.no_grad():
        made.parametrizations.weight.original.copy_(dense.weight.movedim(2, 3))
        places(made).copy_((torch.arange(4.0) - 1.5).expand_as(places(made)))
        made.delay.fill_(dense.delay.item())
        x = torch.rand(7, 2, 2, 9)
        torch.testing.assert_close(made(x), dense(x), rtol=0, atol=1e-5)


def test_steps_and_pieces_are_the_whole_and_states_are_kept() -> None:
    made = learned()
    x = (torch.rand(6, 2, 4, 6, 6) < 0.3).double()
    whole = made(x)
    functional.reset_net(made)
    torch.testing.assert_close(torch.cat([made(x[:2]), made(x[2:])]), whole)
    functional.reset_net(made)
    functional.set_step_mode(made, "s")
    torch.testing.assert_close(torch.stack([made(one) for one in x]), whole)
    other = learned()
    with torch.no_grad():
        places(other).zero_()
    other.load_state_dict(made.state_dict())
    torch.testing.assert_close(other(x), whole)


def test_positions_learn_at_their_rate_and_stay_inside() -> None:
    made = learned()
    groups = {one["name"]: one for one in parameter_groups(made, weight_lr=0.1, delay_lr=0.3)}
    assert [tuple(one.shape) for one in groups["positions"]["params"]] == [(2, 6, 2, 1, 1, 3)]
    assert [tuple(one.shape) for one in groups["delays"]["params"]] == [(6, 2, 1, 1, 3)]
    assert "undecayed" not in groups
    set_sigma(made, 0.5)
    with torch.no_grad():
        places(made).fill_(9.0)
        made.delay.fill_(9.0)
    clamp_delays_(made)
    assert places(made)[0].unique().tolist() == [1.0]
    assert places(made)[1].unique().tolist() == [1.5]
    assert made.delay.unique().tolist() == [3.0]
    assert "spacing=learned" in repr(made)
    fresh = places(made).detach().clone()
    made.reset_parameters()
    assert torch.equal(places(made), fresh)  # of a module of its own
    assert made.parametrizations.weight.original.std() > 0


@pytest.mark.usefixtures("unchecked")
def test_what_it_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="spacing must be one of dense, learned, got 'sparse'"):
        DelayConv1d(1, 1, 3, 2, spacing="sparse")  # pyright: ignore[reportArgumentType]
