"""A normalisation and the neurons behind it in one sweep: the numbers of one module after the
other, and a third of their memory."""

from __future__ import annotations

import copy
import weakref
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, layer, surrogate
from torch import Tensor

from snn_delays.errors import UsageError
from snn_delays.neurons import LIFNode, ParametricLIFNode
from snn_delays.neurons.cubalif import CuBaLIFNode
from snn_delays.neurons.normalised import fired
from snn_delays.ops import normalised

SETTINGS: dict[str, dict[str, Any]] = {
    "hard": {},
    "to another value": {"v_reset": -0.3},
    "soft": {"v_reset": None},
    "not detached": {"detach_reset": False},
    "soft, not detached": {"v_reset": None, "detach_reset": False},
    "input decays": {"decay_input": True},
    "triangle": {"surrogate_function": surrogate.PiecewiseQuadratic(alpha=1.0)},
}


def node_of(**settings: Any) -> LIFNode:
    return LIFNode(**{"tau": 2.0, "decay_input": False, "step_mode": "m", **settings})


def norm_of(training: bool, channels: int = 5) -> layer.BatchNorm1d:
    norm = layer.BatchNorm1d(channels, step_mode="m").double().train(training)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_()
        norm.running_mean.normal_()  # pyright: ignore[reportOptionalMemberAccess]
        norm.running_var.uniform_(0.5, 2)  # pyright: ignore[reportOptionalMemberAccess]
    return norm


def found(fire: Any, norm: Any, node: LIFNode, parts: list[Tensor], twice: bool) -> list[Tensor]:
    """Spikes, v, statistics and gradients, of a sequence that comes in pieces."""
    functional.reset_net(node)
    spikes = torch.cat([fire(norm, node, part) for part in parts])
    assert isinstance(node.v, Tensor)
    probe = torch.cos(torch.arange(spikes.numel(), dtype=spikes.dtype)).view_as(spikes)
    loss = (spikes * probe).sum() + node.v.square().sum()
    inputs = [*parts, norm.weight, norm.bias]
    first = torch.autograd.grad(loss, inputs, create_graph=twice)
    values = [spikes, node.v, norm.running_mean, norm.running_var, norm.num_batches_tracked]
    if not twice:
        return [*values, *first]
    penalty = torch.stack([one.square().sum() for one in first]).sum()
    return [*values, *first, *torch.autograd.grad(penalty, inputs)]


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", SETTINGS)
def test_numbers_are_those_of_one_after_the_other(
    name: str, training: bool, twice: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(normalised, "SIZE", 4 * 3 * 5)  # blocks of 4 steps, the last of fewer
    node, norm = node_of(**SETTINGS[name]), norm_of(training)
    parts = [torch.randn(steps, 3, 5).double().requires_grad_() for steps in (11, 6)]
    other = copy.deepcopy(norm)
    ran: list[bool] = []
    sweep = normalised.sweep
    monkeypatch.setattr(normalised, "sweep", lambda *given: ran.append(True) or sweep(*given))
    both = found(fired, norm, node, parts, twice)
    assert len(ran) == 2
    expected = found(lambda norm, node, x: node(norm(x)), other, node, parts, twice)
    assert 0 < expected[0].mean() < 1
    for a, b in zip(both, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_of_currents_and_potentials_the_currents_alone_are_kept() -> None:
    node, norm = node_of(), norm_of(True, 64).float()
    x = torch.randn(50, 20, 64).requires_grad_()
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda saved: kept.append(saved.numel()) or saved, lambda saved: saved
    ):
        spikes = fired(norm, node, x)
    assert [size for size in kept if size >= x.numel()] == [x.numel()]
    known = weakref.ref(spikes.untyped_storage())
    spikes = spikes.sum()
    assert known() is None
    spikes.backward()
    assert x.grad is not None
    assert x.grad.abs().max() > 0


class Louder(LIFNode):
    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return super().forward(2 * x, *args, **kwargs)


class Halved(LIFNode):
    """Another equation, where SpikingJelly's nodes have theirs."""

    def multi_step_functional_forward(self, inputs: Any, states: Any, **kwargs: Any) -> Any:
        return super().multi_step_functional_forward((inputs[0] / 2,), states, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]


def unusual() -> dict[str, tuple[Any, Any]]:
    """Normalisations and nodes that run one after the other."""
    plain, hooked = norm_of(True), node_of()
    hooked.register_forward_hook(lambda *_: None)
    no_average = layer.BatchNorm1d(5, step_mode="m").double()
    no_average.momentum = None
    resting = norm_of(True)
    resting.track_running_stats = False  # as of those whose statistics are to stay
    patched = node_of()
    patched.forward = lambda x, *_, **__: (x > 0).to(x)
    bare = layer.BatchNorm1d(5, affine=False, step_mode="m").double()
    learned = ParametricLIFNode(init_tau=2.0, decay_input=False, step_mode="m").double()
    return {
        "a hook": (plain, hooked),
        "an average of all": (no_average, node_of()),
        "no constants": (bare, node_of()),
        "statistics at rest": (resting, node_of()),
        "a forward of its own": (plain, Louder(tau=2.0, step_mode="m")),
        "a forward that was put in": (plain, patched),
        "another equation": (plain, Halved(tau=2.0, step_mode="m")),
        "a time constant that is learned": (plain, learned),
        "every potential is kept": (plain, node_of(store_v_seq=True)),
        "synapses that leak first": (plain, CuBaLIFNode(tau=2.0, tau_syn=3.0, step_mode="m")),
        "no normalisation": (torch.nn.Identity(), node_of()),
        "another surrogate": (plain, node_of(surrogate_function=surrogate.Erf())),
    }


@pytest.mark.parametrize("name", unusual())
def test_what_one_sweep_does_not_know_runs_one_after_the_other(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    norm, node = unusual()[name]
    monkeypatch.setattr(normalised, "sweep", None)
    x = torch.randn(7, 3, 5).double().requires_grad_()
    other, again = copy.deepcopy(norm), copy.deepcopy(node)
    spikes = fired(norm, node, x)
    assert torch.equal(spikes, again(other(x)))
    for one, expected in zip(norm.buffers(), other.buffers(), strict=True):
        assert torch.equal(one, expected)
    assert spikes.grad_fn is not None or name == "a forward that was put in"


def test_gradients_of_gradients_reach_currents_that_are_no_rows() -> None:
    found = []
    for fire in (fired, lambda norm, node, x: node(norm(x))):
        torch.manual_seed(0)
        norm, node, x = norm_of(True), node_of(), torch.randn(7, 3, 5).double().requires_grad_()
        turned = (2 * x).transpose(0, 1).contiguous().transpose(0, 1)
        spikes = fire(norm, node, turned)
        loss = (spikes * torch.cos(torch.arange(spikes.numel())).view_as(spikes)).sum()
        (first,) = torch.autograd.grad(loss, x, create_graph=True)
        found.append((first, *torch.autograd.grad(first.square().sum(), (x, norm.weight))))
    for one, expected in zip(*found, strict=True):
        assert expected.any()
        torch.testing.assert_close(one, expected, rtol=1e-9, atol=1e-11)


def test_a_sequence_whose_backward_pass_has_run_is_still_named() -> None:
    node, norm = node_of(), norm_of(True)
    fired(norm, node, torch.randn(7, 3, 5).double().requires_grad_()).sum().backward()
    with pytest.raises(UsageError, match="backward pass has run"):
        fired(norm, node, torch.randn(7, 3, 5).double().requires_grad_()).sum().backward()
