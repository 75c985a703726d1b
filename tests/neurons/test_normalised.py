"""A normalisation, the neurons behind it and their dropout in one sweep: the numbers of one module
after the other, and a third of their memory."""

from __future__ import annotations

import copy
import weakref
from functools import partial
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, layer, surrogate
from torch import Tensor

from snn_delays.errors import UsageError
from snn_delays.neurons import LIFNode, ParametricLIFNode
from snn_delays.neurons.cubalif import CuBaLIFNode
from snn_delays.neurons.normalised import Counting, passed
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


def call_with(way: Any, dropout: Any, norm: Any, node: Any, x: Tensor) -> Tensor:
    return way(norm, node, dropout, x)


def one_by_one(norm: Any, node: Any, dropout: Any, x: Tensor) -> Tensor:
    return dropout(node(norm(x)))


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", SETTINGS)
def test_numbers_are_those_of_one_after_the_other(
    name: str, training: bool, twice: bool, dropped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(normalised, "STEPS", 4)  # parts of 4 steps, the last of fewer
    node, norm = node_of(**SETTINGS[name]), norm_of(training)
    parts = [torch.randn(steps, 3, 5).double().requires_grad_() for steps in (11, 6)]
    other = copy.deepcopy(norm)
    ran: list[bool] = []
    sweep = normalised.sweep
    monkeypatch.setattr(normalised, "sweep", lambda *given: ran.append(True) or sweep(*given))
    dropout = layer.Dropout(0.4, step_mode="m") if dropped else torch.nn.Identity()
    ways = (passed, norm), (one_by_one, other)
    results = []
    for way, its_norm in ways:
        torch.manual_seed(0)
        functional.reset_net(dropout)
        fire = partial(call_with, way, dropout)
        results.append(found(fire, its_norm, node, parts, twice))
    both, expected = results
    assert len(ran) == 2
    assert 0 < (expected[0] > 0).double().mean() < 1
    if dropped:
        assert torch.equal(expected[0].unique(), torch.tensor([0, 1 / 0.6], dtype=torch.float64))
    for a, b in zip(both, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("shape", [(9, 7, 5), (40, 3, 600), (5, 2, 2100)])
def test_of_singles_spikes_and_their_numbers_are_the_same(shape: tuple[int, int, int]) -> None:
    """Without gradients, in training and in evaluation; blocks of several samples and of one."""
    told: list[Any] = []
    for training in (True, False):
        told.clear()
        norm, node = norm_of(training, shape[2]).float(), node_of()
        other = copy.deepcopy(norm)
        x = torch.randn(shape)
        handle = node.register_forward_hook(Counting(lambda *given: told.append(given)))
        dropout = layer.Dropout(0.4, step_mode="m").train(training)
        with torch.no_grad():
            y = passed(norm, node, dropout, x)
            functional.reset_net(node)
            handle.remove()
            spikes = node(other(x))
        torch.testing.assert_close(y, dropout(spikes))
        ((counts, neurons),) = told
        assert neurons == shape[2]
        assert torch.equal(counts, spikes.sum(2))
        torch.testing.assert_close(norm.running_var, other.running_var)


def test_a_hook_that_counts_is_told_alike_by_both(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    node, norm, x = node_of(), norm_of(True), torch.randn(7, 3, 5).double()
    node.register_forward_hook(Counting(lambda *given: told.append(given)))
    for _ in range(2):
        functional.reset_net(node)
        passed(norm, node, torch.nn.Identity(), x)
        monkeypatch.setattr(normalised, "normalised_cpu", None)
    (counts, neurons), (expected, again) = told
    assert torch.equal(counts.float(), expected)
    assert counts.sum() > 0
    assert neurons == again == 5


def test_of_currents_and_potentials_the_currents_alone_are_kept() -> None:
    node, norm = node_of(), norm_of(True, 64).float()
    x = torch.randn(50, 20, 64).requires_grad_()
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda saved: kept.append(saved.numel()) or saved, lambda saved: saved
    ):
        spikes = passed(norm, node, torch.nn.Identity(), x)
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
    doubled = norm_of(True)
    doubled.forward = lambda x: 2 * x
    return {
        "a hook": (plain, hooked),
        "a normalisation of its own": (doubled, node_of()),
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
    spikes = passed(norm, node, torch.nn.Identity(), x)
    assert torch.equal(spikes, again(other(x)))
    for one, expected in zip(norm.buffers(), other.buffers(), strict=True):
        assert torch.equal(one, expected)
    assert spikes.grad_fn is not None or name == "a forward that was put in"


def test_gradients_of_gradients_reach_currents_that_are_no_rows() -> None:
    found = []
    for fire in (passed, one_by_one):
        torch.manual_seed(0)
        norm, node, x = norm_of(True), node_of(), torch.randn(7, 3, 5).double().requires_grad_()
        turned = (2 * x).transpose(0, 1).contiguous().transpose(0, 1)
        spikes = fire(norm, node, torch.nn.Identity(), turned)
        loss = (spikes * torch.cos(torch.arange(spikes.numel())).view_as(spikes)).sum()
        (first,) = torch.autograd.grad(loss, x, create_graph=True)
        found.append((first, *torch.autograd.grad(first.square().sum(), (x, norm.weight))))
    for one, expected in zip(*found, strict=True):
        assert expected.any()
        torch.testing.assert_close(one, expected, rtol=1e-9, atol=1e-11)


def test_a_sequence_whose_backward_pass_has_run_is_still_named() -> None:
    node, norm = node_of(), norm_of(True)
    sequences = torch.randn(2, 7, 3, 5).double().requires_grad_()
    passed(norm, node, torch.nn.Identity(), sequences[0]).sum().backward()
    with pytest.raises(UsageError, match="backward pass has run"):
        passed(norm, node, torch.nn.Identity(), sequences[1]).sum().backward()


def test_what_looks_at_dropout_sees_spikes() -> None:
    seen: list[Any] = []
    dropout = layer.Dropout(0.4, step_mode="m")
    dropout.register_forward_hook(lambda _, inputs, output: seen.extend([inputs[0], output]))
    y = passed(norm_of(True), node_of(), dropout, torch.randn(7, 3, 5).double())
    spikes, output = seen
    assert torch.equal(output, y)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
