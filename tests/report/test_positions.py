"""The picture of learned positions: what is drawn, and that it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import nn

from snn_delays import DelayConv1d, DelayConv2d
from snn_delays.dcls import DclsConv1d, DclsConv2d, DclsConv3d
from snn_delays.report.positions import _elements, _stages, draw_positions


def test_shares_are_of_elements_or_of_their_strength():
    one, two = (DclsConv2d(2, 2, 1, extent=(3, 5), groups=2) for _ in range(2))
    with torch.no_grad():
        one.weight.copy_(torch.tensor([1.0, -2.0]).view_as(one.weight))
        two.weight.copy_(torch.tensor([3.0, 4.0]).view_as(two.weight))
        one.position[0], one.position[1] = 1.0, -2.0
    places, shares = _elements([one, two], True)
    assert places[:, :2].tolist() == [[1.0, 1.0], [-2.0, -2.0]]
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert _elements([one, two], False)[1] == pytest.approx([0.25] * 4)


def test_kernels_of_one_shape_are_one_stage():
    net = nn.Sequential(*(DclsConv2d(2, 2, 3, extent=5) for _ in range(2)), nn.Conv2d(2, 2, 3))
    net.append(DclsConv2d(2, 2, 3, extent=7))
    assert [[name for name, _ in stage] for stage in _stages(net).values()] == [["0", "1"], ["3"]]
    placed = DelayConv1d(1, 1, 3, 4, kernel_count=2, spacing="learned")
    ((name, kernels),) = next(iter(_stages(nn.Sequential(placed)).values()))
    original: Any = placed.parametrizations.weight
    assert (name, kernels.kernel_count) == ("0", 2)
    assert kernels.weight is original.original


@pytest.mark.parametrize(
    "conv",
    [
        DclsConv1d(2, 2, 3, extent=9),
        DclsConv2d(2, 2, 3, extent=(5, 9)),
        DclsConv2d(2, 2, 3, extent=(3, 9), learned_axes=[1]),
        DclsConv3d(2, 2, 3, extent=(3, 5, 7)),
        DelayConv2d(2, 2, (3, 5), 4, kernel_count=3, spacing="learned"),
    ],
    ids=["1d", "2d", "one axis", "3d", "beside delays"],
)
def test_any_kernel_can_be_drawn(conv: nn.Module, tmp_path: Path):
    path = tmp_path / "new/positions.png"
    draw_positions(nn.Sequential(conv), nn.Sequential(conv), path)
    assert len(np.unique(imread(path)[..., :3].reshape(-1, 3), axis=0)) > 20
