"""Parameter groups: who decays, and at which rate each learns."""

from __future__ import annotations

import pytest
import torch
from drawn_networks import delay_snn
from torch import nn
from torch.nn.utils import parametrize

from snn_delays import DelayLayer, UsageError, parameter_groups


def network() -> nn.Sequential:
    return nn.Sequential(
        DelayLayer(5, 6, 24, bias=True), nn.LayerNorm(6), nn.Linear(6, 4), DelayLayer(4, 3, 24)
    )


def test_every_parameter_is_in_one_group_with_its_own_rate() -> None:
    net = network()
    groups = {group["name"]: group for group in parameter_groups(net, weight_lr=0.01, delay_lr=0.2)}
    members = [id(own) for group in groups.values() for own in group["params"]]
    assert sorted(members) == sorted(map(id, net.parameters()))
    assert {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()} == {
        "weights": (0.01, 1e-5),
        "undecayed": (0.01, 0.0),
        "delays": (0.2, 0.0),
    }
    assert [id(own) for own in groups["delays"]["params"]] == [id(net[0].delay), id(net[3].delay)]
    assert {id(own) for own in groups["undecayed"]["params"]} == set(map(id, net[1].parameters()))


def test_decay_pulls_delays_to_zero_unless_they_are_apart() -> None:
    means = {}
    for kind in ("all", "groups"):
        torch.manual_seed(0)
        net = network()
        before = net[0].delay.mean().item()
        if kind == "all":
            optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
        else:
            optimizer = torch.optim.AdamW(parameter_groups(net))
        for _ in range(150):  # without a gradient that would move them
            for own in net.parameters():
                own.grad = torch.zeros_like(own)
            optimizer.step()
        means[kind] = net[0].delay.mean().item() / before
    assert means["all"] == pytest.approx((1 - 0.1 * 0.01) ** 150, rel=1e-4)  # 0.86
    assert means["groups"] == 1


def test_fixed_and_parametrised_and_shared_delays() -> None:
    assert {
        group["name"] for group in parameter_groups(delay_snn([4, 5, 2], learn_delays=False))
    } == {
        "weights",
        "undecayed",
    }
    net = network()
    parametrize.register_parametrization(net[0], "delay", nn.Identity())
    net[3].delay = net.append(DelayLayer(4, 3, 24))[-1].delay
    (delays,) = (group for group in parameter_groups(net) if group["name"] == "delays")
    stored = net[0].get_submodule("parametrizations.delay").original
    assert [id(own) for own in delays["params"]] == [id(stored), id(net[3].delay)]
    torch.optim.Adam(parameter_groups(net))  # which refuses what is in two groups


@pytest.mark.parametrize("name", ["weight_lr", "weight_decay", "delay_lr"])
def test_rates_are_numbers(name: str) -> None:
    with pytest.raises(UsageError, match=f"parameter_groups: {name} must be a number >= 0"):
        parameter_groups(network(), **{name: -1.0})
