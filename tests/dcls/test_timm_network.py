"""timm's networks by name, with learnable spacings."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
import timm_models
import torch

from snn_delays.dcls import DclsConv2d
from snn_delays.dcls.timm_network import timm_network
from snn_delays.errors import UsageError


@pytest.fixture(scope="module", autouse=True)
def _timm() -> None:
    timm_models.imported()


def test_every_step_is_an_image(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "snn_delays"):
        net = timm_network(
            "convnext_atto", n_classes=5, n_channels=1, kernel_count=12, weight_std=0.02
        ).eval()
    assert "convnext_atto: 12 convolutions with learnable spacings" in caplog.text
    x = torch.randn(3, 2, 1, 32, 32)
    with torch.no_grad():
        y = net(x)
        assert y.shape == (3, 2, 5)
        torch.testing.assert_close(net(x[1:2])[0], y[1], rtol=1e-4, atol=1e-5)
    for own in net.modules():
        if isinstance(own, DclsConv2d):
            assert 0.01 < own.weight.std() < 0.025
            assert own.weight.abs().max() <= 2
            assert not own.bias.any()


def test_kernels_of_one_size() -> None:
    net = timm_network(
        "resnet18", n_classes=5, kernel_size=3, extent=7, same_parameters=True, share_positions=None
    )
    swapped = [own for own in net.modules() if isinstance(own, DclsConv2d)]
    assert len(swapped) == 16
    assert {own.kernel_count for own in swapped} == {3}
    assert sum(own.numel() for own in net.parameters()) == 11_179_077


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "convnext_tinny"}, r"no model 'convnext_tinny'; near are \['"),
        ({"drop_path": 1.0}, "drop_path must be a number >= 0 and < 1"),
        ({"weight_std": 0.0}, "weight_std must be a number > 0"),
        ({"kernel_size": 11}, "chooses none of"),
        ({"kernel_count": None}, "either kernel_count or same_parameters"),
    ],
)
def test_refusals(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        timm_network(**{"name": "convnext_atto", "n_classes": 5, "kernel_count": 3} | settings)


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"pip install 'snn-delays\[images\]'") as caught:
        timm_network("resnet18", n_classes=5, kernel_count=3)
    assert "\n" not in str(caught.value)
