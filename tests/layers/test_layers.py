"""DelayLayer: one meaning in every step mode, delays that train, errors that help."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from snn_delays.errors import UsageError
from snn_delays.interpolation import INTERPOLATIONS
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.layers.granularity import GRANULARITIES
from snn_delays.layers.networks import clamp_delays_, delay_layers, rounded, set_sigma
from snn_delays.ops import reference
from snn_delays.ops.plan import METHODS, ONE_END


@dataclass
class Case:
    layer: DelayLayer
    x: Tensor


@st.composite
def cases(draw: st.DrawFn, min_steps: int = 0, min_batch: int = 0) -> Case:
    """A layer of any kind and an input for it, in float64."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    sigma = draw(st.sampled_from([None, 0.0, 0.5, 2.0]))
    interpolation = draw(st.sampled_from(INTERPOLATIONS))
    gaussian = interpolation == "gaussian" and sigma != 0.0
    granularity = draw(st.sampled_from(GRANULARITIES))
    methods = [m for m in METHODS if gaussian or m != "lowrank"]
    if granularity == "axonal+dendritic":  # which has one method of its own
        methods = ["auto", "reference"]
    layer = DelayLayer(
        draw(st.integers(1, 4)),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 7)),
        kernel_count=draw(st.integers(1, 3)),
        granularity=granularity,
        interpolation=interpolation,
        sigma=sigma,
        bias=draw(st.booleans()),
        method=draw(st.sampled_from(methods)),
    ).double()
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    steps, batch = draw(st.integers(min_steps, 12)), draw(st.integers(min_batch, 3))
    return Case(layer, torch.randn(steps, batch, layer.in_features, dtype=torch.float64))


def step_by_step(layer: DelayLayer, x: Tensor) -> Tensor:
    layer.step_mode = "s"
    y = torch.stack([layer(step) for step in x])
    layer.step_mode = "m"
    return y


# --- what it computes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("granularity", "shape"),
    [("synaptic", (4, 3, 2)), ("axonal", (1, 3, 2)), ("dendritic", (4, 1, 2))],
)
def test_parameters_have_the_shapes_of_the_design(granularity: str, shape: tuple[int, ...]) -> None:
    layer = DelayLayer(3, 4, 9, kernel_count=2, granularity=granularity, bias=True)
    shapes = {name: tuple(parameter.shape) for name, parameter in layer.named_parameters()}
    assert shapes == {"weight": (4, 3, 2), "delay": shape, "bias": (4,)}
    assert [name for name, _ in DelayLayer(3, 4, 9).named_parameters()] == ["weight", "delay"]


def test_it_starts_as_published() -> None:
    layer = DelayLayer(70, 90, 24)
    assert layer.sigma == 12.27
    # Kaiming-uniform for ReLU: the bound is √(6 / fan_in), the variance bound² / 3 = 2 / fan_in.
    bound = math.sqrt(6 / 70)
    assert 0.98 * bound < layer.weight.abs().max() <= bound
    assert layer.weight.var().item() == pytest.approx(2 / 70, rel=0.05)
    # Uniform over the kernel: variance 24² / 12.
    assert 0 <= layer.delay.min() < 0.1
    assert 23.9 < layer.delay.max() <= 24
    assert layer.delay.var().item() == pytest.approx(48, rel=0.05)


@given(case=cases(min_steps=1, min_batch=1))
def test_the_rounded_layer_is_the_naive_loop_over_integer_delays(case: Case) -> None:
    copied = rounded(case.layer)
    delay = case.layer.integer_delays()
    assert torch.equal(copied.delay, copied.delay.round())
    assert torch.equal(copied.delay.long(), delay)
    assert copied.sigma == 0
    expected = reference.integer_delays(
        case.x, case.layer.weight, delay.expand(copied.weight.shape)
    )
    if case.layer.bias is not None:
        expected = expected + case.layer.bias
    torch.testing.assert_close(copied(case.x), expected, rtol=0, atol=1e-12)


def test_integer_delays_round_ties_to_even_and_stay_in_range() -> None:
    layer = DelayLayer(6, 1, 4)
    with torch.no_grad():
        layer.delay.copy_(torch.tensor([[-3.0, 0.5, 1.5, 2.5, 2.51, 9.0]]).unsqueeze(-1))
    assert layer.integer_delays().flatten().tolist() == [0, 0, 2, 2, 3, 4]
    assert layer.integer_delays().dtype == torch.int64


def test_clamp_brings_delays_back_and_touches_no_others() -> None:
    net = nn.Sequential(DelayLayer(3, 1, 4), nn.ReLU(), DelayLayer(1, 3, 6))
    values = torch.tensor([-2.0, 1.7, 11.0])
    with torch.no_grad():
        net[0].delay.copy_(values.view(1, 3, 1))
        net[2].delay.copy_(values.view(3, 1, 1))
    clamp_delays_(net)
    torch.testing.assert_close(net[0].delay.flatten(), torch.tensor([0, 1.7, 4]))
    torch.testing.assert_close(net[2].delay.flatten(), torch.tensor([0, 1.7, 6]))
    assert delay_layers(net) == [net[0], net[2]]
    set_sigma(net, 1.25)
    assert (net[0].sigma, net[2].sigma) == (1.25, 1.25)


# --- memory and step modes ------------------------------------------------------------------------


@given(case=cases(min_steps=1))
def test_step_by_step_is_the_whole_sequence(case: Case) -> None:
    whole = case.layer(case.x)
    functional.reset_net(case.layer)
    torch.testing.assert_close(step_by_step(case.layer, case.x), whole, rtol=0, atol=1e-12)


@given(case=cases(min_steps=1), switch=st.integers(0, 12))
def test_without_gradients_steps_are_the_whole_sequence_too(case: Case, switch: int) -> None:
    """They are then computed by another method, which may begin or end in the middle."""
    whole = case.layer(case.x).detach()
    functional.reset_net(case.layer)
    with torch.no_grad():
        first = step_by_step(case.layer, case.x[:switch]) if switch else whole[:0]
    rest = case.x[switch:]
    second = step_by_step(case.layer, rest).detach() if len(rest) else whole[:0]
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-12)


@torch.no_grad()
def test_what_a_stream_remembers_of_its_synapses_follows_every_change() -> None:
    layer = DelayLayer(3, 4, 5, sigma=0.0, step_mode="s")
    x = torch.randn(2, 3)

    def answer() -> Tensor:
        functional.reset_net(layer)
        return layer(x)

    before = answer()
    layer.weight.mul_(2)
    torch.testing.assert_close(answer(), 2 * before)
    layer.weight.data *= 2  # torch does not count this one
    torch.testing.assert_close(answer(), 4 * before)
    layer.delay.fill_(1.0)
    assert not answer().any()
    assert layer(torch.zeros(2, 3)).any()
    copied = rounded(layer)
    copied.weight.zero_()
    assert not copied(x).any()
    assert not answer().any()
    assert layer(torch.zeros(2, 3)).any()


@given(
    case=cases(min_steps=1),
    cuts=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=6),
)
def test_pieces_of_any_size_and_mode_are_the_whole_sequence(
    case: Case, cuts: list[tuple[int, bool]]
) -> None:
    whole = case.layer(case.x)
    functional.reset_net(case.layer)
    pieces, rest = [], case.x
    for size, stepwise in [*cuts, (len(case.x), False)]:
        piece, rest = rest[:size], rest[size:]
        run = step_by_step if stepwise and len(piece) else DelayLayer.__call__
        pieces.append(run(case.layer, piece))
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=0, atol=1e-12)


@given(case=cases(min_steps=1, min_batch=1), size=st.integers(1, 5))
def test_gradients_cross_the_pieces(case: Case, size: int) -> None:
    leaves = [case.x.requires_grad_(), *case.layer.parameters()]
    whole = case.layer(case.x)
    judge = torch.randn_like(whole)

    def gradients(y: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad((y * judge).sum(), leaves, materialize_grads=True)

    expected = gradients(whole)
    functional.reset_net(case.layer)
    for got in (
        gradients(torch.cat([case.layer(piece) for piece in case.x.split(size)])),
        functional.reset_net(case.layer) or gradients(step_by_step(case.layer, case.x)),
    ):
        for mine, theirs in zip(got, expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


@given(case=cases(min_steps=1, min_batch=1))
def test_reset_forgets(case: Case) -> None:
    first = case.layer(case.x)
    assert case.layer.history is not None
    functional.reset_net(case.layer)
    assert case.layer.history is None
    assert torch.equal(case.layer(case.x), first)
    step_by_step(case.layer, case.x)
    functional.reset_net(case.layer)
    assert torch.equal(case.layer(case.x), first)


def test_without_a_reset_it_remembers() -> None:
    layer = DelayLayer(1, 1, 3, sigma=0.0)
    with torch.no_grad():
        layer.weight.fill_(2.0)
        layer.delay.fill_(3.0)
    x = torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    assert layer(x).flatten().tolist() == [0, 0, 0]
    assert layer(0 * x).flatten().tolist() == [2, 0, 0]


def test_detach_cuts_the_gradient_but_keeps_the_memory() -> None:
    layer = DelayLayer(2, 3, 4)
    for detach in (False, True):
        functional.reset_net(layer)
        early = torch.randn(5, 1, 2, requires_grad=True)
        layer(early)
        kept = layer.history.clone()
        if detach:
            functional.detach_net(layer)
        assert torch.equal(layer.history, kept)
        late = torch.randn(5, 1, 2, requires_grad=True)
        before, now = torch.autograd.grad(layer(late).sum(), (early, late), materialize_grads=True)
        assert (now != 0).any()
        assert (before != 0).any() == (not detach)


@pytest.mark.parametrize("mode", ["m", "s"])
def test_a_batch_of_another_size_asks_for_a_reset(mode: str) -> None:
    layer = DelayLayer(2, 3, 4, step_mode=mode)
    x = torch.randn(5, 4, 2) if mode == "m" else torch.randn(4, 2)
    layer(x)
    with pytest.raises(UsageError) as caught:
        layer(x[..., :3, :])
    assert str(caught.value) == (
        "DelayLayer: remembers a batch of 4, got one of 3. "
        "Call spikingjelly's functional.reset_net(net) between sequences."
    )
    functional.reset_net(layer)
    assert layer(x[..., :3, :]).shape[-2] == 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("steps", "batch"), [(0, 2), (5, 0), (0, 0), (1, 1), (3, 1)], ids=lambda n: str(n)
)
def test_small_and_empty_inputs(steps: int, batch: int, method: str) -> None:
    layer = DelayLayer(2, 3, 8, bias=True, method=method)
    x = torch.randn(steps, batch, 2, requires_grad=True)
    y = layer(x)
    assert y.shape == (steps, batch, 3)
    y.sum().backward()
    for parameter in layer.parameters():
        if steps or method != "reference":  # whose empty loop leaves no graph
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()
    # Nothing was lost: what follows sees the same history as one long sequence.
    more = torch.randn(9, batch, 2)
    after = layer(more)
    functional.reset_net(layer)
    torch.testing.assert_close(after, layer(torch.cat([x, more]))[steps:])


def test_one_step_of_an_empty_batch() -> None:
    layer = DelayLayer(2, 3, 4, step_mode="s")
    assert layer(torch.zeros(0, 2)).shape == (0, 3)
    assert layer(torch.zeros(0, 2)).shape == (0, 3)


# --- delays that train ----------------------------------------------------------------------------


@pytest.mark.parametrize(("interpolation", "sigma"), [("gaussian", 0.5), ("triangle", 0.0)])
@pytest.mark.parametrize("start", [-3.0, 0.0, 16.0, 20.0])
def test_a_delay_trains_from_the_edge_to_the_middle(
    interpolation: str, sigma: float, start: float
) -> None:
    layer = DelayLayer(1, 1, 16, interpolation=interpolation, sigma=sigma)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.delay.fill_(start)
    layer.weight.requires_grad_(False)
    # A bump 10 steps wide, so that the error has a slope wherever the delay stands.
    time = torch.arange(60.0)
    x = torch.exp(-0.5 * ((time - 25) / 10) ** 2).view(60, 1, 1)
    target = torch.exp(-0.5 * ((time - 25 - 7.3) / 10) ** 2).view(60, 1, 1)
    optimiser = torch.optim.Adam([layer.delay], lr=0.1)
    for step in range(400):
        functional.reset_net(layer)
        loss = ((layer(x) - target)[17:] ** 2).sum()
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            assert layer.delay.grad.isfinite().all()
            assert layer.delay.grad.item() * (start - 7.3) > 0
        optimiser.step()
        if start in (0.0, 16.0):
            layer.clamp_()  # as training does; without it a delay outside comes back too
    assert layer.delay.item() == pytest.approx(7.3, abs=0.1)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"in_features": 0}, "in_features must be a whole number >= 1, got 0."),
        ({"in_features": 2.5}, "in_features must be a whole number >= 1, got 2.5."),
        ({"out_features": -1}, "out_features must be a whole number >= 1, got -1."),
        ({"out_features": "4"}, "out_features must be a whole number >= 1, got '4'."),
        ({"kernel_count": 0}, "kernel_count must be a whole number >= 1, got 0."),
        ({"max_delay": 0}, "max_delay must be a whole number of steps >= 1, got 0. Use a smaller"),
        ({"max_delay": 2.0}, "max_delay must be a whole number of steps >= 1, got 2.0. Use"),
        ({"granularity": "somatic"}, f"granularity must be one of {', '.join(GRANULARITIES)}, got"),
        ({"interpolation": "v1"}, "interpolation must be one of gaussian, triangle, got 'v1'."),
        ({"method": "x"}, f"method must be one of {', '.join((*METHODS, *ONE_END))}, got 'x'."),
        ({"step_mode": "x"}, "step_mode must be one of s, m, got 'x'."),
        ({"sigma": -0.1}, "sigma must be a number of steps >= 0, got -0.1."),
        ({"sigma": math.nan}, "sigma must be a number of steps >= 0, got nan."),
        ({"sigma": math.inf}, "sigma must be a number of steps >= 0, got inf."),
        ({"sigma": "wide"}, "sigma must be a number of steps >= 0, got 'wide'."),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_impossible_layers_are_named(bad: dict[str, object], said: str) -> None:
    good: dict[str, object] = {"in_features": 3, "out_features": 4, "max_delay": 5}
    with pytest.raises(UsageError) as caught:
        DelayLayer(**{**good, **bad})
    assert str(caught.value).startswith(f"DelayLayer: {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("mode", "x", "said"),
    [
        ("m", torch.zeros(6, 2), "input must be [T, N, 3] with step_mode='m', got [6, 2]."),
        ("m", torch.zeros(6, 2, 4), "input must be [T, N, 3] with step_mode='m', got [6, 2, 4]."),
        (
            "s",
            torch.zeros(6, 2, 3),
            "input must be [N, 3] with step_mode='s', got [6, 2, 3]. "
            "For that shape, functional.set_step_mode(net, 'm').",
        ),
        (
            "m",
            torch.zeros(6, 3),
            "input must be [T, N, 3] with step_mode='m', got [6, 3]. "
            "For that shape, functional.set_step_mode(net, 's').",
        ),
        (
            "m",
            torch.zeros(6, 2, 3).to_sparse(),
            "input must be dense, got torch.sparse_coo. Use x.to_dense().",
        ),
        ("m", np.zeros((6, 2, 3)), "input must be a tensor, got ndarray. Use torch.as_tensor(x)."),
        ("s", torch.zeros(2, 4), "input must be [N, 3] with step_mode='s', got [2, 4]."),
        ("s", torch.zeros(3), "input must be [N, 3] with step_mode='s', got [3]."),
        (
            "m",
            torch.zeros(6, 2, 3, dtype=torch.bool),
            "input must be floating point, got torch.bool. Use x.float().",
        ),
        (
            "m",
            torch.zeros(6, 2, 3, dtype=torch.float64),
            "input must be torch.float32, as the weights are, got torch.float64. "
            "Use x.to(torch.float32), or net.to(torch.float64).",
        ),
    ],
)
def test_impossible_inputs_are_named(mode: str, x: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        DelayLayer(3, 4, 5, step_mode=mode)(x)
    assert str(caught.value) == f"DelayLayer: {said}"


@pytest.mark.usefixtures("unchecked")
def test_sigma_is_checked_when_it_is_set() -> None:
    layer = DelayLayer(3, 4, 5)
    with pytest.raises(UsageError, match="sigma must be a number of steps >= 0, got -2"):
        layer.sigma = -2
    assert layer.sigma == 2.77


def test_its_description_says_what_it_is() -> None:
    layer = DelayLayer(3, 4, 5, granularity="axonal", sigma=1.5)
    assert "3, 4, max_delay=5" in repr(layer)
    assert "granularity=axonal" in repr(layer)
    assert "sigma=1.50" in repr(layer)


def test_rounding_leaves_the_original_alone() -> None:
    layer = DelayLayer(3, 4, 5)
    layer(torch.randn(6, 2, 3, requires_grad=True))
    before = {name: value.clone() for name, value in layer.named_parameters()}
    remembered = layer.history
    copied = rounded(layer)
    assert copied is not layer
    assert layer.history is remembered
    assert copied.history is None
    assert layer.sigma == 2.77
    for name, value in layer.named_parameters():
        assert torch.equal(value, before[name])
        assert value.data_ptr() != copied.get_parameter(name).data_ptr()
