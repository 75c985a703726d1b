"""Whose delays they are: every granularity against the reference, and as deployed."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

from snn_delays.deploy import integer_table
from snn_delays.errors import UsageError
from snn_delays.interpolation import INTERPOLATIONS
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.layers.granularity import GRANULARITIES
from snn_delays.layers.groups import parameter_groups
from snn_delays.layers.networks import clamp_delays_, rounded, set_sigma
from snn_delays.layers.recurrent import RecurrentDelayLayer
from snn_delays.neurons import LeakyReadout
from snn_delays.ops import factored, plan, reference

BOTH = "axonal+dendritic"
OF_NEURONS = [one for one in GRANULARITIES if one != "synaptic"]


def passes(layer: DelayLayer, x: Tensor, pieces: int, method: str = "auto") -> list[Tensor]:
    """Values and gradients: of a whole sequence, of pieces of it, or (0) of single steps."""
    layer.method = method
    layer.step_mode = "m" if pieces else "s"
    functional.reset_net(layer)
    x = x.clone().requires_grad_()
    parts = [layer(part) for part in (x.chunk(pieces) if pieces else x)]
    y = torch.cat(parts) if pieces else torch.stack(parts)
    weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), [x, *layer.parameters()])]


@settings(max_examples=60, deadline=None)
@given(
    granularity=st.sampled_from(GRANULARITIES),
    interpolation=st.sampled_from(INTERPOLATIONS),
    sigma=st.sampled_from([0.0, 0.3, 0.5, 1.4, 6.0]),
    kernel_count=st.integers(1, 3),
    max_delay=st.integers(1, 12),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 18), st.integers(1, 35), st.integers(1, 18)),
    straight=st.booleans(),
    seed=st.integers(0, 99),
)
def test_all_ways_through_a_layer_are_the_reference(
    granularity: str,
    interpolation: str,
    sigma: float,
    kernel_count: int,
    max_delay: int,
    sizes: tuple[int, int, int, int],
    straight: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    pre, post, steps, batch = sizes[0], sizes[1], sizes[2], sizes[3]
    layer = DelayLayer(
        *(pre, post, max_delay),
        granularity=granularity,
        interpolation=interpolation,
        kernel_count=kernel_count,
        sigma=sigma,
    ).double()
    layer.rounding = "straight_through" if straight else "none"
    x = torch.randn(steps, batch, pre, dtype=torch.float64)
    expected = passes(layer, x, 1, "reference")
    methods = {"axonal": ["axonal"], "dendritic": ["dendritic"], "common": ["axonal", "dendritic"]}
    for method in ["auto", *methods.get(granularity, [])]:
        for pieces in (1, 2, 0):
            for got, wanted in zip(passes(layer, x, pieces, method), expected, strict=True):
                torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("into_one", [False, True])
@pytest.mark.parametrize("sigma", [0.0, 0.5, 5.0])
def test_the_compiled_filter_is_the_grouped_convolution(into_one: bool, sigma: float) -> None:
    x = torch.randn(37, 21, 40, dtype=torch.float64, requires_grad=True)
    delay = (9 * torch.rand(20 if into_one else 40, 2, dtype=torch.float64)).requires_grad_()
    found = []
    for width in (sigma, torch.tensor(sigma, dtype=torch.float64)):  # of a tensor in torch alone
        y = factored.along_time(x, delay, width, 9, "gaussian", into_one)
        found.append([y.detach(), *torch.autograd.grad((y**2).sum(), [x, delay])])
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_delayed_spikes_are_made_again_not_kept() -> None:
    """Of an axonal layer's forward pass its input stays alone, beside what is small."""
    layer = DelayLayer(40, 50, 9, granularity="axonal", sigma=0.5)
    x = torch.randn(60, 30, 40, requires_grad=True)
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        y = layer(x)
    assert x.nbytes <= sum(kept.values()) < 1.5 * x.nbytes

    functional.reset_net(layer)
    source = torch.randn(60, 30, 40)
    y = layer(source)
    source.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()

    functional.reset_net(layer)
    layer.delay.requires_grad_(False)  # so that nothing of torch's watches them
    y = layer(x)
    layer.delay.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("method", ["axonal", "dendritic"])
def test_gradients_of_gradients(method: str) -> None:
    x = torch.randn(7, 2, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    shape = (1, 3, 2) if method == "axonal" else (2, 1, 2)
    delay = (4 * torch.rand(shape, dtype=torch.float64)).requires_grad_()

    def run(x: Tensor, weight: Tensor, delay: Tensor) -> Tensor:
        limits = {"sigma": 1.1, "max_delay": 4, "interpolation": "gaussian"}
        return plan.delay_convolution(x, weight, delay, **limits, method=method)

    assert torch.autograd.gradcheck(run, (x, weight, delay))
    assert torch.autograd.gradgradcheck(run, (x, weight, delay))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("granularity", OF_NEURONS)
def test_compilers_and_transforms_take_every_granularity(granularity: str) -> None:
    layer = DelayLayer(5, 4, 6, granularity=granularity, sigma=1.2).double()
    x = torch.randn(9, 2, 5, dtype=torch.float64)
    expected = layer(x)
    functional.reset_net(layer)
    compiled = torch.compile(layer, backend="eager")
    torch.testing.assert_close(compiled(x), expected)
    functional.reset_net(layer)
    state = {name: one.detach() for name, one in layer.named_parameters()}

    def loss(state: dict[str, Tensor]) -> Tensor:
        functional.reset_net(layer)
        return torch.func.functional_call(layer, state, (x,)).square().sum()

    found = torch.func.grad(loss)(state)
    functional.reset_net(layer)
    wanted = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    for name, gradient in zip(state, wanted, strict=True):
        torch.testing.assert_close(found[name], gradient)


@pytest.mark.parametrize("granularity", OF_NEURONS)
def test_half_precision_touches_products_only(granularity: str) -> None:
    layer = DelayLayer(40, 30, 24, granularity=granularity)
    x = (torch.rand(30, 4, 40) < 0.2).float()
    exact = layer(x)
    functional.reset_net(layer)
    with torch.autocast("cpu", torch.bfloat16):
        rough = layer(x)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.03 * exact.abs().max()


@pytest.mark.parametrize("granularity", OF_NEURONS)
def test_without_numba_the_same(granularity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = DelayLayer(6, 5, 7, granularity=granularity, sigma=0.5).double()
    x = torch.randn(12, 3, 6, dtype=torch.float64)
    compiled = passes(layer, x, 1)
    monkeypatch.setattr(factored, "factored_cpu", None)
    for got, wanted in zip(passes(layer, x, 1), compiled, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_the_plan_takes_one_product_where_neurons_have_delays() -> None:
    x, weight = (torch.rand(20, 4, 256) < 0.1).float(), torch.randn(256, 256, 1)
    for sigma in (12.27, 2.0, 0.5, 0.0):
        limits = (sigma, 24, "gaussian")
        assert plan.method_for(x, weight, torch.rand(1, 256, 1), *limits) == "axonal"
        assert plan.method_for(x, weight, torch.rand(256, 1, 1), *limits) == "dendritic"
        assert plan.method_for(x, weight, torch.rand(256, 256, 1), *limits) not in plan.ONE_END


@pytest.mark.parametrize(
    ("granularity", "method", "message"),
    [
        ("synaptic", "axonal", r"method='axonal' needs delays \[1, pre, k\] of axonal or common"),
        ("axonal", "dendritic", r"needs delays \[post, 1, k\] .*, got \[1, 3, 1\]"),
        (BOTH, "dense", "method='dense' takes one delay of every synapse, got axonal\\+dendritic"),
    ],
)
def test_a_method_for_other_delays_is_refused(granularity: str, method: str, message: str) -> None:
    layer = DelayLayer(3, 4, 5, granularity=granularity, method=method)
    with pytest.raises(UsageError, match=message):
        layer(torch.zeros(2, 1, 3))


def test_recurrent_synapses_have_no_delays_of_both_ends() -> None:
    with pytest.raises(UsageError, match="RecurrentDelayLayer: granularity must be one of"):
        RecurrentDelayLayer(3, neuron.LIFNode(), 4, granularity=BOTH)


@pytest.mark.parametrize("kernel_count", [1, 2])
@pytest.mark.parametrize("max_delay", [1, 2, 7])
def test_delays_of_both_ends_share_the_range_and_are_rounded_apart(
    max_delay: int, kernel_count: int
) -> None:
    layer = DelayLayer(6, 5, max_delay, granularity=BOTH, kernel_count=kernel_count).double()
    assert layer.delay_ranges == {
        "delay_pre": (0, max_delay - max_delay // 2),
        "delay_post": (0, max_delay // 2),
    }
    assert torch.equal(layer.delay, layer.delay_pre + layer.delay_post)
    assert layer.delay.shape == (5, 6, kernel_count)
    whole = layer.integer_delays()
    assert torch.equal(whole, (layer.delay_pre.round() + layer.delay_post.round()).long())
    deployed = rounded(layer)
    assert torch.equal(deployed.delay.long(), whole)
    x = torch.randn(9, 2, 6, dtype=torch.float64)
    expected = reference.integer_delays(x, layer.weight, whole)
    torch.testing.assert_close(deployed(x), expected)
    with torch.no_grad():
        layer.delay_pre.add_(100)
        layer.delay_post.sub_(100)
    clamp_delays_(layer)
    assert layer.delay_pre.unique().tolist() == [max_delay - max_delay // 2]
    assert layer.delay_post.unique().tolist() == [0]
    again = pickle.loads(pickle.dumps(layer))
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again.delay, layer.delay)


def test_delays_of_both_ends_learn_at_the_rate_of_delays_and_rest_at_zero_width() -> None:
    net = nn.Sequential(DelayLayer(4, 5, 6, granularity=BOTH), neuron.LIFNode(step_mode="m"))
    weights, delays = parameter_groups(net, delay_lr=0.3)
    assert [one.shape for one in delays["params"]] == [(1, 4, 1), (5, 1, 1)]
    assert delays["lr"] == 0.3
    assert len(weights["params"]) == 1
    optimizer = torch.optim.Adam([weights, delays])
    for sigma in (2.0, 0.0):
        set_sigma(net, sigma)
        before = [one.detach().clone() for one in delays["params"]]
        functional.reset_net(net)
        optimizer.zero_grad()
        net[0](torch.rand(9, 2, 4)).square().sum().backward()
        optimizer.step()
        moved = [not torch.equal(a, b) for a, b in zip(before, delays["params"], strict=True)]
        assert moved == [sigma > 0, sigma > 0]


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_every_granularity_becomes_a_table_of_its_whole_delays(granularity: str) -> None:
    torch.manual_seed(3)
    net = nn.Sequential(
        DelayLayer(6, 8, 5, granularity=granularity, kernel_count=2),
        neuron.LIFNode(tau=2.0, step_mode="m", detach_reset=True),
        DelayLayer(8, 3, 4, granularity=granularity),
        LeakyReadout(4.0),
    )
    deployed = rounded(net)
    table = integer_table(net, dt_ms=1.0)
    for layer, projection in zip((deployed[0], deployed[2]), table.projections, strict=True):
        assert projection.delay.max() <= layer.max_delay
        whole = layer.integer_delays().expand(layer.weight.shape)
        assert set(projection.delay.tolist()) <= set(whole.flatten().tolist())
