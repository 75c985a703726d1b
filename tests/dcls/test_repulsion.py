"""The repulsive loss against its definition, pair by pair, and as ConvNeXt-dcls computes it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from snn_delays import regularisers
from snn_delays.dcls import DclsConv1d, DclsConv2d, DclsConv3d
from snn_delays.errors import UsageError
from snn_delays.network import DelaySNN
from snn_delays.regularisers import Repulsion, repulsive_loss

KINDS: dict[int, Any] = {1: DclsConv1d, 2: DclsConv2d, 3: DclsConv3d}


def by_definition(positions: list[torch.Tensor]) -> torch.Tensor:
    means = []
    for position in positions:
        kernels = position.flatten(1, -2).permute(1, 2, 0)  # [kernels, k, axes]
        near = [
            torch.clamp(1 - torch.dist(one[i], one[j]), min=0)
            for one in kernels
            for i, j in itertools.combinations(range(one.shape[0]), 2)
        ]
        means.append(torch.stack(near).mean())
    return torch.stack(means).mean() ** 2


@given(
    dimensions=st.integers(1, 3),
    channels=st.integers(1, 3),
    kernel_count=st.integers(2, 6),
    at_once=st.sampled_from([1, 20, 2**22]),
)
def test_it_is_its_definition(
    dimensions: int, channels: int, kernel_count: int, at_once: int
) -> None:
    net = nn.Sequential(
        KINDS[dimensions](channels, 2, kernel_count, extent=5),
        KINDS[dimensions](2, 3, kernel_count + 1, extent=7, learned_axes=[0]),
    ).double()
    own = [layer.position for layer in net]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regularisers, "_AT_ONCE", at_once)
        found = repulsive_loss(net)
        gradients = torch.autograd.grad(found, own)
    expected = by_definition(own)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for one, other in zip(gradients, torch.autograd.grad(expected, own), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_it_is_that_of_cdist() -> None:
    """The published code takes distances of all pairs, both ways."""
    layer = DclsConv2d(6, 6, 9, extent=17, groups=6)
    places = layer.position.flatten(1, -2).permute(1, 2, 0)
    near = (1 - torch.cdist(places, places)).triu(diagonal=1).clamp(min=0)
    expected = (2 * near.sum() / (9 * 8 * 6)) ** 2
    torch.testing.assert_close(repulsive_loss(layer), expected, rtol=1e-5, atol=0)


def test_shared_positions_count_once() -> None:
    first, second, other = (DclsConv2d(4, 4, 5, extent=9, groups=4) for _ in range(3))
    second.position = first.position
    net = nn.Sequential(first, second, other)
    expected = by_definition([first.position, other.position])
    torch.testing.assert_close(repulsive_loss(net), expected)


def test_it_parts_elements_but_none_at_one_place() -> None:
    layer = DclsConv2d(3, 3, 8, extent=17, groups=3)
    optimizer = torch.optim.SGD([layer.position], lr=2.0)
    before = repulsive_loss(layer).item()
    for _ in range(300):
        optimizer.zero_grad()
        repulsive_loss(layer).backward()
        optimizer.step()
        layer.clamp_()
    assert repulsive_loss(layer).item() < before / 100
    with torch.no_grad():
        layer.position.zero_()
    layer.position.grad = None
    repulsive_loss(layer).backward()
    assert repulsive_loss(layer).item() == 1.0
    assert (layer.position.grad == 0).all()  # and not NaN


def test_single_elements_have_no_pairs() -> None:
    single = DclsConv2d(3, 3, 1, extent=5)
    assert repulsive_loss(single).item() == 0.0
    pair = DclsConv2d(3, 3, 2, extent=5)
    torch.testing.assert_close(repulsive_loss(nn.Sequential(single, pair)), repulsive_loss(pair))


def test_distances_of_a_part_are_not_kept() -> None:
    """What autograd saves for many kernels are the positions, not their n² distances."""
    layer = DclsConv1d(64, 64, 30, extent=51)
    sizes: list[int] = []
    with (
        pytest.MonkeyPatch.context() as patch,
        torch.autograd.graph.saved_tensors_hooks(
            lambda one: sizes.append(one.numel()) or one, lambda one: one
        ),
    ):
        patch.setattr(regularisers, "_AT_ONCE", 2**14)
        repulsive_loss(layer).backward()
    assert sum(sizes) < 4 * layer.position.numel()  # pairs are 14.5 times as many


def test_regulariser_and_refusals() -> None:
    layer = DclsConv2d(3, 3, 4, extent=5)
    torch.testing.assert_close(Repulsion(0.25)(layer), repulsive_loss(layer) / 4)
    with pytest.raises(UsageError, match="Repulsion: strength must be a number >= 0"):
        Repulsion(-1.0)
    with pytest.raises(UsageError, match="learned positions.*DelaySNN with none"):
        repulsive_loss(DelaySNN([3, 4, 2]))
