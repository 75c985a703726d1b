"""PLIF with a time constant of each neuron: LIF neurons side by side, each with its own."""

from __future__ import annotations

import pytest
import torch

from snn_delays.errors import UsageError
from snn_delays.neurons import PLIFNode, lif


def test_each_neuron_is_a_lif_of_its_time_constant() -> None:
    torch.manual_seed(0)
    node, taus = PLIFNode(3, 2.0).double(), torch.tensor([1.5, 3.0, 10.0], dtype=torch.float64)
    assert (1 / (1 - node.beta())).tolist() == pytest.approx([2.0] * 3)
    with torch.no_grad():
        node.get_parameter("rate").copy_(-torch.log(taus - 1))
    x = torch.randn(20, 4, 3, dtype=torch.float64)
    own = x.clone().requires_grad_()
    spikes = node(own)
    (spikes * x).sum().backward()
    for neuron, tau in enumerate(taus.tolist()):
        alone = x[:, :, neuron : neuron + 1].clone().requires_grad_()
        expected = lif(tau)(alone)
        (expected * x[:, :, neuron : neuron + 1]).sum().backward()
        assert torch.equal(spikes[:, :, neuron : neuron + 1], expected)
        assert own.grad is not None
        assert alone.grad is not None
        torch.testing.assert_close(own.grad[:, :, neuron : neuron + 1], alone.grad)
    assert bool(node.get_parameter("rate").grad.any())  # pyright: ignore[reportOptionalMemberAccess]


def test_refused() -> None:
    with pytest.raises(UsageError, match="PLIFNode: tau must be above 1 step"):
        PLIFNode(3, 1.0)
