"""Adaptive nodes do what their papers say, and the sweep what the loop does."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import functional
from torch import Tensor

from snn_delays.deploy import integer_table, quantised
from snn_delays.deploy.fixed_point import fixed_point
from snn_delays.errors import UsageError
from snn_delays.layers import DelayLayer, parameter_groups
from snn_delays.layers.networks import clamp_delays_
from snn_delays.network import DelaySNN
from snn_delays.neurons import (
    AdaptiveNode,
    AdLIFNode,
    CAdLIFNode,
    LeakyReadout,
    SEAdLIFNode,
    SiLIFNode,
)
from snn_delays.ops import adaptive
from snn_delays.ops.surrogates import SURROGATES
from snn_delays.table.simulator import simulate

TIGHT: Any = {"rtol": 0.0, "atol": 1e-9}
SHAPE = (30, 4, 6)


def currents(scale: float = 3.0) -> Tensor:
    torch.manual_seed(1)
    return scale * torch.randn(SHAPE, dtype=torch.float64) + 0.5


def bittar_garner(x: Tensor, alpha: Tensor, beta: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """w = βw + a·u₋₁ + b·s₋₁; u = α(u₋₁ − s₋₁) + (1 − α)(I − w); s where u ≥ 1."""
    u = w = s = torch.zeros(x.shape[1:], dtype=x.dtype)
    found = []
    for now in x:
        w = beta * w + a * u + b * s
        u = alpha * (u - s) + (1 - alpha) * (now - w)
        s = (u >= 1).to(x.dtype)
        found.append(s)
    return torch.stack(found)


@pytest.mark.parametrize("make", [AdLIFNode, CAdLIFNode, SiLIFNode])
def test_adlif_is_the_equation_of_its_paper(make: Any) -> None:
    torch.manual_seed(0)
    node = make(6).double()
    if make is SiLIFNode:
        step = node.delta.exp()
        shares = torch.exp(-node.A.exp() * step), torch.exp(-node.B.exp() * step)
    else:
        shares = node.alpha, node.beta
    spikes = node(currents())
    assert 0.02 < float(spikes.detach().mean()) < 0.7
    torch.testing.assert_close(
        spikes.detach(), bittar_garner(currents(), *shares, node.a, node.b).detach()
    )


def test_se_adlif_is_the_equation_of_its_paper() -> None:
    """û = αu₋₁ + (1 − α)(I − w₋₁); u = û(1 − s); w = βw₋₁ + (1 − β)·q·(a·u + b·s)."""
    torch.manual_seed(0)
    node = SEAdLIFNode(6, q=20.0).double()
    x = currents(6.0)
    u = w = torch.zeros(x.shape[1:], dtype=x.dtype)
    found = []
    for now in x:
        u = node.alpha * u + (1 - node.alpha) * (now - w)
        s = (u >= 1).to(x.dtype)
        u = u * (1 - s)
        w = node.beta * w + (1 - node.beta) * 20.0 * (node.a * u + node.b * s)
        found.append(s)
    spikes = node(x)
    assert 0.02 < float(spikes.detach().mean()) < 0.7
    torch.testing.assert_close(spikes.detach(), torch.stack(found).detach())


def test_constants_begin_in_their_published_ranges() -> None:
    def ends(values: Tensor) -> tuple[float, float]:
        return float(values.min().detach()), float(values.max().detach())

    for node, name, low, high in (
        (AdLIFNode(2000), "alpha", math.exp(-1 / 5), math.exp(-1 / 25)),
        (AdLIFNode(2000), "beta", math.exp(-1 / 30), math.exp(-1 / 120)),
        (AdLIFNode(2000), "a", -1.0, 1.0),
        (AdLIFNode(2000), "b", 0.0, 2.0),
        (CAdLIFNode(2000), "alpha", 0.36, 0.96),
        (CAdLIFNode(2000), "beta", 0.96, 0.99),
        (CAdLIFNode(2000), "a", 0.0, 1.0),
        (SEAdLIFNode(2000), "beta", math.exp(-1 / 60), math.exp(-1 / 300)),
        (SiLIFNode(2000), "A", math.log(10), math.log(250)),
        (SiLIFNode(2000), "B", math.log(2.5), math.log(10)),
    ):
        found = ends(node.get_parameter(name))
        assert low <= found[0] < low + 0.01 * (high - low)
        assert high >= found[1] > high - 0.01 * (high - low)


@pytest.mark.parametrize("make", [AdLIFNode, SEAdLIFNode, SiLIFNode])
def test_time_constants_of_other_steps(make: Any) -> None:
    """Steps of 10 ms in place of 4."""
    node = make(500, tau_v=(2, 10), tau_w=(24, 120)).double()
    shares = node.acting()[:2]
    for kept, (shortest, longest) in zip(shares, ((2, 10), (24, 120)), strict=True):
        taus = -1 / kept.detach().log()
        assert shortest * 0.999 < float(taus.min()) < shortest * 1.1
        assert longest * 0.9 < float(taus.max()) < longest * 1.001


@given(
    seed=st.integers(0, 2**16),
    v_reset=st.sampled_from([None, 0.0, -0.2]),
    feedback=st.sampled_from(["before", "after"]),
    surrogate=st.sampled_from(list(SURROGATES)),
    detach_reset=st.booleans(),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 4), st.integers(1, 7)),
)
@settings(max_examples=60, deadline=None)
def test_the_sweep_is_the_loop(
    seed: int, v_reset: Any, feedback: Any, surrogate: str, detach_reset: bool, shape: Any
) -> None:
    """Values, and gradients to currents, both states and all constants."""
    torch.manual_seed(seed)
    node = AdaptiveNode(
        shape[2],
        a=(-1.0, 1.0),
        b=(0.0, 1.0),
        v_reset=v_reset,
        feedback=feedback,
        surrogate=surrogate,
        surrogate_alpha=1.7,
        detach_reset=detach_reset,
    ).double()
    x = 3 * torch.randn(shape, dtype=torch.float64)
    before = [torch.randn(shape[1:], dtype=torch.float64) for _ in range(2)]
    upstream = torch.randn(shape, dtype=torch.float64)
    found = []
    for run in (adaptive.sweep, adaptive.scan):
        inputs = [one.clone().requires_grad_() for one in (x, *before)]
        node.v, node.w = inputs[1:]
        cell = node.cell(inputs[0][0])
        assert cell is not None
        spikes, v, w = run(inputs[0], cell)
        loss = (spikes * upstream).sum() + (v * upstream[0]).sum() + w.square().sum()
        found.append([spikes, v, w, *torch.autograd.grad(loss, [*inputs, *node.parameters()])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, **TIGHT)


def test_gradients_below_the_threshold_are_those_of_the_function() -> None:
    """Where nothing spikes v and w are smooth in all that they depend on."""
    torch.manual_seed(0)
    node = AdaptiveNode(3, a=(-1.0, 1.0), b=(0.0, 1.0), v_threshold=50.0).double()
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, *constants: Tensor) -> Tensor:
        states = [torch.zeros(2, 3, dtype=torch.float64)] * 2
        cell = adaptive.Cell(*constants, *states, node.cell(x[0]).firing, True)  # pyright: ignore
        _, v, w = adaptive.sweep(x, cell)
        return torch.cat([v, w])

    alpha, beta, a, b = (one.detach() for one in node.acting())
    constants = [one.clone().requires_grad_() for one in (alpha, 1 - alpha, beta, a, b)]
    assert torch.autograd.gradcheck(run, (x, *constants))
    assert torch.autograd.gradgradcheck(run, (x, *constants))


@pytest.mark.parametrize("make", [AdLIFNode, CAdLIFNode, SEAdLIFNode, SiLIFNode])
def test_steps_and_pieces_are_the_whole_sequence(make: Any) -> None:
    torch.manual_seed(0)
    node, x = make(6).double(), currents()
    whole = node(x)
    functional.reset_net(node)
    torch.testing.assert_close(torch.cat([node(x[:7]), node(x[7:])]), whole)
    functional.reset_net(node)
    node.step_mode = "s"
    torch.testing.assert_close(torch.stack([node(now) for now in x]), whole)
    whole.sum().backward()
    assert all(one.grad is not None and bool(one.grad.any()) for one in node.parameters())


def test_constants_come_back_into_their_ranges_and_do_not_decay() -> None:
    node = CAdLIFNode(4)
    with torch.no_grad():
        node.get_parameter("alpha").fill_(3.0)
    assert node.acting()[0].tolist() == pytest.approx([0.96] * 4)
    clamp_delays_(node)
    assert node.get_parameter("alpha").tolist() == pytest.approx([0.96] * 4)
    groups = {group["name"]: len(group["params"]) for group in parameter_groups(node)}
    assert groups == {"undecayed": 4}


@pytest.mark.usefixtures("unchecked")
def test_refused() -> None:
    state = CAdLIFNode(4).state_dict()
    state["alpha"] = torch.tensor([0.5, 0.99, 0.5, 0.5])
    with pytest.raises(UsageError, match=r"alpha must lie in 0.36 … 0.96, got 0.99 in 1 of 4"):
        CAdLIFNode(4).load_state_dict(state)
    CAdLIFNode(4, alpha=(0.3, 1.0)).load_state_dict(state)
    with pytest.raises(UsageError, match=r"alpha must be a range \(low, high\), got 0.5"):
        CAdLIFNode(3, alpha=0.5)
    with pytest.raises(UsageError, match=r"SiLIFNode: tau_v must be a range of positive numbers"):
        SiLIFNode(3, tau_v=(0, 25))
    with pytest.raises(UsageError, match=r"AdLIFNode: tau_w must be a range \(low, high\)"):
        AdLIFNode(3, tau_w=(120, 30))
    with pytest.raises(UsageError, match="surrogate must be one of atan, sigmoid, boxcar"):
        AdLIFNode(3, surrogate="step")
    node = AdLIFNode(3)
    with pytest.raises(UsageError, match=r"AdLIFNode: input must be \[T, N, 3\]"):
        node(torch.zeros(5, 2, 4))
    with torch.no_grad():
        node.get_parameter("beta")[1] = math.nan
    with pytest.raises(UsageError, match="beta is NaN"):
        clamp_delays_(node)


@pytest.mark.parametrize("make", [AdLIFNode, CAdLIFNode, SEAdLIFNode, SiLIFNode])
def test_in_whole_numbers(make: Any) -> None:
    """With many bits the whole-number neurons fire as the float ones do."""
    torch.manual_seed(0)
    synapses, output = partial(DelayLayer, max_delay=3), partial(LeakyReadout, 9.0)
    net = DelaySNN([6, 20, 4], synapses, make, output=output)
    with torch.no_grad():
        net.get_parameter("blocks.0.synapses.weight").mul_(4)
    table = quantised(integer_table(net.eval(), dt_ms=4.0), 8)
    whole = fixed_point(table, beta_shift=20, weight_shift=14)
    assert whole.populations[0].model.name == "IntAdLIF"
    counts = np.random.default_rng(0).poisson(0.5, (40, 6))
    float_run, whole_run = simulate(table, counts), simulate(whole, counts)
    assert float_run.spikes["hidden0"].sum() > 20
    np.testing.assert_array_equal(float_run.spikes["hidden0"], whole_run.spikes["hidden0"])
    shifted = fixed_point(table, leak="shift", beta_shift=8).populations[0].parameters["a"]
    assert set(np.abs(shifted)) <= {0, *(1 << np.arange(16)), *(256 - (1 << np.arange(8)))}
