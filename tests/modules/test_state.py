"""Modules with a memory: copied at any time, and told when they should have been reset."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from drawn_networks import delay_snn, through_a_file, through_pickle
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

from snn_delays.errors import UsageError
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.layers.networks import rounded
from snn_delays.modules.state import reset_memories
from snn_delays.neurons import LeakyReadout, LIFNode, ParametricLIFNode


def sequential(store: bool = False) -> nn.Sequential:
    net = nn.Sequential(
        layer.Linear(5, 6, step_mode="m"),
        LIFNode(step_mode="m", v_threshold=0.3, store_v_seq=store),
        DelayLayer(6, 7, 4, sigma=0.6),
        ParametricLIFNode(step_mode="m", v_threshold=0.3),
        DelayLayer(7, 3, 4, sigma=0.0),
        LeakyReadout(3.0),
    )
    with torch.no_grad():
        net[0].weight.abs_().mul_(4)
        net[2].weight.abs_().mul_(4)
    return net


NETS: dict[str, Callable[[], nn.Module]] = {
    "DelaySNN": lambda: delay_snn([5, 6, 3], 4, dropout=0.0),
    "Sequential": sequential,
    "with v_seq": lambda: sequential(store=True),
}


def spikes(*shape: int) -> Tensor:
    return (torch.rand(*shape) < 0.4).float()


def step_by_step(net: nn.Module, x: Tensor) -> Tensor:
    functional.set_step_mode(net, "s")
    return torch.stack([net(step) for step in x])


# --- copies ---------------------------------------------------------------------------------------


def averaged(net: nn.Module) -> nn.Module:
    return AveragedModel(net, use_buffers=True).module


@pytest.mark.parametrize("duplicate", [copy.deepcopy, averaged, through_pickle, through_a_file])
@pytest.mark.parametrize("kind", NETS)
def test_a_network_is_copied_straight_after_a_training_step(
    kind: str, duplicate: Callable[[nn.Module], nn.Module]
) -> None:
    net = NETS[kind]()
    x = spikes(9, 2, 5)
    net(x).sum().backward()
    copied = duplicate(net)
    # Memory included: both go on from the same history.
    with torch.no_grad():
        assert torch.equal(copied(x), net(x))
        for parameter in copied.parameters():
            parameter.add_(0.1)
    assert not torch.equal(next(copied.parameters()), next(net.parameters()))
    functional.reset_net(copied)
    copied(x).sum().backward()
    assert all(p.grad is not None for p in copied.parameters())


@pytest.mark.parametrize("kind", NETS)
def test_a_rounded_copy_leaves_the_network_its_memory_and_its_graph(kind: str) -> None:
    net = NETS[kind]()
    x = spikes(9, 2, 5)
    first = net(x)
    before = {name: dict(module.__dict__) for name, module in net.named_modules()}
    held = [dict(module._memories) for module in net.modules() if hasattr(module, "_memories")]
    copied = rounded(net)
    for name, module in net.named_modules():
        assert {k: id(v) for k, v in module.__dict__.items()} == {
            k: id(v) for k, v in before[name].items()
        }
    now = [dict(module._memories) for module in net.modules() if hasattr(module, "_memories")]
    for old, new in zip(held, now, strict=True):
        assert all(old[name] is new[name] for name in old)
    assert all(value is None or isinstance(value, float) for value in memory_of(copied))
    first.sum().backward()


def memory_of(net: nn.Module) -> list[Any]:
    stateful = [module for module in net.modules() if hasattr(module, "_memories")]
    return [value for module in stateful for value in module._memories.values()]


def test_a_parametrised_layer_is_copied_with_its_memory() -> None:
    class Halved(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight / 2

    delayed = DelayLayer(5, 3, 4)
    parametrize.register_parametrization(delayed, "weight", Halved())
    x = spikes(9, 2, 5) * torch.ones(1, requires_grad=True)
    delayed(x).sum().backward(retain_graph=True)
    copied = copy.deepcopy(delayed)
    with torch.no_grad():
        assert torch.equal(copied(x), delayed(x))


@pytest.mark.parametrize("kind", ["DelaySNN", "with v_seq"])
@pytest.mark.parametrize("mode", ["m", "s"])
def test_copies_made_in_inference_mode_learn_like_others(kind: str, mode: str) -> None:
    net = NETS[kind]().eval()
    if kind == "with v_seq":
        del net[0]  # torch's own modules are copied by torch's own rules
        net.insert(0, DelayLayer(5, 6, 4))
    functional.set_step_mode(net, mode)
    x = spikes(9, 2, 5)
    with torch.inference_mode():
        run = net if mode == "m" else lambda x: step_by_step(net, x)
        run(x)
        copies = [copy.deepcopy(net), rounded(net)]
        for copied in (net, *copies):
            copied(x[0] if mode == "s" else x)
    for each in (net, *copies):
        assert not any(p.is_inference() for p in [*each.parameters(), *each.buffers()])
        # From what inference mode left, and afresh.
        for _ in range(2):
            y = step_by_step(each, x) if mode == "s" else each(x)
            y.sum().backward()
            functional.reset_net(each)


# --- a forgotten reset ----------------------------------------------------------------------------

FORGOTTEN = (
    r"^\w+: remembers a sequence whose backward pass has run\. Call functional\.reset_net\(net\) "
    r"before every new sequence, or functional\.detach_net\(net\) to go on from the last\.$"
)


@pytest.mark.parametrize("leaf", [True, False])
@pytest.mark.parametrize(
    ("kind", "mode"),
    [("DelaySNN", "s"), *((kind, mode) for kind in ("Sequential", "with v_seq") for mode in "ms")],
)
def test_a_forgotten_reset_is_named(kind: str, mode: str, leaf: bool) -> None:
    net = NETS[kind]()
    functional.set_step_mode(net, mode)

    def train() -> None:
        x = spikes(9, 2, 5)
        run = net if mode == "m" else lambda x: step_by_step(net, x)
        run(x.requires_grad_() if leaf else x).square().sum().backward()

    train()
    with pytest.raises(UsageError, match=FORGOTTEN):
        train()
    functional.reset_net(net)
    train()
    functional.detach_net(net)
    train()


@pytest.mark.parametrize("mode", ["m", "s"])
@pytest.mark.parametrize("node", [LIFNode, ParametricLIFNode, lambda **_: LeakyReadout(2.0)])
def test_a_forgotten_reset_is_named_where_the_loss_is_of_potentials(
    node: Callable[..., Any], mode: str
) -> None:
    last = node(v_threshold=1e3)
    net = nn.Sequential(DelayLayer(5, 3, 4), last)
    functional.set_step_mode(net, mode)
    x = spikes(9, 2, 5)

    def train() -> None:
        net(x) if mode == "m" else step_by_step(net, x)
        last.v.square().sum().backward()

    train()
    with pytest.raises(UsageError, match=FORGOTTEN):
        train()


@pytest.mark.parametrize("kept", ["retain_graph", "create_graph"])
def test_a_graph_that_was_kept_is_gone_through_again(kept: str) -> None:
    net = sequential()
    x = spikes(9, 2, 5)
    loss = net(x[:5]).square().sum()
    if kept == "retain_graph":
        loss.backward(retain_graph=True)
    else:
        torch.autograd.grad(loss, list(net.parameters()), create_graph=True)
    # The second piece reaches the first through the memory.
    (first,) = torch.autograd.grad(net(x[5:]).square().sum(), net[0].weight)
    functional.reset_net(net)
    net(x[:5])
    (expected,) = torch.autograd.grad(net(x[5:]).square().sum(), net[0].weight)
    torch.testing.assert_close(first, expected)


def test_pieces_are_trained_together_or_cut() -> None:
    net = sequential()
    x = spikes(12, 2, 5)
    whole = torch.autograd.grad(net(x).square().sum(), net[0].weight)[0]
    functional.reset_net(net)
    parts = torch.cat([net(piece) for piece in x.split(4)])
    torch.testing.assert_close(torch.autograd.grad(parts.square().sum(), net[0].weight)[0], whole)
    functional.reset_net(net)
    for piece in x.split(4):  # truncated
        net(piece).square().sum().backward()
        functional.detach_net(net)


def test_what_never_goes_back_may_go_on() -> None:
    net = sequential()
    x = spikes(9, 2, 5)
    net(x).sum().backward()
    after = net(x)  # with a graph that nobody follows
    with torch.no_grad():
        net(x)
    assert after.isfinite().all()


def test_an_error_of_the_user_keeps_its_type_in_a_network_of_spikingjellys_neurons() -> None:
    net = nn.Sequential(
        layer.Linear(5, 6, step_mode="m"),
        neuron.LIFNode(step_mode="m", v_threshold=0.1),
        DelayLayer(6, 3, 4),
        LeakyReadout(2.0),
    )
    net(spikes(9, 2, 5)).sum().backward()
    with pytest.raises(UsageError, match=FORGOTTEN):
        net(spikes(9, 2, 5)).sum().backward()


# --- checkpoints ----------------------------------------------------------------------------------

REPEATED = (
    r"^\w+: torch\.utils\.checkpoint repeats a forward pass, but not from the memory that it began "
    r"with\. Checkpoint a function that calls functional\.reset_net\(net\) first\.$"
)


def gradients(net: nn.Module, run: Callable[[Tensor], Tensor], x: Tensor) -> list[Tensor]:
    net.zero_grad()
    run(x).square().sum().backward()
    return [p.grad.clone() for p in net.parameters() if p.grad is not None]


@pytest.mark.parametrize("mode", ["m", "s"])
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("kind", NETS)
def test_a_checkpointed_function_that_resets_gives_the_same_gradients(
    kind: str, reentrant: bool, mode: str
) -> None:
    net = NETS[kind]().eval()

    def fresh(x: Tensor) -> Tensor:
        functional.reset_net(net)
        return net(x) if mode == "m" else step_by_step(net, x)

    x = spikes(9, 2, 5).requires_grad_()
    expected = gradients(net, fresh, x)
    for _ in range(2):
        found = gradients(net, lambda x: checkpoint(fresh, x, use_reentrant=reentrant), x)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("mode", ["m", "s"])
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("node", [lambda: LIFNode(v_threshold=0.3), lambda: DelayLayer(3, 3, 2)])
def test_a_checkpoint_from_another_memory_is_refused(
    node: Callable[[], nn.Module], reentrant: bool, mode: str
) -> None:
    net = node()
    functional.set_step_mode(net, mode)

    def run(x: Tensor) -> Tensor:
        return net(x) if mode == "m" else torch.stack([net(step) for step in x])

    y = checkpoint(run, torch.rand(5, 2, 3, requires_grad=True), use_reentrant=reentrant)
    with pytest.raises(UsageError, match=REPEATED):
        y.sum().backward()


def test_a_checkpoint_that_loads_the_memory_it_began_with_is_right() -> None:
    node = LIFNode(step_mode="m", v_threshold=0.3)
    x = torch.rand(8, 2, 3, requires_grad=True)
    (expected,) = torch.autograd.grad(node(x).square().sum() + node.v.sum(), x)
    functional.reset_net(node)

    def piece(x: Tensor, v: Tensor | float) -> tuple[Tensor, Tensor | float]:
        node.v = v
        return node(x), node.v

    v: Tensor | float = 0.0
    loss = torch.zeros(())
    for part in x.split(2):
        y, v = checkpoint(piece, part, v, use_reentrant=False)
        loss = loss + y.square().sum()
    assert isinstance(v, Tensor)
    (found,) = torch.autograd.grad(loss + v.sum(), x)
    torch.testing.assert_close(found, expected)


# --- memories without numbers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [lambda: DelayLayer(5, 5, 4), lambda: LIFNode(step_mode="m"), lambda: LeakyReadout(2.0)]
)
@pytest.mark.parametrize(
    "run",
    [
        lambda net, x: torch.func.vmap(net, in_dims=1)(x.unsqueeze(2)),
        lambda net, x: torch.func.grad(lambda x: net(x).sum())(x),
    ],
)
@pytest.mark.parametrize("grad", [True, False])
def test_a_memory_that_a_transform_left_is_refused(
    make: Callable[[], nn.Module], run: Callable[[Any, Tensor], Tensor], grad: bool
) -> None:
    net = make()
    x = spikes(9, 2, 5)
    run(net, x)
    with (
        torch.set_grad_enabled(grad),
        pytest.raises(UsageError, match=r"remembers a sequence without numbers.*reset_net\(net\)"),
    ):
        net(x)
    functional.reset_net(net)
    net(x)


@pytest.mark.parametrize("mode", ["m", "s"])
@pytest.mark.parametrize("node", [lambda: LIFNode(), lambda: LeakyReadout(2.0)])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_batch_of_another_size_than_the_remembered_is_named(
    node: Callable[[], nn.Module], mode: str, batch: int
) -> None:
    net = node()
    functional.set_step_mode(net, mode)
    lead = (5,) if mode == "m" else ()
    net(torch.rand(*lead, 3, 4))
    with pytest.raises(UsageError, match=rf"remembers potentials \[3, 4\], got .*\[{batch}, 4\]"):
        net(torch.rand(*lead, batch, 4))
    functional.reset_net(net)
    net(torch.rand(*lead, batch, 4))


def test_a_memory_that_was_cut_is_no_memory_to_repeat_from() -> None:
    net, before = LIFNode(step_mode="m", v_threshold=0.8), layer.Linear(5, 5, step_mode="m")
    x = torch.rand(20, 2, 5)
    net(before(x[:10]).detach())
    functional.detach_net(net)
    y = checkpoint(lambda x: net(before(x)), x[10:], use_reentrant=False)
    functional.detach_net(net)
    with pytest.raises(UsageError, match=REPEATED):
        y.sum().backward()


def test_a_reset_lets_the_memory_go() -> None:
    node = LIFNode(step_mode="m", store_v_seq=True)
    with torch.no_grad():
        node(torch.rand(9, 2, 5))
    seen = weakref.ref(node.v_seq)
    functional.reset_net(node)
    assert seen() is None


def test_a_reset_of_another_kind_is_left_alone():
    """timm's heads have a ``reset(num_classes)`` that makes a new classifier."""

    class Head(torch.nn.Linear):
        def reset(self, num_classes: int) -> None:
            raise AssertionError("asked for a new classifier")

    class Own(torch.nn.Module):
        calls = 0

        def reset(self, hard: bool = True, *more: int, **named: int) -> None:
            self.calls += 1

    net = torch.nn.Sequential(DelayLayer(3, 2, 4), Head(2, 2), Own())
    net[0](torch.rand(5, 1, 3))
    reset_memories(net)
    assert net[0].history is None
    assert net[2].calls == 1
    assert rounded(net)[2].calls == 2
