"""Constants of neurons that torch's own tools put in place of the parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snn_delays import DelayLayer, clamp_delays_
from snn_delays.deploy import integer_table
from snn_delays.neurons import AdLIFNode, CAdLIFNode, PLIFNode, SEAdLIFNode, SiLIFNode
from snn_delays.neurons.cell import CellNode

NODES = pytest.mark.parametrize("make", [PLIFNode, AdLIFNode, CAdLIFNode, SEAdLIFNode, SiLIFNode])


def drawn() -> Tensor:
    return 4 * torch.randn(12, 3, 5)


def weighted(y: Tensor) -> Tensor:
    return (y * torch.arange(float(len(y)))[:, None, None]).sum()


@NODES
def test_torch_func_calls_with_other_constants(make: Callable[[int], CellNode]) -> None:
    """Values and gradients are those of a node that has these constants itself."""
    torch.manual_seed(0)
    node, own, x = make(5), make(5), drawn()
    given = {name: one.detach() for name, one in own.named_parameters()}

    def loss(constants: dict[str, Tensor]) -> Tensor:
        functional.reset_net(node)
        return weighted(torch.func.functional_call(node, constants, (x,)))

    weighted(own(x)).backward()
    gradients = torch.func.grad(loss)(given)
    for one in (node, own):
        functional.reset_net(one)
    assert torch.equal(torch.func.functional_call(node, given, (x,)), own(x))
    for name, one in own.named_parameters():
        torch.testing.assert_close(gradients[name], one.grad)
        assert one.grad is not None
        assert one.grad.abs().max() > 0


class _Twice(nn.Module):
    def forward(self, half: Tensor) -> Tensor:
        return 2 * half


@NODES
def test_a_parametrised_constant_acts_learns_and_is_exported(
    make: Callable[[int], CellNode],
) -> None:
    torch.manual_seed(0)
    node, own, x = make(5), make(5), drawn()
    name = next(iter(node.ranges))
    own.load_state_dict(node.state_dict())
    half = node.get_parameter(name).detach() / 2
    parametrize.register_parametrization(node, name, _Twice(), unsafe=True)
    original = node.get_parameter(f"parametrizations.{name}.original")
    with torch.no_grad():
        original.copy_(half)
    y = node(x)
    assert torch.equal(y, own(x))
    weighted(y).backward()
    functional.reset_net(own)
    weighted(own(x)).backward()
    of_own: Any = own.get_parameter(name).grad
    torch.testing.assert_close(original.grad, 2 * of_own)
    clamp_delays_(node)
    torch.testing.assert_close(original.detach(), half)
    tables = [
        integer_table(nn.Sequential(DelayLayer(4, 5, 3), one), dt_ms=1.0) for one in (node, own)
    ]
    for key, wanted in tables[1].populations[0].parameters.items():
        assert (tables[0].populations[0].parameters[key] == wanted).all(), key
