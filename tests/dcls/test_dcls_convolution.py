"""DclsConv1d, 2d and 3d against loops over their own equation, and as modules of torch."""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from snn_delays import UsageError, clamp_delays_, parameter_groups, set_sigma
from snn_delays.dcls import DclsConv1d, DclsConv2d, DclsConv3d
from snn_delays.dcls.padding import PADDING_MODES

CONVS: dict[int, Any] = {1: DclsConv1d, 2: DclsConv2d, 3: DclsConv3d}
INTERPOLATIONS = pytest.mark.parametrize("interpolation", ["bilinear", "triangle", "gaussian"])


@st.composite
def layers(draw: st.DrawFn, **settings: Any) -> Any:
    torch.manual_seed(draw(st.integers(0, 2**16)))
    n = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 2]))
    subsets = [one for k in range(1, n + 1) for one in itertools.combinations(range(n), k)]
    given = {
        "extent": tuple(draw(st.integers(1, 5)) for _ in range(n)),
        "learned_axes": draw(st.sampled_from(subsets)),
        "interpolation": draw(st.sampled_from(["bilinear", "triangle", "gaussian"])),
        "stride": draw(st.integers(1, 2)),
        "padding": tuple(draw(st.integers(0, 2)) for _ in range(n)),
        "dilation": draw(st.integers(1, 2)),
        "groups": groups,
        "bias": draw(st.booleans()),
    } | settings
    count = draw(st.integers(1, 3))
    layer = CONVS[n](2 * groups, 2 * groups, count, **given).double()
    with torch.no_grad():
        for places, limit in zip(layer.position, layer.limits, strict=True):
            places.uniform_(-limit, limit)
    if layer.interpolation != "bilinear":
        layer.sigma = [draw(st.floats(0.2, 2)) for _ in layer.learned_axes]
    return layer


def an_input(layer: Any, batch: int = 2) -> Tensor:
    sizes = [d * (e - 1) + 3 for d, e in zip(layer.dilation, layer.extent, strict=True)]
    return torch.randn(batch, layer.in_channels, *sizes, dtype=torch.float64, requires_grad=True)


def share(distance: float, sigma: float, kind: str) -> float:
    """g before it is normalised, in plain Python."""
    if kind == "gaussian":
        return float(torch.exp(torch.tensor(-0.5 * (distance / sigma) ** 2, dtype=torch.float64)))
    return max(0.0, 1 + (0.0 if kind == "bilinear" else sigma) - abs(distance))


@torch.no_grad()
def by_hand(layer: Any, x: Tensor) -> Tensor:
    """The convolution as sums over numbers: no tensor operation of ours or torch's in it."""
    n, extent, learned = layer.dimensions, layer.extent, layer.learned_axes
    padded = nn.functional.pad(x, [p for p in reversed(layer.padding) for _ in (0, 1)])
    per_in, per_out = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    kernel: dict[tuple[int, ...], float] = {}
    for index in itertools.product(*map(range, layer.weight.shape)):
        o, i, *dense, _ = index
        shares = []
        for number, axis in enumerate(learned):
            centre = float(layer.position[(number, *index)]) + (extent[axis] - 1) / 2
            sigma = layer.sigma[number]
            raw = [share(j - centre, sigma, layer.interpolation) for j in range(extent[axis])]
            shares.append([one / sum(raw) for one in raw])
        for place in itertools.product(*map(range, extent)):
            if [at for axis, at in enumerate(place) if axis not in learned] == dense:
                value = float(layer.weight[index])
                for of_axis, axis in zip(shares, learned, strict=True):
                    value *= of_axis[place[axis]]
                kernel[(o, i, *place)] = kernel.get((o, i, *place), 0.0) + value
    sizes = [
        (padded.shape[2 + a] - layer.dilation[a] * (extent[a] - 1) - 1) // layer.stride[a] + 1
        for a in range(n)
    ]
    y = torch.zeros(len(x), layer.out_channels, *sizes, dtype=torch.float64)
    for o, *at in itertools.product(range(layer.out_channels), *map(range, sizes)):
        for (of, i, *place), value in kernel.items():
            if of == o:
                channel = (o // per_out) * per_in + i
                read = [
                    a * s + p * d
                    for a, s, p, d in zip(at, layer.stride, place, layer.dilation, strict=True)
                ]
                y[(slice(None), o, *at)] += value * padded[(slice(None), channel, *read)].detach()
        if layer.bias is not None:
            y[(slice(None), o, *at)] += float(layer.bias[o])
    return y


@given(layer=layers(padding_mode="zeros"))
def test_the_kernel_and_its_gradients_are_those_of_the_reference(layer: Any) -> None:
    x = an_input(layer)
    other = copy.deepcopy(layer)
    other.method = "reference"
    y, expected = layer(x), other(x)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    assert (layer.method_used, other.method_used) == ("dense", "reference")
    judge = torch.randn_like(y)
    ours = torch.autograd.grad((y * judge).sum(), [x, *layer.parameters()])
    theirs = torch.autograd.grad((expected * judge).sum(), [x, *other.parameters()])
    for one, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, reference, rtol=0, atol=1e-10)


@pytest.mark.parametrize("interpolation", ["bilinear", "triangle", "gaussian"])
@pytest.mark.parametrize("learned", [(0, 1), (0,), (1,)])
def test_a_rectangular_strided_grouped_kernel_is_right_by_hand(interpolation, learned) -> None:
    """The case that the published package gets wrong (tests/dcls/test_against_dcls.py)."""
    torch.manual_seed(0)
    settings: Any = {"learned_axes": learned, "interpolation": interpolation}
    layer = DclsConv2d(
        *(4, 6, 3),
        extent=(3, 6),
        stride=(2, 1),
        padding=(1, 2),
        groups=2,
        dilation=(1, 2),
        **settings,
    ).double()
    if interpolation != "bilinear":
        layer.sigma = [0.4, 0.9][: len(learned)]
    with torch.no_grad():
        for places, limit in zip(layer.position, layer.limits, strict=True):
            places.uniform_(-limit, limit)
    x = torch.randn(2, 4, 7, 14, dtype=torch.float64)
    torch.testing.assert_close(layer(x), by_hand(layer, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("interpolation", "sigma_learned"),
    [
        ("bilinear", False),
        *itertools.product(("triangle", "gaussian"), (False, "axis", "element")),
    ],
)
def test_gradients_are_those_of_finite_differences(interpolation: Any, sigma_learned: Any) -> None:
    torch.manual_seed(0)
    layer = DclsConv2d(
        *(2, 2, 2), extent=(3, 4), interpolation=interpolation, sigma_learned=sigma_learned
    ).double()
    with torch.no_grad():
        layer.position.uniform_(-0.9, 0.9)  # on no kink
    names = [name for name, _ in layer.named_parameters()]

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), x)

    x = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *layer.parameters()))


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("padding", [0, (2, 1), "same", "valid"])
def test_one_element_at_every_place_is_torchs_convolution(mode: str, padding: Any) -> None:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"padding": padding, "padding_mode": mode, "groups": 2}
    settings["dilation"] = (2, 1)
    dense = nn.Conv2d(4, 4, (4, 3), **settings)
    ours = DclsConv2d(4, 4, 12, extent=(4, 3), **settings)
    with torch.no_grad():
        ours.weight.copy_(dense.weight.flatten(2))
        places = torch.cartesian_prod(torch.arange(4.0) - 1.5, torch.arange(3.0) - 1).T
        ours.position.copy_(places[:, None, None].expand_as(ours.position))
        ours.bias.copy_(dense.bias)
    for x in (torch.randn(2, 4, 9, 8), torch.randn(4, 9, 8)):
        torch.testing.assert_close(ours(x), dense(x), rtol=0, atol=1e-5)


@INTERPOLATIONS
@pytest.mark.parametrize("extent", [4, 5])
def test_a_position_at_the_edge_can_move(interpolation: Any, extent: int) -> None:
    """Clamped there, it has a gradient; beyond the edge, one that leads back."""
    layer = DclsConv1d(1, 1, 1, extent=extent, interpolation=interpolation, bias=False)
    ramp = torch.arange(float(extent)).view(1, 1, -1)
    for start in (-9.0, -(extent - 1) / 2, (extent - 1) / 2, 9.0):
        with torch.no_grad():
            layer.position.fill_(start)
            layer.weight.fill_(1.0)
        (gradient,) = torch.autograd.grad(layer(ramp).sum(), layer.position)
        assert gradient.item() > 1e-3  # a further place has a larger value
    clamp_delays_(layer)
    assert layer.position.item() == (extent - 1) / 2


def test_published_initial_values() -> None:
    torch.manual_seed(0)
    layer = DclsConv2d(32, 32, 20, extent=17)
    assert layer.position.std().item() == pytest.approx(0.5, abs=0.01)
    bound = (1 / (32 * 20)) ** 0.5
    assert layer.weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert layer.bias is not None
    assert layer.bias.abs().max().item() <= bound
    assert DclsConv1d(1, 1, 1, extent=3, interpolation="gaussian").sigma == pytest.approx((0.5,))
    assert DclsConv1d(1, 1, 1, extent=3, interpolation="triangle").sigma == (0.0,)
    one_axis = DclsConv3d(4, 4, 5, extent=(2, 2, 21), learned_axes=[2])
    assert one_axis.position.shape == (1, 4, 4, 2, 2, 5)
    assert one_axis.position.std().item() == pytest.approx(20 / 12**0.5, rel=0.05)


def test_positions_have_a_group_of_their_own_and_sigma_a_schedule() -> None:
    net = nn.Sequential(
        DclsConv2d(2, 2, 3, extent=5, interpolation="gaussian"),
        DclsConv2d(2, 2, 3, extent=5, interpolation="gaussian", sigma_learned=True),
    )
    groups = {one["name"]: one for one in parameter_groups(net, weight_lr=0.01)}
    assert [one.shape[0] for one in groups["positions"]["params"]] == [2, 2]
    assert (groups["positions"]["lr"], groups["positions"]["weight_decay"]) == (0.05, 0.0)
    assert [tuple(one.shape) for one in groups["undecayed"]["params"]] == [(2, 1, 1, 1)]
    set_sigma(net, 1.5)
    assert (net[0].sigma, net[1].sigma) == ((1.5, 1.5), pytest.approx((0.5, 0.5)))
    net[0].sigma = (0.25, 2.0)
    assert net[0].sigma == (0.25, 2.0)


def test_at_sigma_zero_positions_act_as_whole_numbers_and_rest() -> None:
    torch.manual_seed(0)
    layer = DclsConv1d(1, 1, 1, extent=5, interpolation="gaussian", bias=False)
    with torch.no_grad():
        layer.position.fill_(0.4)
    moved = torch.optim.Adam(layer.parameters(), lr=0.1)
    x = torch.arange(5.0).view(1, 1, 5)
    for sigma, still in ((0.5, False), (0.0, True)):
        set_sigma(layer, sigma)
        before = layer.position.detach().clone()
        moved.zero_grad()
        layer(x).sum().backward()
        moved.step()
        assert torch.equal(before, layer.position) == still
    assert layer.kernel().count_nonzero() == 1


def test_state_dicts_copies_and_pickles_keep_all() -> None:
    layer = DclsConv2d(2, 4, 3, extent=(3, 5), interpolation="gaussian", padding=1)
    layer.sigma = (0.3, 0.7)
    x = torch.randn(1, 2, 6, 6)
    other = DclsConv2d(2, 4, 3, extent=(3, 5), interpolation="gaussian", padding=1)
    other.load_state_dict(layer.state_dict())
    assert sorted(layer.state_dict()) == ["_sigma", "bias", "position", "weight"]
    for copied in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert copied.sigma == (0.3, 0.7)
        assert torch.equal(copied(x), layer(x))
    assert layer.double()._sigma.dtype == torch.float64
    assert layer.half()._sigma.dtype == torch.float64
    damaged = layer.state_dict() | {"_sigma": torch.tensor([0.1, -1.0])}
    with pytest.raises(UsageError, match="_sigma must be a number of elements >= 0, got -1"):
        layer.load_state_dict(damaged)


@pytest.mark.parametrize("axes", [[0, 1], [1]])
def test_precision_and_memory_format(axes: list[int]) -> None:
    torch.manual_seed(0)
    settings: Any = {"interpolation": "gaussian", "learned_axes": axes}
    layer = DclsConv2d(4, 4, 3, extent=5, padding=2, groups=4, **settings)
    x = torch.randn(2, 4, 8, 8)
    exact = layer.double()(x.double())
    layer.float()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), exact, rtol=0, atol=0.03)
    wide = layer(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(wide.double(), exact, rtol=0, atol=1e-5)
    layer.to(memory_format=torch.channels_last)  # what ConvNeXts are moved to as a whole
    torch.testing.assert_close(layer(x).double(), exact, rtol=0, atol=1e-5)
    assert layer.to(torch.bfloat16)(x.bfloat16()).dtype == torch.bfloat16
    assert layer.to("meta")(x.bfloat16().to("meta")).shape == (2, 4, 8, 8)


@pytest.mark.usefixtures("unchecked")
def test_it_compiles_to_one_graph_for_every_width() -> None:
    torch.manual_seed(0)
    layer = DclsConv2d(4, 4, 3, extent=5, padding=2, interpolation="gaussian")
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 4, 8, 8)
    for sigma in (0.5, 1.0, 0.0):
        layer.sigma = sigma
        torch.testing.assert_close(compiled(x), layer(x), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"extent": (3,)}, "extent must be a whole number or one for each of 2 axes, got (3,)"),
        ({"extent": 0}, "extent must be a whole number >= 1, got 0"),
        ({"learned_axes": [1, 0]}, "learned_axes must be rising axes from 0 to 1"),
        ({"learned_axes": []}, "learned_axes must be rising axes from 0 to 1"),
        ({"groups": 3}, "in_channels must be a multiple of groups = 3, got 4"),
        ({"padding": "same", "stride": 2}, "padding='same' needs a stride of 1"),
        ({"sigma": 1.0}, "interpolation='bilinear' has no width, got sigma=1.0"),
        ({"interpolation": "cubic"}, "interpolation must be one of bilinear, triangle, gaussian"),
        (
            {"interpolation": "gaussian", "sigma": (1.0, 2.0, 3.0)},
            "sigma must be a number or one for each of 2 learned axes",
        ),
        (
            {"interpolation": "gaussian", "sigma": -1.0},
            "sigma must be a number of elements >= 0, got -1",
        ),
    ],
)
def test_what_makes_no_convolution_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        DclsConv2d(4, 4, 2, **({"extent": 3} | settings))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_inputs_and_positions_that_are_none_are_refused() -> None:
    layer = DclsConv2d(4, 4, 2, extent=3)
    with pytest.raises(UsageError, match=r"needs \[N, 4, 2 axes of space\] .* got \[1, 3, 5, 5\]"):
        layer(torch.zeros(1, 3, 5, 5))
    with torch.no_grad():
        layer.position[0, 0, 0, 0] = torch.nan
    for act in (lambda: layer(torch.zeros(1, 4, 5, 5)), layer.clamp_):
        with pytest.raises(UsageError, match="1 of 64 positions are NaN|1 of 32 positions are NaN"):
            act()
