"""What is written to a layer between its forward and its backward pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from snn_delays import DelayLayer
from snn_delays.ops.plan import METHODS

METHODS_OF = {
    "synaptic": METHODS,
    "axonal": (*METHODS, "axonal"),
    "dendritic": (*METHODS, "dendritic"),
    "common": (*METHODS, "axonal", "dendritic"),
    "axonal+dendritic": ("auto", "reference"),
}
CASES = [
    (granularity, method, interpolation)
    for granularity, methods in METHODS_OF.items()
    for method in methods
    for interpolation in ("gaussian", "triangle")
    if (method, interpolation) != ("lowrank", "triangle")
]


def scaled(name: str) -> Callable[[DelayLayer], object]:
    return lambda layer: layer.get_parameter(name).mul_(1.7)


def masked(layer: DelayLayer) -> None:
    layer.set_mask(torch.rand(layer.weight.shape) < 0.5)


def of_sigma(layer: DelayLayer) -> None:
    layer.sigma = 0.1


CHANGES = {"weight": scaled("weight"), "mask": masked, "sigma": of_sigma}


@pytest.mark.parametrize(("granularity", "method", "interpolation"), CASES)
@pytest.mark.parametrize("change", [*CHANGES, "delays"])
def test_a_gradient_is_that_of_the_forward_pass_or_refused(
    granularity: str, method: str, interpolation: str, change: str
) -> None:
    torch.manual_seed(0)
    layer = DelayLayer(
        *(5, 4, 6),
        granularity=granularity,
        interpolation=interpolation,
        method=method,
        sigma=0.7,
    )
    x = (torch.rand(14, 3, 5) < 0.4).float()
    seen = [x.requires_grad_(), *layer.parameters()]

    def made() -> Tensor:
        layer.reset()
        y = layer(x)
        return (y * torch.arange(y.numel()).view(y.shape)).sum()

    expected, loss = torch.autograd.grad(made(), seen), made()
    with torch.no_grad():
        if change == "delays":
            for name in layer.delay_ranges:
                layer.get_parameter(name).mul_(0.5)
        else:
            CHANGES[change](layer)
    try:
        found = torch.autograd.grad(loss, seen)
    except RuntimeError as error:
        if "modified by an inplace operation" in str(error):
            return
        raise
    for one, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(one, wanted)
