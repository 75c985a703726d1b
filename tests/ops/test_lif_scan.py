"""The compiled LIF sweep gives SpikingJelly's numbers, forward and backward."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, neuron, surrogate

from snn_delays.neurons import LIFNode, ParametricLIFNode

CASES = list(
    itertools.product(
        (None, 0.0, 0.15),
        (True, False),
        (True, False),
        (
            surrogate.ATan(5.0),
            surrogate.Sigmoid(4.0),
            surrogate.Rect(1.5),
            surrogate.PiecewiseQuadratic(1.5),
            surrogate.PiecewiseExp(3.0),
        ),
        (True, False),
    )
)


def common(v_reset, detach, decay, slope, store) -> dict[str, Any]:
    """The settings of a case, but for the time constant."""
    return {
        "decay_input": decay,
        "v_threshold": 0.6,
        "v_reset": v_reset,
        "surrogate_function": slope,
        "detach_reset": detach,
        "step_mode": "m",
        "store_v_seq": store,
    }


def compare(theirs: neuron.BaseNode, ours: neuron.BaseNode, chunks: list[torch.Tensor]) -> None:
    """Spikes, membranes and gradients over successive chunks of one sequence."""
    found = []
    for node in (theirs, ours):
        inputs = [chunk.clone().requires_grad_() for chunk in chunks]
        spikes = torch.cat([node(chunk) for chunk in inputs])
        probe = torch.cos(torch.arange(spikes.numel(), dtype=spikes.dtype)).view_as(spikes)
        loss = (spikes * probe).sum() + (node.v * 0.3).sum()
        if node.store_v_seq:
            loss = loss + node.v_seq.square().sum()
        found.append(
            [spikes, node.v, *torch.autograd.grad(loss, [*inputs, *node.parameters()])]
            + ([node.v_seq] if node.store_v_seq else [])
        )
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-6, atol=1e-6)
    assert 0 < found[0][0].mean() < 1


@pytest.mark.parametrize(("v_reset", "detach", "decay", "slope", "store"), CASES)
def test_equals_spikingjelly(v_reset, detach, decay, slope, store):
    settings = {"tau": 1.7, **common(v_reset, detach, decay, slope, store)}
    chunks = list(torch.randn(25, 3, 300, dtype=torch.float64).split([11, 13, 1]))
    compare(neuron.LIFNode(**settings), LIFNode(**settings), chunks)


@pytest.mark.parametrize(("v_reset", "detach", "decay", "slope", "store"), CASES)
def test_a_learnable_time_constant_equals_spikingjelly(v_reset, detach, decay, slope, store):
    settings = {"init_tau": 1.7, **common(v_reset, detach, decay, slope, store)}
    chunks = list(torch.randn(25, 3, 300, dtype=torch.float64).split([11, 13, 1]))
    theirs, ours = neuron.ParametricLIFNode(**settings), ParametricLIFNode(**settings)
    compare(theirs.double(), ours.double(), chunks)


@pytest.mark.parametrize("kind", [LIFNode, ParametricLIFNode])
@pytest.mark.parametrize("v_reset", [None, 0.0, 0.15])
def test_without_gradients_the_numbers_are_the_same(kind, v_reset):
    node = kind(v_reset=v_reset, step_mode="m").double()
    x = 2 * torch.randn(25, 3, 300, dtype=torch.float64)
    spikes, v = node(x).detach(), node.v.detach()
    functional.reset_net(node)
    with torch.no_grad():
        assert torch.equal(node(x), spikes)
        torch.testing.assert_close(node.v, v)
    assert 0 < spikes.mean() < 1


def test_what_the_sweep_does_not_cover_runs_as_spikingjelly_runs_it():
    settings = {"tau": 2.0, "surrogate_function": surrogate.PiecewiseQuadratic(), "step_mode": "m"}
    compare(neuron.LIFNode(**settings), LIFNode(**settings), [3 * torch.randn(9, 2, 5).double()])


def test_single_steps_and_whole_sequences_agree():
    node = LIFNode(tau=1.5, decay_input=False, step_mode="m")
    x = torch.randn(12, 2, 6, dtype=torch.float64)
    whole = node(x)
    functional.reset_net(node)
    node.step_mode = "s"
    torch.testing.assert_close(torch.stack([node(step) for step in x]), whole)


def test_a_copy_and_a_compiled_node_work():
    node = LIFNode(tau=1.5, decay_input=False, surrogate_function=surrogate.ATan(), step_mode="m")
    x = torch.randn(12, 2, 6)
    expected = node(x)
    functional.reset_net(node)
    assert torch.equal(copy.deepcopy(node)(x), expected)


def test_gradient_of_a_spike_train_matches_the_written_equations():
    """h, s, v and the surrogate's slope by hand, one neuron, soft and hard reset."""
    x = torch.tensor([0.7, 0.9, -0.2, 1.4], dtype=torch.float64)
    beta, alpha = 0.5, 2.0
    for v_reset in (0.0, None):
        node = LIFNode(
            tau=2.0,
            decay_input=False,
            v_reset=v_reset,
            surrogate_function=surrogate.ATan(alpha),
            detach_reset=True,
            step_mode="m",
        )
        current = x.clone().requires_grad_()
        spikes = node(current[:, None])[:, 0]
        spikes[-1].backward()
        h, v = [], 0.0
        for value in x.tolist():
            h.append(beta * v + value)
            fired = h[-1] >= 1.0
            v = (0.0 if fired else h[-1]) if v_reset == 0.0 else h[-1] - fired
        slope = alpha / 2 / (1 + (torch.pi / 2 * alpha * (h[3] - 1)) ** 2)
        passes = [1.0 if v_reset is None or value < 1 else 0.0 for value in h]
        expected = [slope * beta**3 * passes[0] * passes[1] * passes[2]]
        expected += [slope * beta**2 * passes[1] * passes[2], slope * beta * passes[2], slope]
        torch.testing.assert_close(current.grad, torch.tensor(expected, dtype=torch.float64))
        assert spikes.tolist() == [float(value >= 1) for value in h]
