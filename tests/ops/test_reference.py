"""The delay convolution: the reference against the bare equation, every method against it."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from snn_delays.errors import UsageError
from snn_delays.interpolation import INTERPOLATIONS
from snn_delays.layers.granularity import GRANULARITIES
from snn_delays.ops import reference
from snn_delays.ops.plan import METHODS, delay_convolution

FAST = [method for method in METHODS if method != "reference"]
EACH = pytest.mark.parametrize("method", METHODS)


def covers(method: str, interpolation: str, sigma: float) -> bool:
    """Whether the method can compute this kernel: the low-rank basis is the Gaussian's alone."""
    return method != "lowrank" or (interpolation == "gaussian" and sigma > 0)


@dataclass
class Problem:
    """One drawn delay convolution, in float64."""

    x: Tensor
    weight: Tensor
    delay: Tensor
    sigma: float
    max_delay: int
    interpolation: str

    def solve(self, method: str, x: Tensor | None = None) -> Tensor:
        return delay_convolution(
            self.x if x is None else x,
            self.weight,
            self.delay,
            sigma=self.sigma,
            max_delay=self.max_delay,
            interpolation=self.interpolation,
            method=method,
        )

    def leaves(self) -> list[Tensor]:
        return [leaf.requires_grad_() for leaf in (self.x, self.weight, self.delay)]


@st.composite
def problems(
    draw: st.DrawFn, min_batch: int = 0, min_steps: int = 0, integer: bool = False
) -> Problem:
    torch.manual_seed(draw(st.integers(0, 2**16)))
    steps, batch = draw(st.integers(min_steps, 9)), draw(st.integers(min_batch, 3))
    pre, post, kernel_count = (draw(st.integers(1, 3)) for _ in range(3))
    max_delay = draw(st.integers(1, 6))
    granularity = draw(st.sampled_from(GRANULARITIES))
    rows = 1 if granularity == "axonal" else post
    columns = 1 if granularity == "dendritic" else pre
    # A little beyond both edges, too.
    delay = (max_delay + 1) * torch.rand(rows, columns, kernel_count, dtype=torch.float64) - 0.5
    if integer:
        delay = delay.round().clamp(0, max_delay)
    return Problem(
        x=torch.randn(steps, batch, pre, dtype=torch.float64),
        weight=torch.randn(post, pre, kernel_count, dtype=torch.float64),
        delay=delay,
        sigma=draw(st.sampled_from([0.0, 0.5, 1.3, 7.0])),
        max_delay=max_delay,
        interpolation=draw(st.sampled_from(INTERPOLATIONS)),
    )


def bare_equation(problem: Problem) -> Tensor:
    """The equation of ``ops/reference.py`` in plain Python numbers, with no code of the package."""
    x, w = problem.x.tolist(), problem.weight.tolist()
    d = problem.delay.expand(problem.weight.shape).tolist()
    (steps, batch, pres), posts, kernel_count = problem.x.shape, len(w), problem.weight.shape[2]

    def spread(delay: float) -> list[float]:
        delay = min(max(delay, 0.0), problem.max_delay)
        away = [abs(j - delay) for j in range(problem.max_delay + 1)]
        if problem.interpolation == "triangle":
            bump = [max(1 + problem.sigma - a, 0) for a in away]
        elif problem.sigma == 0:
            bump = [float(a == min(away)) for a in away]
        else:
            bump = [math.exp(-0.5 * (a / problem.sigma) ** 2) for a in away]
        return [b / sum(bump) for b in bump]

    y = torch.zeros(steps, batch, posts, dtype=torch.float64)
    for post, pre, k in itertools.product(range(posts), range(pres), range(kernel_count)):
        g = spread(d[post][pre][k])
        for t, n, j in itertools.product(range(steps), range(batch), range(len(g))):
            if j <= t:
                y[t, n, post] += w[post][pre][k] * g[j] * x[t - j][n][pre]
    return y


def rounding(method: str) -> float:
    """How large a zero may be: spectra of currents have all steps in every value."""
    return 1e-12 if method == "fft" else 0.0


@given(problem=problems())
def test_the_reference_is_the_equation(problem: Problem) -> None:
    got = problem.solve("reference")
    torch.testing.assert_close(got, bare_equation(problem), rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", [name for name in METHODS if covers(name, "gaussian", 0.0)])
@given(problem=problems(integer=True))
def test_at_sigma_zero_every_method_is_the_naive_loop_over_synapses(
    method: str, problem: Problem
) -> None:
    problem.sigma = 0.0
    whole = problem.delay.long().expand(problem.weight.shape)
    expected = reference.integer_delays(problem.x, problem.weight, whole)
    torch.testing.assert_close(problem.solve(method), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", FAST)
@given(problem=problems(min_steps=1))
def test_values_and_gradients_are_those_of_the_reference(method: str, problem: Problem) -> None:
    assume(covers(method, problem.interpolation, problem.sigma))
    leaves = problem.leaves()
    outputs = [problem.solve(each) for each in ("reference", method)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=1e-10)
    judge = torch.randn_like(outputs[0])
    # A Gaussian at sigma = 0 has no gradient for its delays: zeros in their place.
    slow, fast = (
        torch.autograd.grad((y * judge).sum(), leaves, materialize_grads=True) for y in outputs
    )
    for name, got, expected in zip(("x", "weight", "delay"), fast, slow, strict=True):
        # The basis is a Chebyshev series of m < 60 terms, exact to 1e-12; its derivative is so to
        # m² times that (Markov's inequality), and then summed.
        atol = 1e-7 if (method, name) == ("lowrank", "delay") else 1e-9
        torch.testing.assert_close(got, expected, rtol=0, atol=atol, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("kernel_count", [1, 2, 3])
@pytest.mark.parametrize(
    ("method", "interpolation", "sigma"),
    [
        (method, interpolation, sigma)
        for method in METHODS
        for interpolation, sigma in (
            ("gaussian", 0.5),
            ("gaussian", 2.27),
            ("triangle", 0.0),
            ("triangle", 1.4),
        )
        if covers(method, interpolation, sigma)
    ],
)
def test_gradcheck(
    granularity: str, kernel_count: int, method: str, interpolation: str, sigma: float
) -> None:
    rows = 1 if granularity == "axonal" else 2
    columns = 1 if granularity == "dendritic" else 2
    # Away from the triangle's kinks: fractions far from 0 and from ± 0.4.
    fraction = torch.tensor([0.15, 0.5, 0.85], dtype=torch.float64)
    pick = torch.randint(3, (rows, columns, kernel_count))
    delay = torch.randint(3, (rows, columns, kernel_count)) + fraction[pick]
    weight = torch.randn(2, 2, kernel_count, dtype=torch.float64)
    x = torch.randn(4, 1, 2, dtype=torch.float64)
    problem = Problem(x, weight, delay, sigma, 3, interpolation)

    def solve(*leaves: Tensor) -> Tensor:
        problem.x, problem.weight, problem.delay = leaves
        return problem.solve(method)

    assert torch.autograd.gradcheck(solve, problem.leaves())


@EACH
@given(problem=problems(min_batch=1, min_steps=2), data=st.data())
def test_the_future_has_no_effect_and_no_gradient(
    method: str, problem: Problem, data: st.DataObject
) -> None:
    assume(covers(method, problem.interpolation, problem.sigma))
    now = data.draw(st.integers(0, problem.x.shape[0] - 2))
    changed = problem.x.clone()
    changed[now + 1 :] += 1 + torch.rand_like(changed[now + 1 :])
    before, after = problem.solve(method), problem.solve(method, changed)
    leak = rounding(method)
    torch.testing.assert_close(before[: now + 1], after[: now + 1], rtol=0, atol=leak)

    x = problem.x.requires_grad_()
    (grad,) = torch.autograd.grad(problem.solve(method)[now].sum(), x)
    assert (grad[now + 1 :].abs() <= leak).all()
    far = problem.max_delay / problem.sigma if problem.sigma > 0 else math.inf
    if problem.interpolation == "gaussian" and far < 11:  # every tap has some weight
        assert (grad[max(0, now - problem.max_delay) : now + 1] != 0).all()


@EACH
@given(problem=problems(min_batch=1, min_steps=1), shift=st.integers(1, 5))
def test_a_later_input_gives_the_same_output_later(
    method: str, problem: Problem, shift: int
) -> None:
    assume(covers(method, problem.interpolation, problem.sigma))
    late = torch.cat([problem.x.new_zeros(shift, *problem.x.shape[1:]), problem.x])
    got = problem.solve(method, late)
    assert (got[:shift].abs() <= rounding(method)).all()
    torch.testing.assert_close(got[shift:], problem.solve(method), rtol=0, atol=1e-12)


def test_a_basis_for_a_kernel_without_one_is_refused() -> None:
    one = torch.ones(1, 1, 1)
    said = "method='lowrank' needs interpolation='gaussian', got 'triangle'"
    with pytest.raises(UsageError, match=said):
        delay_convolution(
            one, one, one, sigma=1.0, max_delay=3, interpolation="triangle", method="lowrank"
        )
