"""Neurons against their recurrences, written out."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based import functional, neuron, surrogate

from snn_delays.errors import UsageError
from snn_delays.neurons import CAdLIFNode, LeakyReadout, LIFNode, ParametricLIFNode, lif
from snn_delays.neurons.cubalif import CuBaLIFNode

TAUS = st.floats(1.005, 50)


@given(
    tau=TAUS,
    threshold=st.floats(0.3, 2),
    v_reset=st.sampled_from([0.0, -0.4, None]),
    seed=st.integers(0, 2**16),
)
def test_lif_is_its_recurrence(
    tau: float, threshold: float, v_reset: float | None, seed: int
) -> None:
    torch.manual_seed(seed)
    x = torch.randn(30, 2, dtype=torch.float64)
    node = lif(tau, v_threshold=threshold, v_reset=v_reset)
    spikes = node(x.unsqueeze(-1)).squeeze(-1)
    for n in range(2):
        rest = 0.0 if v_reset is None else v_reset
        v = rest
        for t in range(30):
            h = rest + (1 - 1 / tau) * (v - rest) + x[t, n].item()
            spike = h >= threshold
            assert spikes[t, n].item() == spike
            v = h if not spike else h - threshold if v_reset is None else v_reset


def test_lif_fires_at_the_threshold_itself_and_does_not_scale_its_input() -> None:
    x = torch.tensor([1.0, 0.0, 1.0 - 2**-20, 0.0]).view(4, 1, 1)
    assert lif(2.0)(x).flatten().tolist() == [1, 0, 0, 0]


@given(alpha=st.floats(0.5, 10), h=st.floats(-1, 3))
def test_the_surrogate_is_the_derivative_of_an_arctangent(alpha: float, h: float) -> None:
    x = torch.tensor([[[h]]], dtype=torch.float64, requires_grad=True)
    lif(2.0, surrogate_alpha=alpha)(x).sum().backward()
    expected = alpha / 2 / (1 + (math.pi / 2 * alpha * (h - 1)) ** 2)
    assert x.grad is not None
    assert x.grad.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("detach_reset", [True, False])
def test_the_gradient_through_time_stops_at_a_detached_reset(detach_reset: bool) -> None:
    tau, alpha, steps = 3.0, 5.0, 20
    x = (1.5 * torch.rand(steps, 1, 1, dtype=torch.float64)).requires_grad_()
    spikes = lif(tau, surrogate_alpha=alpha, detach_reset=detach_reset)(x)
    assert 0 < spikes.sum() < steps
    spikes.sum().backward()

    # Backwards by hand: v = h · (1 − s), s a step whose slope is the surrogate's.
    beta, v, hs, ss = 1 - 1 / tau, 0.0, [], []
    for value in x.flatten().tolist():
        hs.append(beta * v + value)
        ss.append(float(hs[-1] >= 1))
        v = hs[-1] * (1 - ss[-1])
    expected, dv = [0.0] * steps, 0.0
    for t in reversed(range(steps)):
        slope = alpha / 2 / (1 + (math.pi / 2 * alpha * (hs[t] - 1)) ** 2)
        ds = 1.0 if detach_reset else 1.0 - dv * hs[t]
        expected[t] = dv * (1 - ss[t]) + ds * slope
        dv = beta * expected[t]
    assert x.grad is not None
    assert x.grad.flatten().tolist() == pytest.approx(expected, rel=1e-9)


@given(
    tau=TAUS,
    v_reset=st.sampled_from([0.0, -0.4, None]),
    decay_input=st.booleans(),
    detach_reset=st.booleans(),
    kind=st.sampled_from([surrogate.ATan, surrogate.Sigmoid]),
    store=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_the_compiled_node_is_spikingjellys(
    tau: float,
    v_reset: float | None,
    decay_input: bool,
    detach_reset: bool,
    kind: type,
    store: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    gain = tau if decay_input else 1.0
    x = gain * torch.randn(12, 2, 3, dtype=torch.float64)
    judge, judge_v = torch.randn_like(x), torch.randn_like(x[0])
    results = []
    for make in (neuron.LIFNode, LIFNode):
        node = make(
            tau=tau,
            decay_input=decay_input,
            v_reset=v_reset,
            surrogate_function=kind(alpha=4.0),
            detach_reset=detach_reset,
            step_mode="m",
            store_v_seq=store,
        )
        leaf = x.clone().requires_grad_()
        # In two pieces: the gradient crosses over by the potential, and ends in it.
        spikes = torch.cat([node(leaf[:5]), node(leaf[5:])])
        loss = (spikes * judge).sum() + (node.v * judge_v).sum()
        stored = node.v_seq if store else node.v
        results.append([spikes, node.v, stored, *torch.autograd.grad(loss, leaf)])
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


@given(tau=TAUS, steps=st.integers(0, 20), seed=st.integers(0, 2**16))
def test_the_leaky_readout_is_its_closed_form(tau: float, steps: int, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(steps, 2, 3, dtype=torch.float64)
    # v[t] = Σ_{s ≤ t} β^(t − s) · x[s]
    age = torch.arange(steps)[:, None] - torch.arange(steps)
    kernel = torch.where(age >= 0, (1 - 1 / tau) ** age.clamp(min=0).double(), 0.0)
    got = LeakyReadout(tau)(x)
    torch.testing.assert_close(got, torch.einsum("ts,snc->tnc", kernel, x), rtol=0, atol=1e-10)


def test_the_leaky_readout_steps_resets_and_passes_gradients() -> None:
    x = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True)
    readout = LeakyReadout(4.0)
    whole = readout(x)
    pieces = LeakyReadout(4.0)
    assert torch.equal(torch.cat([pieces(x[:2]), pieces(x[2:])]), whole)
    functional.reset_net(readout)
    readout.step_mode = "s"
    assert torch.equal(torch.stack([readout(step) for step in x]), whole)
    assert torch.autograd.gradcheck(lambda x: LeakyReadout(4.0)(x), (x,))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("tau", [1.0, 0.5, 0, -3.0, math.nan, math.inf, "10 ms", None])
@pytest.mark.parametrize("neuron", [lif, LeakyReadout])
def test_a_tau_of_one_step_or_less_is_named(neuron: type, tau: object) -> None:
    with pytest.raises(UsageError) as caught:
        neuron(tau)
    said = str(caught.value)
    assert said.startswith(f"{neuron.__name__}: tau must be above 1 step, got {tau!r}. ")
    assert "\n" not in said


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["v_threshold", "surrogate_alpha"])
@pytest.mark.parametrize("value", [0, -1.0, math.nan, "high"])
def test_a_threshold_or_steepness_that_is_not_positive_is_named(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"lif: {name} must be a number > 0, got {value!r}"):
        lif(2.0, **{name: value})


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("node", [lif(2.0), CAdLIFNode(3)], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("name", ["v_threshold", "v_reset"])
def test_a_threshold_that_would_learn_nothing_is_refused(node: Any, name: str) -> None:
    node = copy.deepcopy(node)
    setattr(node, name, torch.nn.Parameter(torch.tensor(0.5)))
    with pytest.raises(UsageError, match=f"{name} must be a number, got a Parameter"):
        node(torch.ones(4, 1, 3))


def test_the_compiled_loops_leave_torch_its_number_of_threads() -> None:
    # In a process of its own: numba's threads start once. They share OpenMP with torch's.
    script = (
        "import torch; from snn_delays.neurons import lif; torch.set_num_threads(1); "
        "lif(2.0)(torch.rand(5, 2, 3)); assert torch.get_num_threads() == 1"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=800)


def test_a_surrogate_that_is_a_plain_function_is_taken_as_spikingjelly_takes_it():
    x = torch.randn(5, 2, 3)
    nodes = [
        kind(surrogate_function=lambda u: (u >= 0).to(u), step_mode="m")
        for kind in (LIFNode, neuron.LIFNode)
    ]
    assert torch.equal(nodes[0](x), nodes[1](x))


@pytest.mark.parametrize("make", [LIFNode, ParametricLIFNode, CuBaLIFNode])
def test_a_surrogate_that_is_changed_is_that_of_one_node(make: Any) -> None:
    changed, other, theirs = make(2.0, step_mode="m"), make(2.0, step_mode="m"), neuron.LIFNode()
    assert type(other.surrogate_function) is type(theirs.surrogate_function)
    changed.surrogate_function.alpha = 9.0
    assert other.surrogate_function.alpha == theirs.surrogate_function.alpha == 4.0


class Leakless(LIFNode):
    """A node with another equation, where SpikingJelly has its nodes' equations."""

    def single_step_functional_forward(self, inputs: Any, states: Any, **kwargs: Any) -> Any:
        v = states[0] + inputs[0]
        spikes = (v >= self.v_threshold).to(v)
        return (spikes,), (v * (1 - spikes), *states[1:])

    def multi_step_functional_forward(self, inputs: Any, states: Any, **kwargs: Any) -> Any:
        found = []
        for now in inputs[0]:
            (spikes,), states = self.single_step_functional_forward((now,), states)
            found.append(spikes)
        return (torch.stack(found),), states


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_a_subclass_with_another_equation_takes_it(step_mode: str) -> None:
    node = Leakless(tau=1.5, step_mode=step_mode)
    x = torch.full((4, 1, 1), 0.4)
    spikes = node(x) if step_mode == "m" else torch.stack([node(now) for now in x])
    assert spikes.flatten().tolist() == [0, 0, 1, 0]
