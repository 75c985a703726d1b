"""Networks that people have: timm's ConvNeXt-T and ResNet-50 with DCLS's convolutions."""

from __future__ import annotations

from typing import Any

import pytest
import timm_models
import torch
from torch import nn
from torch.nn import functional as F

from snn_delays import clamp_delays_, parameter_groups
from snn_delays.dcls import DclsConv2d, replace_convs
from snn_delays.regularisers import repulsive_loss


@pytest.fixture(scope="module")
def timm() -> Any:
    """See ``timm_models``: it declares operators that a CPU build's torchvision lacks."""
    return timm_models.imported()


def swapped(net: nn.Module) -> list[DclsConv2d]:
    return [one for one in net.modules() if isinstance(one, DclsConv2d)]


def step(net: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """One step of training as published, on labels at random; the output before it."""
    optimizer = torch.optim.AdamW(parameter_groups(net, weight_lr=4e-3, weight_decay=0.05))
    y = net(images)
    loss = F.cross_entropy(y, torch.arange(len(images))) + repulsive_loss(net)
    loss.backward()
    optimizer.step()
    clamp_delays_(net)
    return y.detach()


def assert_trains(net: nn.Module, fresh: nn.Module, limit: float) -> None:
    """Places move and stay within, and another network takes the state over."""
    places = list({id(one.position): one.position for one in swapped(net)}.values())
    with torch.no_grad():
        for one in places:
            one.view(-1)[0] = limit  # at the edge
    before = [one.detach().clone() for one in places]
    images = torch.randn(2, 3, 64, 64)
    assert step(net, images).shape == (2, 1000)
    for one, old in zip(places, before, strict=True):
        moved = (one - old).abs()
        assert 0.01 < moved.max() < 0.03  # Adam's first step is the rate, 5 × 4e-3
        assert (moved > 0).float().mean() > 0.7  # channels of which no image shows anything stay
        assert one.abs().max() <= limit
    fresh.load_state_dict(net.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(fresh.eval()(images), net.eval()(images), rtol=1e-4, atol=1e-4)


def test_convnext_with_positions_of_each_stage(timm: Any) -> None:
    def made() -> Any:
        net = timm.create_model("convnext_tiny")
        return net, replace_convs(net, extent=17, kernel_count=34, share_positions="stage")

    torch.manual_seed(0)
    net, report = made()
    assert len(report.layers) == len(swapped(net)) == 18
    assert {(one.extent, one.padding, one.kernel_count) for one in swapped(net)} == {
        ((17, 17), (8, 8), 34)
    }
    assert len({id(one.position) for one in swapped(net)}) == 4
    assert report.parameters_before == 28_589_128
    # A block loses 15 of 49 weights per channel, a stage gains 68 coordinates per channel.
    stages = ((96, 3), (192, 3), (384, 9), (768, 3))
    change = sum(channels * (68 - 15 * depth) for channels, depth in stages)
    assert report.parameters_after == 28_589_128 + change == 28_587_688
    assert sum(own.numel() for own in net.parameters()) == 28_587_688
    assert_trains(net, made()[0], 8.0)


def test_resnet_at_the_same_parameters(timm: Any) -> None:
    def made() -> Any:
        net = timm.create_model("resnet50")
        of_size_3 = lambda name, conv: conv.kernel_size == (3, 3)  # noqa: E731
        return net, replace_convs(net, of_size_3, extent=7, same_parameters=True)

    torch.manual_seed(0)
    net, report = made()
    assert len(report.layers) == len(swapped(net)) == 16
    assert {(one.kernel_count, one.padding) for one in swapped(net)} == {(3, (3, 3))}
    assert sorted({one.stride for one in swapped(net)}) == [(1, 1), (2, 2)]
    assert report.parameters_after == report.parameters_before == 25_557_032
    assert_trains(net, made()[0], 3.0)
