"""Swapping convolutions: what is kept, what is refused, and the same numbers on the old grid."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based import layer
from torch import nn
from torch.nn.utils import parametrizations, prune

from snn_delays import clamp_delays_, parameter_groups, set_sigma
from snn_delays.dcls import DclsConv1d, DclsConv2d, DclsConv3d, replace_convs
from snn_delays.errors import UsageError

KINDS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
OURS: dict[int, Any] = {1: DclsConv1d, 2: DclsConv2d, 3: DclsConv3d}


def on_the_old_grid(old: Any, new: Any) -> None:
    """As many elements as the old kernel had, each where it stood, with its weight."""
    places = [
        [d * j - d * (k - 1) / 2 for j in range(k)]
        for k, d in zip(old.kernel_size, old.dilation, strict=True)
    ]
    with torch.no_grad():
        for element, place in enumerate(itertools.product(*places)):
            for axis, one in enumerate(place):
                new.position[axis, ..., element] = one
        new.weight.copy_(old.weight.flatten(2))


@given(data=st.data(), dimensions=st.integers(1, 3))
def test_elements_on_the_old_grid_give_the_old_output(data: st.DataObject, dimensions: int) -> None:
    draw: Callable[..., Any] = data.draw

    def of_each(low: int, high: int) -> list[int]:
        return [draw(st.integers(low, high)) for _ in range(dimensions)]

    kernel, dilation, stride = of_each(1, 3), of_each(1, 2), of_each(1, 3)
    padding: Any = of_each(0, 3)
    mode = draw(st.sampled_from(["zeros", "circular", "replicate"]))
    kind = draw(st.sampled_from(["numbers", "same", "valid"]))
    if kind != "numbers":
        padding, stride = kind, [1] * dimensions
    span = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    extent = [one + 2 * draw(st.integers(0, 2)) for one in span]
    groups = draw(st.sampled_from([1, 2]))
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    settings |= {"bias": draw(st.booleans()), "padding_mode": mode}
    old = KINDS[dimensions](4, 2, kernel, **settings).double()
    net = nn.Sequential(copy.deepcopy(old))
    x = torch.randn(2, 4, *(5 + one for one in span), dtype=torch.float64)
    count = old.weight[0, 0].numel()
    report = replace_convs(net, ["0"], extent=tuple(extent), kernel_count=count)
    new: Any = net[0]
    assert type(new) is OURS[dimensions]
    on_the_old_grid(old, new)
    assert (new.dilation, new.stride) == ((1,) * dimensions, tuple(stride))
    torch.testing.assert_close(net(x), old(x), rtol=0, atol=1e-12)
    assert report.layers[0].name == "0"


class Blocks(nn.Module):
    """Two stages of depthwise convolutions, and others that stay."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.first = nn.ModuleList(nn.Conv2d(8, 8, 7, padding=3, groups=8) for _ in range(3))
        self.down = nn.Conv2d(8, 16, 2, stride=2)
        self.second = nn.Sequential(
            nn.Conv2d(16, 16, 7, padding=3, groups=16), nn.Conv2d(16, 16, 1, groups=16)
        )
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for one in self.first:
            x = x + one(x)
        return self.head(self.second(self.down(x)).mean((2, 3)))


def depthwise(model: nn.Module) -> list[Any]:
    return [one for one in model.modules() if isinstance(one, DclsConv2d)]


def test_what_is_kept() -> None:
    net = Blocks().double().eval()
    net.first[1].train()
    net.first[2].weight.requires_grad_(False)
    biases = [one.bias.clone() for one in (*net.first, net.second[0])]
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    shape = net(x).shape
    report = replace_convs(net, extent=17, kernel_count=6, interpolation="gaussian", sigma=0.8)
    assert net(x).shape == shape
    assert [one.name for one in report.layers] == ["first.0", "first.1", "first.2", "second.0"]
    swapped = depthwise(net)
    assert len(swapped) == 4
    assert [one.training for one in swapped] == [False, True, False, False]
    assert [one.weight.requires_grad for one in swapped] == [True, True, False, True]
    assert [one.position.requires_grad for one in swapped] == [True, True, False, True]
    for one, bias in zip(swapped, biases, strict=True):
        assert torch.equal(one.bias, bias)
        assert one.weight.dtype == one.position.dtype == torch.float64
        assert (one.interpolation, one.sigma, one.padding) == ("gaussian", (0.8, 0.8), (8, 8))
    for one in (net.stem, net.down, net.second[1]):
        assert type(one) is nn.Conv2d


def test_half_precision_and_meta() -> None:
    net = nn.Sequential(nn.Conv1d(4, 4, 3, padding=1, groups=4).to("meta", torch.bfloat16))
    replace_convs(net, extent=9, kernel_count=2)
    assert (net[0].weight.device.type, net[0].position.dtype) == ("meta", torch.bfloat16)


def test_the_report_counts_parameters() -> None:
    net = Blocks()
    before = sum(own.numel() for own in net.parameters())
    report = replace_convs(net, extent=17, kernel_count=10, share_positions="stage")
    after = sum(own.numel() for own in net.parameters())
    assert (report.parameters_before, report.parameters_after) == (before, after)
    changed = sum(one.parameters_after - one.parameters_before for one in report.layers)
    # 49 weights became 10, and each stage has a position of 2 axes for each of its 8 or 16 filters.
    assert after - before == changed == (3 * 8 + 16) * (10 - 49) + 2 * 10 * (8 + 16)
    lines = str(report).splitlines()
    assert lines[0].split() == ["layer", "before", "after", "parameters", "now"]
    assert "first.0" in lines[1]
    assert "7 × 7, groups 8" in lines[1]
    assert "10 elements on 17 × 17, groups 8" in lines[1]
    assert lines[-1].split()[-2:] == [f"{before:,}", f"{after:,}"]


def test_a_dilation_is_said_and_becomes_one() -> None:
    net = nn.Sequential(nn.Conv2d(6, 6, 3, dilation=4, padding=4, stride=2, groups=6))
    shape = net(torch.zeros(1, 6, 33, 20)).shape
    report = replace_convs(net, extent=(9, 11), kernel_count=9)
    assert report.layers[0].before == "3 × 3, stride 2 × 2, dilation 4 × 4, groups 6"
    assert report.layers[0].after == "9 elements on 9 × 11, stride 2 × 2, groups 6"
    assert (net[0].dilation, net[0].padding) == ((1, 1), (4, 5))
    assert net(torch.zeros(1, 6, 33, 20)).shape == shape


def test_a_stage_shares_one_position() -> None:
    net = Blocks()
    replace_convs(net, extent=17, kernel_count=34, share_positions="stage")
    first, second = [one.position for one in depthwise(net)[:3]], depthwise(net)[3].position
    assert first[0] is first[1] is first[2]
    assert first[0] is not second
    assert first[0].shape == (2, 8, 1, 34)
    assert abs(first[0].std().item() - 0.5) < 0.05

    groups = {group["name"]: group for group in parameter_groups(net, weight_lr=1e-3)}
    assert [id(own) for own in groups["positions"]["params"]] == [id(first[0]), id(second)]
    assert (groups["positions"]["lr"], groups["positions"]["weight_decay"]) == (5e-3, 0.0)

    copied = copy.deepcopy(net)
    again = [one.position for one in depthwise(copied)[:3]]
    assert again[0] is again[1] is again[2]
    assert again[0] is not first[0]

    optimizer = torch.optim.AdamW(parameter_groups(net))
    with torch.no_grad():
        first[0][0, 0, 0, 0] = 7.9999
    before = [own.detach().clone() for own in (first[0], second)]
    net(torch.randn(2, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    assert all((own != old).any() for own, old in zip((first[0], second), before, strict=True))
    with torch.no_grad():
        first[0][0, 0, 0, 0] = 30.0
    clamp_delays_(net)
    assert first[0].abs().max() <= 8.0

    other = Blocks()
    replace_convs(other, extent=17, kernel_count=34, share_positions="stage")
    other.load_state_dict(net.state_dict())
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(other(x), net(x))
    assert depthwise(other)[0].position is depthwise(other)[2].position
    assert depthwise(other.double())[0].position is depthwise(other)[2].position


def test_sigma_of_all_is_scheduled() -> None:
    net = Blocks()
    replace_convs(net, extent=9, kernel_count=3, interpolation="gaussian")
    set_sigma(net, 1.5)
    assert {one.sigma for one in depthwise(net)} == {(1.5, 1.5)}


@pytest.mark.parametrize("share", [None, "stage"])
@pytest.mark.parametrize("widths", [False, "element"])
def test_the_parameters_stay(share: Any, widths: Any) -> None:
    # An element costs 3 (weight, two positions), 5 with widths; shared by two layers, 2 or 4.
    size = {(None, False): 3, (None, "element"): 5, ("stage", False): 2, ("stage", "element"): 4}
    sides = (5, 3) if share is None else (3, 4)
    conv = lambda: nn.Conv2d(4, 6, sides, groups=2)  # noqa: E731
    net = nn.ModuleList([conv(), conv()])
    before = sum(own.numel() for own in net.parameters())
    extent = tuple(one + 4 for one in sides)
    settings: dict[str, Any] = {"extent": extent, "share_positions": share}
    if widths:
        settings |= {"sigma_learned": widths, "interpolation": "gaussian"}
    for one in net:
        one.padding = (2, 2)
    report = replace_convs(net, ["0", "1"], same_parameters=True, **settings)
    assert report.parameters_after == report.parameters_before == before
    assert sum(own.numel() for own in net.parameters()) == before
    assert {one.kernel_count for one in net} == {sides[0] * sides[1] // size[share, widths]}


def test_dense_axes_count() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, (5, 4), padding=(2, 0)))
    report = replace_convs(net, ["0"], extent=(5, 8), learned_axes=[1], same_parameters=True)
    assert (net[0].kernel_count, report.parameters_after) == (2, report.parameters_before)


def test_where_no_count_keeps_the_parameters() -> None:
    net = Blocks()
    with pytest.raises(UsageError) as caught:
        replace_convs(net, extent=17, same_parameters=True)
    # 49 weights against elements of 3: 16 make one parameter fewer in each of 8 channels.
    assert str(caught.value).startswith("first.0: no kernel_count keeps as many parameters as")
    assert "kernel_count=16 makes 8 fewer" in str(caught.value)
    with pytest.raises(UsageError, match="and the 2 that share its positions"):
        replace_convs(net, extent=17, same_parameters=True, share_positions="stage")
    assert not depthwise(net)


def test_a_module_in_two_places_stays_one() -> None:
    conv = nn.Conv1d(4, 4, 5, padding=2, groups=4)
    net = nn.Sequential(conv, nn.ReLU(), conv)
    report = replace_convs(net, extent=11, kernel_count=3)
    assert net[0] is net[2]
    assert len(report.layers) == 1


def lazy() -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.LazyConv2d(4, 3, groups=4))


def with_hook(change: Callable[[Any], Any]) -> nn.Module:
    net = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1, groups=4) for _ in range(2)))
    change(net[1])
    return net


class Own(nn.Conv2d):
    """A convolution of someone's own."""


def tied(conv: Any) -> None:
    conv.other = nn.Conv2d(4, 4, 3, groups=4)
    conv.other.weight = conv.weight


REFUSED: dict[str, tuple[Callable[[], nn.Module], Any, str]] = {
    "transposed": (
        lambda: nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ConvTranspose2d(4, 4, 3)),
        ["0", "1"],
        r"1 \(ConvTranspose2d\) is transposed",
    ),
    "lazy": (lazy, "depthwise", r"1 \(LazyConv2d\) does not know its channels yet"),
    "pruned": (
        lambda: with_hook(lambda conv: prune.l1_unstructured(conv, "weight", 0.5)),
        "depthwise",
        "has hooks, as pruning",
    ),
    "parametrised": (
        lambda: with_hook(parametrizations.weight_norm),
        "depthwise",
        "has a parametrisation",
    ),
    "hooked": (
        lambda: with_hook(lambda conv: conv.register_forward_hook(lambda *_: None)),
        "depthwise",
        "has hooks",
    ),
    "gradient hook": (
        lambda: with_hook(lambda conv: conv.weight.register_hook(lambda g: g)),
        "depthwise",
        "hooks on its parameters",
    ),
    "tied": (lambda: with_hook(tied), ["0", "1"], "shares a parameter"),
    "forward": (
        lambda: with_hook(lambda conv: setattr(conv, "forward", lambda x: x)),
        "depthwise",
        "torch's own forward",
    ),
    "subclass": (
        lambda: nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4), Own(4, 4, 3, groups=4)),
        "depthwise",
        r"1 \(Own\) must be nn.Conv1d",
    ),
    "spikingjelly": (
        lambda: nn.Sequential(layer.Conv2d(4, 4, 3, groups=4, step_mode="m")),
        "depthwise",
        "SeqToANNContainer",
    ),
    "linear": (lambda: nn.Sequential(nn.Linear(2, 2)), ["0"], r"0 \(Linear\) must be nn.Conv1d"),
    "none": (lambda: nn.Sequential(nn.Conv2d(4, 4, 3)), "depthwise", "chooses none of 1"),
    "function": (
        lambda: nn.Sequential(nn.Conv2d(4, 4, 3)),
        lambda name, conv: False,
        "chooses none of 1",
    ),
    "unknown name": (
        lambda: nn.Sequential(nn.Conv2d(4, 4, 3)),
        ["1"],
        r"got '1'. Its convolutions are \['0'\]",
    ),
    "word": (lambda: nn.Sequential(nn.Conv2d(4, 4, 3)), "0", r"Give \['0'\] for a name"),
    "itself": (lambda: nn.Conv2d(4, 4, 3, groups=4), "depthwise", "Conv2d itself"),
    "parity": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 4, 2, groups=4)
        ),
        "depthwise",
        "^1: extent must be even as the old span of 2 along axis 0",
    ),
    "small": (
        lambda: nn.Sequential(nn.Conv2d(4, 4, 15, padding=1, groups=4)),
        "depthwise",
        "^0: extent must be at least 13 along axis 0.*got 9",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_leave_the_model_as_it_was(case: str) -> None:
    make, select, said = REFUSED[case]
    net = make()
    before = list(net.modules())
    with pytest.raises(UsageError, match=said) as caught:
        replace_convs(net, select, extent=9, kernel_count=3)
    assert "\n" not in str(caught.value)
    assert list(net.modules()) == before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"extent": 9}, "either kernel_count or same_parameters=True"),
        ({"extent": 9, "kernel_count": 3, "same_parameters": True}, "either kernel_count or"),
        ({"extent": 9, "kernel_count": 0}, "kernel_count must be a whole number >= 1, got 0"),
        ({"extent": (9, 9, 9), "kernel_count": 3}, "0: extent must be .* or one for each"),
        ({"extent": 9.5, "kernel_count": 3}, "0: extent must be a whole number"),
        ({"extent": 9, "kernel_count": 3, "share_positions": "all"}, "share_positions must be one"),
        ({"extent": 9, "kernel_count": 3, "sigma": 1.0}, "^0: DclsConv2d: .*has no width"),
        ({"extent": 9, "same_parameters": True, "learned_axes": [3]}, "0: .*learned_axes must be"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_settings_that_make_no_convolution(settings: dict[str, Any], said: str) -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4))
    with pytest.raises(UsageError, match=said):
        replace_convs(net, **settings)
    assert type(net[0]) is nn.Conv2d
