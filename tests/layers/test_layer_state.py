"""What a layer keeps (σ, memory, mask, delays at rest), as torch and SpikingJelly expect it."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from spikingjelly.activation_based import base, functional, memopt, monitor, neuron
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import (
    parameters_to_vector,
    parametrizations,
    parametrize,
    prune,
    vector_to_parameters,
)
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from snn_delays import (
    DelayLayer,
    LIFNode,
    RecurrentDelayLayer,
    clamp_delays_,
    rounded,
    set_sigma,
)
from snn_delays.dcls import DclsConv2d
from snn_delays.errors import UsageError
from snn_delays.interpolation import INTERPOLATIONS, Interpolation
from snn_delays.layers.networks import set_rounding
from snn_delays.modules import width
from snn_delays.ops.plan import METHODS


def network(**options: Any) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        DelayLayer(5, 6, 4, sigma=2.0, **options),
        LIFNode(tau=2.0, step_mode="m", decay_input=False),
        DelayLayer(6, 3, 4, sigma=2.0, **options),
    )
    with torch.no_grad():
        net[0].weight.mul_(4)  # so that spikes arrive
    return net


def train_once(net: nn.Module) -> None:
    functional.reset_net(net)
    (net(torch.rand(7, 2, 5)) * torch.arange(3.0)).sum().backward()


# --- σ --------------------------------------------------------------------------------------------


def test_sigma_is_a_tensor_like_the_others() -> None:
    net = network()
    set_sigma(net, 0.81)
    state = net.state_dict()
    assert state["0._sigma"].shape == ()
    assert sum(value.numel() for value in state.values()) > 0
    other = network()
    other.load_state_dict({name: value.clone().cpu() for name, value in state.items()})
    assert other[2].sigma == 0.81
    set_sigma(other, 0.5)
    mean = {name: (value + other.state_dict()[name]) / 2 for name, value in state.items()}
    net.load_state_dict(mean)
    assert net[0].sigma == pytest.approx(0.655, rel=1e-15)
    del state["0._sigma"]
    with pytest.raises(RuntimeError, match='Missing key.*"0._sigma"'):
        net.load_state_dict(state)


@pytest.mark.parametrize("parametrised", [False, True])
def test_a_copy_reads_its_own_sigma(parametrised: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, which is asked once a write: a copy's are counted anew."""
    monkeypatch.setattr(width, "_waits", lambda _: True)
    layer = DelayLayer(3, 4, 5)
    if parametrised:  # copied by torch, in another way
        parametrizations.weight_norm(layer)
    for writes in range(1, 6):
        layer.sigma = before = 0.1 * writes
        assert layer.sigma == before
        for again in range(1, 6):
            copied = copy.deepcopy(layer)
            for write in range(again):
                copied.sigma = 2.0 + write
            assert copied.sigma == 1.0 + again
            assert layer.sigma == before


def test_safetensors_keep_sigma(tmp_path: Any) -> None:
    net = network()
    set_sigma(net, 1.3)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    other = network()
    other.load_state_dict(load_file(tmp_path / "net.safetensors"))
    assert (other[0].sigma, other[2].sigma) == (1.3, 1.3)


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("multi", [None, get_ema_multi_avg_fn(0.5)], ids=["swa", "ema"])
def test_averaged_networks_follow_sigma(use_buffers: bool, multi: Any) -> None:
    net = network()
    averaged = AveragedModel(net, multi_avg_fn=multi, use_buffers=use_buffers)
    for sigma in (8.27, 2.0, 0.5):
        train_once(net)  # whose memory then hangs on a graph
        set_sigma(net, sigma)
        averaged.update_parameters(net)
    if not use_buffers:
        assert averaged.module[0].sigma == 0.5
    elif multi is None:
        assert averaged.module[0].sigma == pytest.approx((8.27 + 2.0 + 0.5) / 3)
    else:  # of the first it is a copy
        assert averaged.module[0].sigma == pytest.approx(0.5 * (0.5 * (8.27 + 2.0) + 0.5))


@pytest.mark.parametrize("cast", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_sigma_keeps_its_precision_when_weights_are_cast(cast: torch.dtype) -> None:
    net = network().to(torch.float64)
    set_sigma(net, 12.27)
    net = net.to(cast)
    assert net[0].weight.dtype == cast
    assert net[0].sigma == 12.27


def test_sigma_goes_through_the_meta_device() -> None:
    with torch.device("meta"):
        layer = DelayLayer(3, 4, 5, sigma=1.5)
    real = DelayLayer(3, 4, 5, sigma=0.7)
    there = copy.deepcopy(layer).to_empty(device="cpu")
    there.reset_parameters()
    assert there.sigma == 1.5
    layer.load_state_dict(real.state_dict(), assign=True)
    assert layer.sigma == 0.7


@pytest.mark.parametrize("write", ["fill_", "data", "copy_", "state"])
def test_a_write_to_the_buffer_is_seen_at_once(write: str) -> None:
    layer, x = DelayLayer(3, 4, 5, sigma=2.0), torch.rand(6, 2, 3)
    before = layer(x)
    functional.reset_net(layer)
    if write == "fill_":
        layer.get_buffer("_sigma").fill_(0.5)
    elif write == "data":
        layer.get_buffer("_sigma").data.fill_(0.5)
    elif write == "copy_":
        layer.get_buffer("_sigma").copy_(torch.tensor(0.5))
    else:
        layer.state_dict()["_sigma"].mul_(0.25)
    assert layer.sigma == 0.5
    assert not torch.equal(layer(x), before)


# --- memory that whoever keeps it can rely on -----------------------------------------------------


@pytest.fixture(params=["grad", "no_grad"])
def _gradients(request: pytest.FixtureRequest) -> Any:
    with torch.set_grad_enabled(request.param == "grad"):
        yield


def in_steps() -> nn.Sequential:
    net = network()
    functional.set_step_mode(net, "s")
    return net


@pytest.mark.usefixtures("_gradients")
def test_memories_rewind() -> None:
    net, x = in_steps(), torch.rand(9, 2, 5)
    for step in x[:4]:
        net(step)
    kept = base.extract_memories(net)
    first = [net(step) for step in x[4:]]
    base.load_memories(net, kept)
    assert torch.equal(torch.stack([net(step) for step in x[4:]]), torch.stack(first))


@pytest.mark.usefixtures("_gradients")
def test_a_monitor_records_every_step() -> None:
    layer, x = DelayLayer(3, 4, 5, step_mode="s"), torch.rand(7, 2, 3)
    with torch.no_grad():
        watch = monitor.AttributeMonitor("history", False, layer, DelayLayer)
        for step in x:
            layer(step)
    history = torch.cat([torch.zeros(5, 2, 3), x])
    assert len(watch.records) == len(x)
    for t, record in enumerate(watch.records):
        assert torch.equal(record, history[t + 1 : t + 6])


@pytest.mark.parametrize("mode", ["s", "m"])
def test_the_functional_form_is_the_same_network(mode: str) -> None:
    net, x = network(), torch.rand(8, 2, 5)
    functional.set_step_mode(net, mode)
    pieces = list(x) if mode == "s" else list(x.split(2))
    expected = [net(piece) for piece in pieces]
    functional.reset_net(net)
    forward = base.to_functional_forward(net)
    states = tuple(base.extract_memories(net))
    for piece, wanted in zip(pieces, expected, strict=True):
        again = forward((piece,), states)
        (y,), states = forward((piece,), states)
        assert torch.equal(again[0][0], y)  # states handed over were left alone
        torch.testing.assert_close(y, wanted)


def test_inputs_written_to_after_a_step_are_remembered_as_they_were() -> None:
    layer = DelayLayer(2, 1, 3, sigma=0.0, step_mode="s")
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.delay.fill_(1.0)
        for mode, shape in (("s", (1, 2)), ("m", (4, 1, 2))):
            functional.reset_net(layer)
            layer.step_mode = mode
            x = torch.ones(shape)
            layer(x)
            x.zero_()
            assert layer(x).flatten()[0] == 2.0


@pytest.mark.parametrize("mode", ["s", "m"])
def test_spikingjellys_memory_optimisation_learns_the_same(mode: str) -> None:
    """Each module keeps its state and runs a second time, for the backward pass."""
    x, found = torch.rand(8, 2, 5), []
    for module in (lambda each: each, memopt.checkpoint_module):
        net = nn.Sequential(*map(module, network()))
        functional.set_step_mode(net, mode)
        y = net(x) if mode == "m" else torch.stack([net(step) for step in x])
        (y * torch.arange(3.0)).sum().backward()
        found.append([y.detach(), *(p.grad for p in net.parameters())])
    assert len(found[0]) == 5
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs)


# --- copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.deepcopy, AveragedModel, rounded])
@pytest.mark.parametrize("mode", ["s", "m"])
def test_a_network_in_training_can_be_copied(duplicate: Callable, mode: str) -> None:
    net = network()
    if mode == "m":
        train_once(net)
    else:
        functional.set_step_mode(net, "s")
        torch.stack([net(step) for step in torch.rand(5, 2, 5)]).sum().backward()
    other = duplicate(net)
    functional.reset_net(net)
    functional.reset_net(other)
    functional.set_step_mode(other, "m")
    functional.set_step_mode(net, "m")
    x = torch.rand(6, 2, 5)
    expected = rounded(net)(x) if duplicate is rounded else net(x)
    torch.testing.assert_close(other(x), expected)


def test_what_is_made_in_inference_mode_works_outside_it() -> None:
    net, x = network(), torch.rand(7, 2, 5)
    with torch.inference_mode():
        deployed = rounded(net)
        functional.set_step_mode(net, "s")
        stream = [net(step) for step in x[:4]]
    stream += [net(step) for step in x[4:]]
    functional.reset_net(net)
    functional.set_step_mode(net, "m")
    torch.testing.assert_close(torch.stack([y.clone() for y in stream]), net(x))
    set_sigma(deployed, 0.5)
    deployed(x).sum().backward()
    assert deployed[0].delay.grad is not None


# --- streams never go by old weights --------------------------------------------------------------


def fused(kind: Any) -> Callable[[DelayLayer], None]:
    def change(layer: DelayLayer) -> None:
        optimizer = kind(layer.parameters(), lr=0.1, fused=True)
        for parameter in layer.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()

    return change


def through_data(layer: DelayLayer) -> None:
    layer.weight.data[0, 0, 0] += 1e-3


def through_a_vector(layer: DelayLayer) -> None:
    vector_to_parameters(parameters_to_vector(layer.parameters()) * 0.9, layer.parameters())


def two_weights_exchanged(layer: DelayLayer) -> None:
    a, b = layer.weight.data[0, 0, 0].clone(), layer.weight.data[1, 2, 0].clone()
    layer.weight.data[0, 0, 0], layer.weight.data[1, 2, 0] = b, a


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "change",
    [
        fused(torch.optim.SGD),
        fused(torch.optim.Adam),
        through_data,
        through_a_vector,
        two_weights_exchanged,
        lambda layer: set_sigma(layer, 0.7),
        lambda layer: layer.get_buffer("_sigma").data.fill_(1.0),
    ],
    ids=["sgd", "adam", "data", "vector", "exchange", "sigma", "sigma's data"],
)
def test_a_running_stream_follows_every_change(change: Callable, dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    layer = DelayLayer(3, 4, 5, sigma=0.5, step_mode="s").to(dtype)
    x = torch.rand(8, 2, 3, dtype=dtype)
    for step in x[:4]:
        layer(step)
    change(layer)
    now = [layer(step) for step in x[4:]]
    functional.reset_net(layer)
    layer.step_mode = "m"
    torch.testing.assert_close(torch.stack(now), layer(x)[4:])


@torch.no_grad()
@pytest.mark.parametrize("shape", [(16, 16), (128, 4), (700, 8)])
@pytest.mark.parametrize("part", [slice(None), slice(None, None, 2), slice(10)])
def test_a_stream_sees_signs_change(shape: tuple[int, int], part: slice) -> None:
    torch.manual_seed(0)
    layer = DelayLayer(*shape, 5, sigma=0.0, step_mode="s")
    x = torch.rand(2, shape[0])
    before = layer(x)
    functional.reset_net(layer)
    layer.weight[:, part] *= -1
    after = layer(x)
    assert not torch.allclose(after, before)
    functional.reset_net(layer)
    layer.step_mode = "m"
    torch.testing.assert_close(after, layer(x[None])[0])


@torch.no_grad()
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_running_stream_follows_what_is_remembered(interpolation: Interpolation) -> None:
    """What is on its way is kept beside the memory, and has to follow it."""
    torch.manual_seed(3)
    layer = DelayLayer(3, 4, 5, sigma=0.7, interpolation=interpolation, step_mode="s").double()
    x, y = torch.rand(2, 9, 2, 3, dtype=torch.float64)
    layer.step_mode = "m"
    expected = layer(x)
    functional.reset_net(layer)
    expected_of_y = layer(y)
    functional.reset_net(layer)
    layer.step_mode = "s"
    memories: list[Any] = [None, None]
    for now in range(9):  # in turns
        for of, (sequence, right) in enumerate(((x, expected), (y, expected_of_y))):
            layer.history = memories[of]
            torch.testing.assert_close(layer(sequence[now]), right[now])
            memories[of] = layer.history
    functional.reset_net(layer)
    for now in range(4):
        layer(y[now])
    assert layer.history is not None
    layer.history.data[1:] = x[:4]  # which torch does not count
    for now in range(4, 9):
        torch.testing.assert_close(layer(x[now]), expected[now])
    layer.step_mode = "m"  # takes what streams leave, and leaves what they take
    layer(x[:3])
    layer.step_mode = "s"
    now = layer(y[0])
    functional.reset_net(layer)
    layer.step_mode = "m"
    torch.testing.assert_close(now, layer(torch.cat([x[4:], x[:3], y[:1]]))[-1])


# --- delays that are no numbers -------------------------------------------------------------------

UNFINITE = r"^1 of 12 delays are NaN or infinite\. Go back"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("sigma", [0.0, 0.5, 3.0])
def test_delays_that_are_no_numbers_are_refused_wherever_they_act(
    value: float, interpolation: str, sigma: float
) -> None:
    for method in METHODS:
        if method == "lowrank" and interpolation == "triangle":
            continue
        layer = DelayLayer(3, 4, 5, interpolation=interpolation, sigma=sigma, method=method)
        with torch.no_grad():
            layer.delay[1, 2, 0] = value
        uses: list[Callable] = [
            lambda layer=layer: layer(torch.rand(6, 2, 3)),
            layer.clamp_,
            layer.integer_delays,
            layer.round_,
            lambda layer=layer: rounded(layer),
        ]
        for use in uses:
            with pytest.raises(UsageError, match=UNFINITE):
                use()
        layer.step_mode = "s"
        for grad in (True, False):
            with torch.set_grad_enabled(grad), pytest.raises(UsageError, match=UNFINITE):
                layer(torch.rand(2, 3))


@pytest.mark.parametrize("sigma", [0.0, 0.5, 3.0])
def test_where_nobody_waits_for_a_look_the_result_is_no_number(sigma: float) -> None:
    """As on a GPU; under ``torch.func`` nothing looks at numbers either."""
    layer = DelayLayer(3, 4, 5, sigma=sigma)
    state = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
    broken = layer.delay.detach().clone()
    broken[1, 2, 0] = math.nan

    def answer(delay: Tensor) -> Tensor:
        functional.reset_net(layer)
        return torch.func.functional_call(layer, {**state, "delay": delay}, torch.rand(9, 1, 3))

    y = torch.func.vmap(answer, randomness="same")(torch.stack([layer.delay.detach(), broken]))
    assert y[0].isfinite().all()
    assert y[1, :, :, 1].isnan().any()


# --- delays at rest -------------------------------------------------------------------------------

OPTIMISERS: dict[str, Callable] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.9),
    "fused": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
}


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("method", ["auto", "dense", "taps"])
def test_delays_rest_at_sigma_zero(optimiser: str, set_to_none: bool, method: str) -> None:
    net = network(method=method)
    optimizer = OPTIMISERS[optimiser](net.parameters())

    def epoch(sigma: float, micro_batches: int = 1) -> None:
        set_sigma(net, sigma)
        for _ in range(4):
            optimizer.zero_grad(set_to_none=set_to_none)
            for _ in range(micro_batches):
                train_once(net)
            optimizer.step()
            clamp_delays_(net)

    epoch(1.0)  # from here the optimiser has momentum
    before = [net[i].delay.detach().clone() for i in (0, 2)]
    weight = net[2].weight.detach().clone()
    epoch(0.0)
    epoch(0.0, micro_batches=2)
    for i, rest in zip((0, 2), before, strict=True):
        assert torch.equal(net[i].delay, rest)
        assert net[i].delay.grad is not None
        assert not net[i].delay.grad.any()
    assert not torch.equal(net[2].weight, weight)
    epoch(1.0)
    assert not torch.equal(net[0].delay, before[0])


def test_delays_at_rest_have_gradients_for_every_process(tmp_path: Any) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    try:
        net = network()
        parallel = DistributedDataParallel(net)
        optimizer = torch.optim.Adam(parallel.parameters(), lr=0.1)
        for sigma in (1.0, 0.0, 0.0, 0.0):
            set_sigma(net, sigma)
            before = net[0].delay.detach().clone()
            functional.reset_net(net)
            optimizer.zero_grad()
            parallel(torch.rand(7, 2, 5)).sum().backward()
            optimizer.step()
            clamp_delays_(net)
            assert torch.equal(net[0].delay, before) == (sigma == 0)
    finally:
        torch.distributed.destroy_process_group()


def test_delays_set_by_hand_at_sigma_zero_stay_set() -> None:
    net = network()
    set_sigma(net, 0.0)
    train_once(net)
    clamp_delays_(net)
    with torch.no_grad():
        net[0].delay.fill_(3.0)
    clamp_delays_(net)
    assert (net[0].delay == 3).all()
    train_once(net)
    other = network()
    net.load_state_dict(other.state_dict())
    clamp_delays_(net)
    assert torch.equal(net[0].delay, other[0].delay)


EDITS: dict[str, Callable[[DelayLayer], object]] = {
    "in place": lambda layer: layer.delay.data.add_(0.5),
    "a vector": lambda layer: vector_to_parameters(
        parameters_to_vector(layer.parameters()) * 0.5, layer.parameters()
    ),
    "new data": lambda layer: setattr(layer.delay, "data", torch.full_like(layer.delay, 2.5)),
    "a new parameter": lambda layer: setattr(
        layer, "delay", nn.Parameter(torch.full_like(layer.delay, 1.5))
    ),
    "as at first": lambda layer: layer.reset_parameters(),
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_others_write_to_delays_at_rest_stays(edit: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(DelayLayer(5, 3, 4, sigma=0.0))
    with torch.no_grad():
        net[0].delay.clamp_(max=3.4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)
    train_once(net)
    optimizer.step()
    EDITS[edit](net[0])
    written = net[0].delay.detach().clone()
    clamp_delays_(net)
    functional.reset_net(net)
    net(torch.rand(7, 2, 5))
    clamp_delays_(net)
    assert torch.equal(net[0].delay, written)


class Softly(nn.Module):
    def forward(self, delay: Tensor) -> Tensor:
        return 4 * delay.sigmoid()

    def right_inverse(self, delay: Tensor) -> Tensor:
        return (delay / 4).clamp(0.01, 0.99).logit()


@pytest.mark.parametrize("clamped", [True, False])
@pytest.mark.parametrize("parametrised", [True, False])
def test_delays_rest_without_a_clamp_and_through_a_parametrisation(
    parametrised: bool, clamped: bool
) -> None:
    net = network()
    if parametrised:
        parametrize.register_parametrization(net[0], "delay", Softly())
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    for sigma in (1.0, 1.0, 0.0, 0.0):
        set_sigma(net, sigma)
        before = net[0].delay.detach().clone()
        optimizer.zero_grad()
        train_once(net)
        optimizer.step()
        if clamped:
            clamp_delays_(net)
        assert torch.equal(net[0].delay, before) == (sigma == 0)
    copied = rounded(net)
    assert torch.equal(copied[0].delay, net[0].delay.round())
    functional.reset_net(net)
    x = torch.rand(7, 2, 5)
    assert torch.equal(copied(x), net(x))


@pytest.mark.parametrize("kept", [True, False])
def test_delays_of_a_layer_that_took_another_s_place_rest(kept: bool) -> None:
    """As in fine-tuning, where layers of another kind take over the parameters."""
    first = nn.Sequential(DelayLayer(5, 3, 4, sigma=0.0))
    train_once(first)
    second = nn.Sequential(DelayLayer(5, 3, 4, sigma=0.0))
    second[0].delay = first[0].delay
    if kept:
        set_sigma(first, 1.0)
    else:
        del first
    optimizer = torch.optim.SGD(second.parameters(), lr=0.1, weight_decay=0.1)
    before = second[0].delay.detach().clone()
    train_once(second)
    optimizer.step()
    assert torch.equal(second[0].delay, before)


@pytest.mark.parametrize("rounding", ["straight_through", "integer"])
def test_a_shared_delay_moves_by_the_layer_in_which_it_does_not_rest(rounding: str) -> None:
    torch.manual_seed(0)
    resting, moving = (DelayLayer(3, 4, 5, sigma=1.0) for _ in range(2))
    moving.delay = resting.delay
    resting.rounding = rounding
    optimizer = torch.optim.SGD([moving.delay], lr=0.1)
    x, before = torch.rand(8, 2, 3), moving.delay.detach().clone()
    for together in (True, False):
        functional.reset_net(nn.ModuleList([resting, moving]))
        optimizer.zero_grad()
        y = moving(x) + resting(x) if together else resting(x)  # the last that used it rests
        y.square().sum().backward()
        grad = moving.delay.grad
        assert grad is not None
        optimizer.step()
        torch.testing.assert_close(moving.delay.detach(), before - 0.1 * grad)
        before = moving.delay.detach().clone()


ENDS: dict[str, Callable[[nn.Sequential], object]] = {
    "sigma": lambda net: set_sigma(net, 0.0),
    "rounding": lambda net: set_rounding(net, "integer"),
    "state": lambda net: net.load_state_dict(
        {**net.state_dict(), "0._sigma": torch.zeros(()), "2._sigma": torch.zeros(())}
    ),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("end", ENDS)
def test_delays_in_compiled_graphs_rest(end: str) -> None:
    torch._dynamo.reset()
    net = network()
    if end == "rounding":
        train_once(net)  # a pass that is seen
    compiled = torch.compile(net, backend="eager")
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    for step in range(3):
        if step == 1:
            ENDS[end](net)
        before = net[0].delay.detach().clone()
        functional.reset_net(net)
        optimizer.zero_grad()
        (compiled(torch.rand(7, 2, 5)) * torch.arange(3.0)).sum().backward()
        optimizer.step()
        assert torch.equal(net[0].delay, before) == (step >= 1)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_delays_of_copies_in_compiled_graphs_rest(copied: Callable[[nn.Module], Any]) -> None:
    torch._dynamo.reset()
    net = network()
    set_sigma(net, 0.0)
    net = copied(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)
    before, weight = net[0].delay.detach().clone(), net[0].weight.detach().clone()
    torch.compile(net, backend="eager")(torch.rand(7, 2, 5)).sum().backward()
    optimizer.step()
    assert torch.equal(net[0].delay, before)
    assert not torch.equal(net[0].weight, weight)


# --- synapses that are not there ------------------------------------------------------------------


def half_masked() -> tuple[DelayLayer, Tensor]:
    torch.manual_seed(1)
    layer = DelayLayer(6, 5, 4, sigma=0.5)
    return layer, torch.rand(5, 6, 1) < 0.5


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("by_hand", [True, False])
def test_what_is_masked_does_nothing(mode: str, grad: bool, by_hand: bool) -> None:
    layer, mask = half_masked()
    plain = copy.deepcopy(layer)
    with torch.no_grad():
        plain.weight.mul_(mask)
    if by_hand:
        layer.mask = mask
    else:
        layer.set_mask(mask)
        assert not layer.weight[~mask].any()
    for each in (layer, plain):
        each.step_mode = mode
    with torch.set_grad_enabled(grad):
        for x in torch.rand(4, 2, 6) if mode == "s" else torch.rand(2, 5, 2, 6):
            torch.testing.assert_close(layer(x), plain(x))


def test_a_mask_outlasts_the_momentum_of_what_it_removed() -> None:
    layer, mask = half_masked()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    x, judge = torch.rand(8, 2, 6), torch.randn(8, 2, 5)
    for step in range(6):
        if step == 3:
            layer.set_mask(mask)
        functional.reset_net(layer)
        optimizer.zero_grad()
        (layer(x) * judge).sum().backward()
        if step >= 3:
            assert not layer.weight.grad[~mask].any()
        optimizer.step()
    assert not layer.acting_weight()[~mask].any()
    deployed = rounded(layer)
    assert not deployed.acting_weight()[~mask].any()


def test_a_mask_is_stored_and_restored() -> None:
    masked, mask = half_masked()
    masked.set_mask(mask)
    plain, x = DelayLayer(6, 5, 4), torch.rand(7, 2, 6)
    without = {name: value.clone() for name, value in plain.state_dict().items()}
    plain.load_state_dict(masked.state_dict())
    assert torch.equal(plain.mask, mask)
    assert torch.equal(plain(x), masked(x))
    masked.load_state_dict(without)
    assert masked.mask is None
    functional.reset_net(masked)
    assert torch.equal(masked(x), DelayLayer.__call__(loaded(without), x))
    masked.set_mask(mask)
    masked.set_mask(None)
    assert "mask" not in masked.state_dict()


def loaded(state: dict[str, Tensor]) -> DelayLayer:
    layer = DelayLayer(6, 5, 4)
    layer.load_state_dict(state)
    return layer


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (torch.ones(5, 6, 1), "needs a bool tensor [5, 6, 1], got torch.float32."),
        ([True], "needs a bool tensor [5, 6, 1], got [True]."),
        (torch.ones(6, 5, 1).bool(), "needs the shape of weight, [5, 6, 1], got [6, 5, 1]."),
    ],
)
def test_what_is_no_mask_is_named(mask: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        half_masked()[0].set_mask(mask)
    assert str(caught.value) == f"set_mask: {said}"


def test_spikingjellys_own_nodes_between_layers() -> None:
    """``rounded`` sets aside their memory, too, which torch's own copy cannot take along."""
    net = network()
    net[1] = neuron.LIFNode(tau=2.0, step_mode="m", decay_input=False)
    train_once(net)
    deployed = rounded(net)
    assert isinstance(net[1].v, Tensor)  # the original still has its memory
    assert deployed[0].sigma == 0.0


def test_a_mask_is_averaged_and_acts_on_what_is_parametrised() -> None:
    layer, mask = half_masked()
    layer.set_mask(mask)
    averaged = AveragedModel(layer, use_buffers=True)
    for _ in range(3):
        averaged.update_parameters(layer)
    x = torch.rand(4, 2, 6)
    expected = layer(x)
    torch.testing.assert_close(averaged.module(x), expected)
    normed, _ = half_masked()
    parametrizations.weight_norm(normed, "weight")
    normed.set_mask(mask)
    torch.testing.assert_close(normed(x), expected)


@pytest.mark.parametrize("made", ["weight_norm", "orthogonal"])  # of two tensors, of one
def test_a_parametrised_layer_gets_its_mask_and_rounding_back(made: str) -> None:
    def layer() -> DelayLayer:
        one = DelayLayer(6, 5, 4, sigma=1.0)
        getattr(parametrizations, made)(one, "weight")
        return one

    saved, plain = layer(), layer()
    saved.set_mask(torch.rand(5, 6, 1) > 0.5)
    saved.rounding = "integer"
    for first, state in ((plain, saved), (saved, plain)):
        found = layer()
        found.load_state_dict(first.state_dict())
        found.load_state_dict(state.state_dict())
        assert found.rounding == state.rounding
        assert (found.mask is None) == (state.mask is None)
        x = torch.rand(7, 2, 6)
        functional.reset_net(state)
        torch.testing.assert_close(found(x), state(x))


def test_masked_weights_are_stored_as_zeros() -> None:
    layer, mask = half_masked()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for step in range(6):
        if step == 3:
            layer.set_mask(mask)
        functional.reset_net(layer)
        optimizer.zero_grad()
        layer(torch.rand(4, 2, 6)).square().sum().backward()
        optimizer.step()
        layer.clamp_()
    assert not layer.weight[~mask].any()
    assert layer.weight[mask].all()


# --- what does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("shape", [(4, 2, 50), (4, 2, 3), (7, 2, 5), (2, 2, 5), (4, 2)])
def test_a_history_of_another_size_is_refused(
    shape: tuple[int, ...], mode: str, unchecked: None
) -> None:
    layer = DelayLayer(5, 3, 4, sigma=0.5)
    functional.set_step_mode(layer, mode)
    layer.history = torch.rand(shape)
    x = torch.rand(2, 5) if mode == "s" else torch.rand(6, 2, 5)
    with torch.no_grad(), pytest.raises(UsageError, match=r"history must be \[4, 2, 5\]"):
        layer(x)


@pytest.mark.parametrize("sigma", [-0.1, math.nan, math.inf])
def test_a_state_dict_with_a_width_that_is_none_is_refused(sigma: float) -> None:
    layer = DelayLayer(5, 3, 4)
    state = {**layer.state_dict(), "_sigma": torch.tensor(sigma, dtype=torch.float64)}
    with pytest.raises(UsageError, match=r"_sigma must be a number of steps >= 0"):
        layer.load_state_dict(state)


def test_delays_without_numbers_are_clamped_and_rounded() -> None:
    with FakeTensorMode():
        fake = DelayLayer(5, 3, 4)
        fake.clamp_()
    meta = DelayLayer(5, 3, 4).to("meta")
    assert meta.integer_delays().shape == meta.delay.shape
    assert rounded(meta).delay.is_meta


REACHES: dict[str, Callable[[int], Any]] = {
    "synaptic delays": lambda reach: DelayLayer(3, 8, reach),
    "axonal delays": lambda reach: DelayLayer(3, 8, reach, granularity="axonal"),
    "recurrent delays": lambda reach: RecurrentDelayLayer(8, LIFNode(tau=2.0), reach),
    "positions": lambda reach: DclsConv2d(3, 8, 9, extent=2 * reach + 1),
}


@pytest.mark.parametrize("kind", REACHES)
def test_places_out_of_range_are_told_when_they_are_loaded(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The layer that they come from reaches further: here they would act elsewhere."""
    long, same, short = (nn.Sequential(REACHES[kind](reach)) for reach in (8, 8, 5))
    places = long[0].stored_places()[0]
    with torch.no_grad():
        places.uniform_(2, 3).view(-1)[:3] = torch.tensor([5.4, 6.0, 7.9])
    same.load_state_dict(long.state_dict())
    assert not caplog.records
    short.load_state_dict(long.state_dict())
    what = kind.split()[-1]
    assert f"0: 2 of {places.numel()} {what} that were loaded lie outside the range" in caplog.text
    assert "by up to 2.9" in caplog.text


def test_delays_that_a_hook_makes_are_not_rounded() -> None:
    layer = DelayLayer(3, 8, 10, interpolation="triangle", sigma=0.5)
    prune.random_unstructured(layer, "delay", 0.3)
    with pytest.raises(UsageError, match=r"delay is made by a hook.* Call prune.remove"):
        rounded(layer)
    prune.remove(layer, "delay")
    assert torch.equal(rounded(layer).delay, layer.delay.round())


def test_delays_that_are_made_of_several_tensors_must_be_numbers_as_well() -> None:
    layer = DelayLayer(3, 8, 10)
    parametrizations.weight_norm(layer, "delay")
    with torch.no_grad():
        layer.parametrizations.delay.original0.view(-1)[0] = math.nan
    with pytest.raises(UsageError, match="3 of 24 delays are NaN or infinite"):
        layer.clamp_()
