"""Small networks for images: equal sizes, shared positions, what they refuse."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from snn_delays.dcls import DclsConv2d
from snn_delays.deploy import integer_table
from snn_delays.errors import UsageError
from snn_delays.image_networks import (
    ChannelNorm,
    ConvNeXtBlock,
    ImageNetwork,
    ResNetBlock,
    dilated,
    learned_spacings,
    standard,
)
from snn_delays.layers import clamp_delays_, parameter_groups

STYLES: dict[str, Any] = {
    "convnext": (ConvNeXtBlock, ChannelNorm, standard(7), dilated(7, 2), learned_spacings(24, 13)),
    "resnet": (ResNetBlock, nn.BatchNorm2d, standard(3), dilated(3, 2), learned_spacings(6, 5)),
}


def network(style: str, convolution: int, **settings: Any) -> ImageNetwork:
    block, norm, *convolutions = STYLES[style]
    torch.manual_seed(0)
    return ImageNetwork(
        *((1, 16, 16), 10, [8, 12], [2, 2], block, convolutions[convolution]),
        norm=norm,
        **settings,
    )


def size(net: nn.Module) -> int:
    return sum(one.numel() for one in net.parameters())


@pytest.mark.parametrize("style", STYLES)
def test_all_convolutions_have_as_many_parameters(style: str):
    sizes = [size(network(style, one)) for one in range(3)]
    assert sizes[0] == sizes[1]
    assert sizes[2] == pytest.approx(sizes[0], rel=0.01)
    apart = size(network(style, 2, share_positions=None))
    assert apart > 1.02 * sizes[2]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("convolution", range(3))
def test_every_parameter_learns_and_images_are_answered_one_by_one(style: str, convolution: int):
    net = network(style, convolution)
    x = torch.randn(2, 3, 1, 16, 16)
    net.train()
    net(x).square().mean().backward()
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in net.parameters())
    net.eval()
    y = net(x)
    assert y.shape == (2, 3, 10)
    torch.testing.assert_close(y[1, 2], net(x[1:, 2:])[0, 0], rtol=1e-4, atol=1e-5)


def test_positions_are_one_per_stage_and_stay_so():
    net = network("convnext", 2)
    for one in (net, copy.deepcopy(net)):
        found = [part.position for part in one.modules() if isinstance(part, DclsConv2d)]
        assert len(found) == 4
        assert found[0] is found[1]
        assert found[2] is found[3]
        assert found[0] is not found[2]
    groups = {group["name"]: group for group in parameter_groups(net, weight_lr=0.01)}
    assert len(groups["positions"]["params"]) == 2
    assert groups["positions"]["lr"] == pytest.approx(0.05)
    assert groups["positions"]["weight_decay"] == 0
    with torch.no_grad():
        groups["positions"]["params"][0].add_(100)
    clamp_delays_(net)
    assert groups["positions"]["params"][0].max().item() == 6.0


def test_first_positions_are_as_far_apart_as_asked():
    torch.manual_seed(0)
    wide = learned_spacings(30, 41, first_spread=4.0)(64, 64, 64, True)
    assert isinstance(wide, DclsConv2d)
    assert float(wide.position.std()) == pytest.approx(4.0, rel=0.05)


def test_a_block_is_its_equation():
    torch.manual_seed(0)
    block, x = ConvNeXtBlock(4, standard(3)), torch.randn(2, 4, 5, 6)
    y = block.depthwise(x).movedim(1, 3)
    torch.testing.assert_close(block(x), x + block.mlp(block.norm(y)).movedim(3, 1))
    dropped = ConvNeXtBlock(4, standard(3), drop_path=0.5).train()
    many = x.repeat(200, 1, 1, 1)
    moved = (dropped(many) - many).abs().sum((1, 2, 3)) > 0
    assert 0.4 < moved.double().mean() < 0.6
    assert bool((dropped.eval()(many) != many).flatten(1).any(1).all())


def test_what_is_no_image_is_refused_in_a_line():
    make = partial(ImageNetwork, n_classes=3, block=ConvNeXtBlock, convolution=standard(3))
    with pytest.raises(UsageError, match="images \\(C, H, W\\) of at least 4 × 4 for 2 stages"):
        make((140,), widths=[8, 8], depths=[1, 1])
    with pytest.raises(UsageError, match="depths must be one for each of widths"):
        make((1, 8, 8), widths=[8, 8], depths=[1])
    with pytest.raises(UsageError, match="a network for images has no spikes and no delays"):
        integer_table(make((1, 8, 8), widths=[4], depths=[1]), dt_ms=1.0)
