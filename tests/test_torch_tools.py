"""Layers, neurons and networks in torch's tools: tracers, exporters, torch.func, fake tensors."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from drawn_networks import delay_snn
from spikingjelly.activation_based import base, functional, surrogate
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jacrev, jvp, stack_module_state, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

from snn_delays.errors import UsageError
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.network import DelaySNN
from snn_delays.neurons import LeakyReadout, LIFNode, ParametricLIFNode

# Compilers and tracers take functions as they are; checks of annotations are no part of them.
pytestmark = pytest.mark.usefixtures("unchecked")


class Fresh(nn.Module):
    """A module that starts every sequence from silence, as tracers need it."""

    def __init__(self, net: nn.Module, mode: str = "m") -> None:
        super().__init__()
        self.net = net
        self.mode = mode
        functional.set_step_mode(net, mode)

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self.net)
        return self.net(x) if self.mode == "m" else torch.stack([self.net(s) for s in x.unbind()])


def network(**options: Any) -> DelaySNN:
    net = delay_snn([5, 6, 3], 4, **options).eval()
    with torch.no_grad():
        net.blocks[0].synapses.weight.abs_().mul_(4)  # so that spikes arrive
    return net


MAKE: dict[str, Callable[[], nn.Module]] = {
    "wide": lambda: DelayLayer(5, 3, 12, method="lowrank"),
    "narrow": lambda: DelayLayer(5, 3, 4, sigma=0.5, kernel_count=2, method="taps"),
    "rounded": lambda: DelayLayer(5, 3, 4, sigma=0.0, bias=True),
    "triangle": lambda: DelayLayer(5, 3, 4, interpolation="triangle", sigma=0.3),
    "LIF": lambda: LIFNode(v_threshold=0.3, surrogate_function=surrogate.ATan()),
    "soft LIF": lambda: LIFNode(v_threshold=0.3, v_reset=None, store_v_seq=True),
    "parametric LIF": lambda: ParametricLIFNode(v_threshold=0.3, detach_reset=True),
    "readout": lambda: LeakyReadout(2.0),
    "network": lambda: network(sigma=0.5),
}

# Step by step what a network is made of; a step is much the same in every kind of layer.
CASES = [*((kind, "m") for kind in MAKE), ("network", "s"), ("parametric LIF", "s")]


def sample(*, batch: int = 2) -> Tensor:
    return (torch.rand(6, batch, 5) < 0.3).float()


def close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


# --- tracers and exporters ------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(("kind", "mode"), CASES)
def test_a_trace_is_the_module(kind: str, mode: str) -> None:
    net = Fresh(MAKE[kind](), mode)
    traced = torch.jit.trace(net, sample())
    x = sample()
    close(traced(x), net(x))


@pytest.mark.parametrize(("kind", "mode"), CASES)
def test_an_exported_program_is_the_module_in_torchs_own_operators(kind: str, mode: str) -> None:
    net = Fresh(MAKE[kind](), mode)
    program = torch.export.export(net, (sample(),))
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert targets
    assert not [name for name in targets if "snn_delays" in name or "sj_" in name]
    x = sample()
    close(program.module()(x), net(x))


class Step(nn.Module):
    """One step of a network as a function of its input and memories."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.step = base.to_functional_forward(net)

    def forward(self, x: Tensor, *memories: Tensor) -> tuple[Tensor, ...]:
        (y,), memories = self.step((x,), memories)
        return y, *memories


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("tool", [torch.jit.trace, torch.export.export])
def test_a_step_that_is_given_its_memories_streams_elsewhere(tool: Callable[..., Any]) -> None:
    net = network(sigma=0.5, dropout=0.0)
    functional.set_step_mode(net, "s")
    x = sample()
    with torch.no_grad():
        expected = [net(step) for step in x]
        memories = [torch.zeros_like(memory) for memory in base.extract_memories(net)]
        functional.reset_net(net)
        step = tool(Step(net).eval(), (x[0], *memories))
        run = step.module() if tool is torch.export.export else step
        for now, wanted in zip(x, expected, strict=True):
            y, *memories = run(now, *memories)
            close(y, wanted)
    assert expected[-1].abs().max() > 0


def test_an_exported_network_takes_batches_of_any_size() -> None:
    net = network()
    program = torch.export.export(
        net, (sample(),), dynamic_shapes={"x": {1: torch.export.Dim("batch", min=1, max=64)}}
    )
    for batch in (1, 7):
        x = sample(batch=batch)
        close(program.module()(x), net(x))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("dynamo", "sigma"), [(True, 0.5), (False, None), (False, 0.0)])
def test_onnx_is_the_network(dynamo: bool, sigma: float | None) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    net = network(sigma=sigma)
    file = io.BytesIO()
    torch.onnx.export(net, (sample(),), file, dynamo=dynamo)
    session = runtime.InferenceSession(file.getvalue())
    x = sample()
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    close(torch.from_numpy(found), net(x).detach())


@pytest.mark.parametrize("kind", MAKE)
def test_a_graph_of_operators_is_the_module(kind: str) -> None:
    net = Fresh(MAKE[kind]())
    with torch.no_grad():
        graph = make_fx(net)(sample())
        x = sample()
        close(graph(x), net(x))


def test_a_trace_that_goes_on_from_a_memory_is_refused() -> None:
    for kind, warm in (("narrow", True), ("LIF", True), ("parametric LIF", False)):
        net = MAKE[kind]()
        functional.set_step_mode(net, "m")
        if warm:
            net(sample())
        # Cold it is the second trace, which checks the first, that goes on.
        with pytest.raises(UsageError, match=r"from before this trace\. Trace a module whose forw"):
            torch.jit.trace(net, sample())
        functional.reset_net(net)
        assert net(sample()).isfinite().all()


# --- torch.func -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MAKE)
def test_transforms_see_the_module(kind: str) -> None:
    net = Fresh(MAKE[kind]())
    x = sample(batch=3)
    y = net(x)
    # vmap over the batch, each with a batch of its own
    close(vmap(net, in_dims=1, out_dims=1)(x.unsqueeze(2)).squeeze(2), y)

    def loss(x: Tensor) -> Tensor:
        return (net(x) * torch.arange(y.shape[2])).square().sum()

    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(leaf), leaf)
    close(grad(loss)(x), expected)
    # per sample
    each = vmap(grad(loss), in_dims=1, out_dims=1)(x.unsqueeze(2)).squeeze(2)
    close(each, expected)
    # forward mode, both ways, and the Jacobian
    tangent = torch.randn_like(x)
    directional = (expected * tangent).sum()
    close(jvp(loss, (x,), (tangent,))[1], directional)
    with forward_ad.dual_level():
        out = loss(forward_ad.make_dual(x, tangent))
        close(forward_ad.unpack_dual(out).tangent, directional)
    close(jacrev(lambda x: loss(x).unsqueeze(0))(x)[0], expected)


def test_gradients_of_parameters_by_functional_calls() -> None:
    net = network(sigma=0.7)
    parameters = {name: p.detach() for name, p in net.named_parameters()}
    x, y = sample(batch=3), torch.tensor([0, 2, 1])

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        v = functional_call(net, parameters, (x,))
        return nn.functional.cross_entropy(v.mean(0), y)

    loss(dict(net.named_parameters()), x, y).backward()
    close(grad(loss)(parameters, x, y), {n: p.grad for n, p in net.named_parameters()})
    each = vmap(grad(loss), in_dims=(None, 1, 0))(parameters, x.unsqueeze(2), y.unsqueeze(1))
    close({n: g.mean(0) for n, g in each.items()}, grad(loss)(parameters, x, y))
    assert all(g.abs().max() > 0 for n, g in each.items() if "delay.delay" in n)


@pytest.mark.parametrize("method", ["dense", "lowrank", "taps"])
def test_gradients_come_in_batches(method: Any) -> None:
    net = network(method=method, sigma=0.5 if method == "taps" else None)
    x = (torch.rand(30, 2, 5) < 0.05).float().requires_grad_()
    scores = net(x).square().sum((0, 1))
    learned = [x, *net.parameters()]
    batch = torch.autograd.grad(
        scores, learned, torch.eye(3), is_grads_batched=True, retain_graph=True
    )
    assert {block.synapses.method_used for block in net.blocks} == {method}
    for number, score in enumerate(scores):
        expected = torch.autograd.grad(score, learned, retain_graph=True)
        close([own[number] for own in batch], list(expected))


def test_a_surrogate_that_transforms_cannot_differentiate_is_named() -> None:
    net = Fresh(LIFNode(v_threshold=0.3, surrogate_function=surrogate.SoftSign()))
    x = sample()
    close(vmap(net, in_dims=1, out_dims=1)(x.unsqueeze(2)).squeeze(2), net(x))
    for take in (grad(lambda x: net(x).sum()), jacrev(lambda x: net(x).sum())):
        with pytest.raises(
            UsageError, match=r"takes no gradient of SoftSign. Use ATan, Sigmoid, Rect"
        ):
            take(x)


def test_an_ensemble_runs_at_once() -> None:
    nets = [network(sigma=0.7) for _ in range(3)]
    parameters, buffers = stack_module_state(nets)
    x = sample()

    def run(parameters: Any, buffers: Any) -> Any:
        return functional_call(nets[0], (parameters, buffers), (x,))

    close(vmap(run)(parameters, buffers), torch.stack([net(x) for net in nets]))


# --- tensors without numbers ----------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "mode"), CASES)
def test_shapes_are_found_without_numbers(kind: str, mode: str) -> None:
    net = MAKE[kind]()
    expected = Fresh(net, mode)(sample()).shape
    functional.reset_net(net)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        assert Fresh(net, mode)(fake.from_tensor(sample())).shape == expected
    with torch.device("meta"):
        meta = MAKE[kind]()
    for each in (meta, net.to("meta")):
        assert all(p.is_meta for p in [*each.parameters(), *each.buffers()])
        assert Fresh(each, mode)(sample().to("meta")).shape == expected
        assert repr(each)


def test_a_network_without_numbers_gets_them_from_a_state_dict() -> None:
    net = network(sigma=0.7)
    with torch.device("meta"):
        empty = delay_snn([5, 6, 3], 4).eval()
    empty.load_state_dict(net.state_dict(), assign=True)
    x = sample()
    assert torch.equal(empty(x), net(x))
    assert [block.synapses.sigma for block in empty.blocks] == [0.7, 0.7]
    other = delay_snn([5, 6, 3], 4).to("meta").to_empty(device="cpu").eval()
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), net(x))


def test_operations_are_counted() -> None:
    layer = DelayLayer(5, 3, 4, sigma=0.5)
    with FlopCounterMode(display=False) as counter:
        layer(sample())
    # The dense kernel: five taps, each of 5 × 3 multiplications and additions.
    assert counter.get_total_flops() == 6 * 2 * 5 * 5 * 3 * 2
