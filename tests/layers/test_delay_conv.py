"""DelayConv1d and 2d: one meaning in every step mode, and all that is done to delay layers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from snn_delays.errors import UsageError
from snn_delays.layers import (
    DelayConv1d,
    DelayConv2d,
    clamp_delays_,
    delay_layers,
    parameter_groups,
    rounded,
    set_rounding,
    set_sigma,
    sparsity,
    synapses_of,
)
from snn_delays.ops import convolution
from snn_delays.regularisers import ClusteredDelays, SmallDelays

SIZES: dict[type[nn.Module], tuple[int, ...]] = {DelayConv1d: (7,), DelayConv2d: (6, 7)}
SHARED: dict[str, list[int]] = {
    "synaptic": [6, 2, 3, 2],
    "axonal": [1, 2, 1, 2],
    "dendritic": [6, 1, 1, 2],
    "common": [1, 1, 1, 2],
}


def made(kind: Any, **settings: Any) -> Any:
    given: dict[str, Any] = {"padding": 1, "stride": 2, "groups": 2, "kernel_count": 2, **settings}
    layer = kind(4, 6, 3, 8, sigma=0.7, bias=True, **given).double()
    nn.init.normal_(layer.bias)
    return layer


def spikes(kind: Any, steps: int = 11, density: float = 0.2) -> Tensor:
    return (torch.rand(steps, 3, 4, *SIZES[kind]) < density).double()


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("granularity", ["synaptic", "dendritic", "common"])
def test_the_layer_is_the_equation(kind: Any, granularity: str) -> None:
    layer, x = made(kind, granularity=granularity), spikes(kind)
    with torch.no_grad():
        layer.method = "taps"
        expected = convolution.reference(
            *(x, layer.weight, layer.delay, 0.7, 8, "gaussian"), layer.geometry
        )
        expected += layer.bias.view(-1, *[1] * layer.space)
        torch.testing.assert_close(layer(x), expected)
        assert layer.method_used == "taps"


@pytest.mark.parametrize("granularity", SHARED)
def test_shapes(granularity: Any) -> None:
    layer = DelayConv1d(2, 6, 3, 8, kernel_count=2, granularity=granularity)
    assert list(layer.weight.shape) == [6, 2, 3, 2]
    assert list(layer.delay.shape) == SHARED[granularity]
    assert layer(torch.rand(4, 1, 2, 9)).shape == (4, 1, 6, 7)


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("interpolation", ["gaussian", "triangle"])
@pytest.mark.parametrize("rounding", ["none", "straight_through", "integer"])
def test_whole_sequences_pieces_and_steps_are_the_same(
    kind: Any, interpolation: Any, rounding: Any
) -> None:
    whole, x = made(kind, interpolation=interpolation), spikes(kind)
    whole.rounding = rounding
    pieces, steps = copy.deepcopy(whole), copy.deepcopy(whole)
    steps.step_mode = "s"
    upstream = torch.randn(whole(x).shape, dtype=x.dtype)
    functional.reset_net(whole)
    found = []
    for net, y in (
        (whole, whole(x)),
        (pieces, torch.cat([pieces(x[:2]), pieces(x[2:9]), pieces(x[9:])])),
        (steps, torch.stack([steps(now) for now in x])),
    ):
        (y * upstream).sum().backward()
        found.append((y, net.weight.grad, net.delay.grad))
    for one in found[1:]:
        for value, wanted in zip(one, found[0], strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-9, atol=1e-9)
    assert bool(whole.delay.grad.any()) == (rounding != "integer")


@pytest.mark.parametrize("kind", SIZES)
def test_a_reset_forgets(kind: Any) -> None:
    layer, x = made(kind), spikes(kind)
    first = layer(x)
    assert not torch.allclose(layer(x), first)
    functional.reset_net(layer)
    torch.testing.assert_close(layer(x), first)
    layer.history = torch.rand(8, 3, 4, *[2] * layer.space)
    with pytest.raises(UsageError, match="history must be .* Call functional.reset_net"):
        layer(x)
    functional.reset_net(layer)
    layer(x)
    with pytest.raises(UsageError, match="remembers a batch of 3, got one of 2"):
        layer(x[:, :2])


def test_what_is_done_to_delay_layers() -> None:
    net = nn.Sequential(made(DelayConv1d), nn.ReLU(), made(DelayConv1d, padding=2).float())
    first = net[0]
    assert delay_layers(net) == [net[0], net[2]]
    assert set(synapses_of(net)) == {"0", "2"}
    set_sigma(net, 0.5)
    assert first.sigma == 0.5
    groups = {group["name"]: group["params"] for group in parameter_groups(net)}
    assert {id(own) for own in groups["delays"]} == {id(net[0].delay), id(net[2].delay)}
    with torch.no_grad():
        first.delay.fill_(11)
    clamp_delays_(net)
    assert bool((first.delay == 8).all())
    set_rounding(net, "integer")
    assert first.rounding == "integer"
    for regulariser in (SmallDelays(1.0), ClusteredDelays(1.0, 2)):
        assert float(regulariser(net).detach()) >= 0
    state = copy.deepcopy(net.state_dict())
    net.load_state_dict(state)


def test_rounded_acts_as_integers() -> None:
    layer, x = made(DelayConv2d), spikes(DelayConv2d)
    deployed = rounded(layer)
    assert deployed.sigma == 0
    assert torch.equal(deployed.delay, layer.delay.round())
    layer.rounding = "integer"
    torch.testing.assert_close(layer(x), deployed(x))
    layer.round_()
    assert layer.sigma == 0
    assert torch.equal(layer.delay, deployed.delay)


def test_absent_synapses() -> None:
    layer, x = made(DelayConv1d), spikes(DelayConv1d)
    sparsity.random_mask_(layer, 0.5)
    assert int(sparsity.there(layer).sum()) == layer.weight.numel() // 2
    layer(x).sum().backward()
    assert not layer.weight.grad[layer.mask == 0].any()
    sparsity.prune_(layer, 0.25)
    assert int((layer.weight != 0).sum()) == layer.weight.numel() // 4
    sparsity.few_delays_(layer, 3)
    assert len(layer.delay.unique()) <= 3


def test_delays_are_learned() -> None:
    """A spike's echo three steps later teaches a layer that began with a delay of six."""
    x = (torch.rand(40, 8, 1, 5) < 0.1).float()
    target = torch.zeros_like(x)
    target[3:] = x[:-3]
    layer = DelayConv1d(1, 1, 1, 10, sigma=3.0, first_delays=(6, 6))
    nn.init.ones_(layer.weight)
    optimizer = torch.optim.Adam([layer.delay], lr=0.1)
    for step in range(80):
        set_sigma(layer, 3.0 * 0.97**step)
        functional.reset_net(layer)
        optimizer.zero_grad()
        (layer(x) - target).square().mean().backward()
        optimizer.step()
        clamp_delays_(layer)
    assert abs(float(layer.delay.detach()) - 3) < 0.2


def test_a_learned_width() -> None:
    layer = DelayConv1d(2, 3, 3, 6, sigma=1.0, sigma_learned=True)
    layer(torch.rand(9, 2, 2, 5)).square().sum().backward()
    assert layer.log_sigma is not None
    assert layer.log_sigma.grad is not None
    assert layer.method_used == "dense"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"in_channels": 0}, "in_channels must be a whole number >= 1, got 0."),
        ({"groups": 3}, "groups must divide in_channels, got 3 of 4."),
        ({"groups": 4}, "groups must divide out_channels, got 4 of 6."),
        ({"kernel_size": 0}, "kernel_size must be a whole number >= 1, got 0."),
        (
            {"stride": (1, 2)},
            "stride must be a whole number or one for each of 1 axes, got (1, 2).",
        ),
        ({"padding": -1}, "padding must be a whole number >= 0, got -1."),
        (
            {"max_delay": 0},
            "max_delay must be a whole number of steps >= 1, got 0. Use a smaller dt, or nn.Conv1d "
            "if no delay is wanted.",
        ),
        ({"granularity": "axonal+dendritic"}, "granularity must be one of synaptic, axonal, de"),
        (
            {"granularity": "axonal", "groups": 2},
            "granularity='axonal' needs groups=1, got 2. Use 'dendritic'",
        ),
        ({"method": "lowrank"}, "method must be one of auto, dense, taps, reference, got "),
    ],
)
def test_settings_that_make_no_layer(settings: dict[str, Any], said: str) -> None:
    given = {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "max_delay": 8, **settings}
    with pytest.raises(UsageError) as caught:
        DelayConv1d(**given)
    assert str(caught.value).startswith(f"DelayConv1d: {said}")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (
            (3, 4, 6, 7),
            "input must be [T, N, 4, H, W] with step_mode='m', got [3, 4, 6, 7]. For that shape, "
            "functional.set_step_mode(net, 's').",
        ),
        ((9, 3, 5, 6, 7), "input must be [T, N, 4, H, W] with step_mode='m', got [9, 3, 5, 6, 7]."),
        (
            (9, 3, 4, 1, 0),
            "input must be at least the kernel's [3, 3] in space, padding included, got "
            "[9, 3, 4, 1, 0].",
        ),
    ],
)
def test_inputs_that_do_not_fit(shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        made(DelayConv2d)(torch.rand(shape, dtype=torch.float64))
    assert str(caught.value) == f"DelayConv2d: {said}"


@pytest.mark.usefixtures("unchecked")
def test_compiled_and_under_autocast() -> None:
    layer, x = made(DelayConv2d).float(), spikes(DelayConv2d).float()
    wanted = layer(x)
    functional.reset_net(layer)
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(x)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, wanted, rtol=0.1, atol=0.1)
    functional.reset_net(layer)
    torch.testing.assert_close(torch.compile(layer, backend="eager")(x), wanted)
