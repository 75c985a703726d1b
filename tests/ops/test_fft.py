"""Products of spectra, and the transforms they are made of."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.interpolation import INTERPOLATIONS, interpolate
from snn_delays.ops import dense, fft, plan, reference, spectrum
from snn_delays.ops.kernels import Synapses

pytestmark = pytest.mark.skipif(fft.fft_cpu is None, reason="numba is not installed")


def convolve(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Every tap is a contact of its own."""
    delay = torch.arange(kernel.shape[2], dtype=kernel.dtype).expand_as(kernel)
    return fft.convolve(x, kernel, delay, 0.0, kernel.shape[2] - 1, "gaussian")


@given(points=st.sampled_from([2, 3, 4, 5, 6, 15, 16, 60, 96, 150]), seed=st.integers(0, 99))
def test_a_spectrum_is_a_polynomial_at_the_roots_of_i(points, seed):
    draw = np.random.default_rng(seed)
    steps = int(draw.integers(1, 2 * points + 1))
    x = draw.normal(size=(steps, 3, int(draw.integers(1, 12))))
    parts = int(draw.choice([some for some in (1, 2, 4) if points % some == 0]))
    roots = np.exp(1j * (0.5 - 2 * np.arange(points)) * np.pi / points)
    np.testing.assert_allclose(roots**points, np.full(points, 1j), atol=1e-12)
    values = np.tensordot(roots[:, None] ** np.arange(steps), x, 1)
    for part, form in enumerate(spectrum.transforms(points, parts, 1, torch.float64)):
        room = torch.full((3 * points * x[0].size,), torch.nan, dtype=torch.float64)
        found = spectrum.spectrum(form, torch.from_numpy(x), spectrum.OF_X, room).numpy()
        expected = values[part::parts]
        np.testing.assert_allclose(found[:, 1] + 1j * found[:, 2], expected, atol=1e-11)
        np.testing.assert_allclose(found[:, 0], expected.real + expected.imag, atol=1e-11)


@given(points=st.sampled_from([4, 12, 20, 64]), steps=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_sequence_is_the_adjoint_of_a_spectrum(points, steps, seed):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(steps, 5, 7, generator=draw, dtype=torch.float64)
    for form in spectrum.transforms(points, 4, 1, torch.float64):
        g = torch.randn(points // 4, 3, 5, 7, generator=draw, dtype=torch.float64)
        for mix in (spectrum.OF_X, spectrum.OF_Y):
            forth = (spectrum.spectrum(form, x, mix, torch.empty(g.numel()).double()) * g).sum()
            out = torch.full_like(x, torch.nan)
            spectrum.add_sequence(form, g, mix, out, False)
            spectrum.add_sequence(form, g, mix, out, True)
            torch.testing.assert_close(2 * forth, (out * x).sum(), rtol=1e-12, atol=1e-10)


@given(
    time=st.integers(1, 60),
    batch=st.sampled_from([1, 3, 16, 21]),
    pre=st.integers(1, 40),
    post=st.integers(1, 70),
    taps=st.integers(1, 30),
    longest=st.sampled_from([8, 16, 1024]),
    density=st.sampled_from([0.05, 1.0]),
    seed=st.integers(0, 1000),
)
def test_products_of_spectra_equal_the_convolution(
    time, batch, pre, post, taps, longest, density, seed
):
    """Of one block or of many, of spikes or of currents, of any number of channels."""
    draw = torch.Generator().manual_seed(seed)
    x, kernel, judge = (
        torch.randn(*shape, generator=draw, dtype=torch.float64)
        for shape in ((time, batch, pre), (post, pre, taps), (time, batch, post))
    )
    leaves = x * (torch.rand(x.shape, generator=draw) < density), kernel
    leaves = [leaf.requires_grad_() for leaf in leaves]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fft, "MOST", longest)
        patch.setattr(fft, "SEQUENCES", 6000)
        patch.setattr(fft, "SYNAPSES", 6000)
        y = convolve(*leaves)
        found = [y, *torch.autograd.grad(y, leaves, judge)]
        (alone,) = torch.autograd.grad(convolve(x, kernel), kernel, judge)
        plain = torch.autograd.grad(dense.product(x, kernel), kernel, judge)[0]
    expected = dense.product(*leaves)
    expected = [expected, *torch.autograd.grad(expected, leaves, judge)]
    for one, other in (*zip(found, expected, strict=True), (alone, plain)):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@given(
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 70), st.integers(1, 3)),
    ends=st.tuples(st.booleans(), st.booleans()),
    max_delay=st.integers(0, 30),
    sigma=st.sampled_from([0.0, 1e-7, 0.1, 0.5, 2.0, 12.0]),
    learned=st.sampled_from(["", "one", "each"]),
    interpolation=st.sampled_from(INTERPOLATIONS),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    density=st.sampled_from([0.02, 1.0]),
    seed=st.integers(0, 1000),
)
def test_kernels_and_their_gradients_are_those_of_the_reference(
    sizes, ends, max_delay, sigma, learned, interpolation, dtype, density, seed
):
    """Of all widths and shapes, of delays outside the range and half-way between two taps."""
    (pre, post, count), draw = sizes, torch.Generator().manual_seed(seed)
    weight = torch.randn(post, pre, count, generator=draw, dtype=dtype)
    shape = (post if ends[0] else 1, pre if ends[1] else 1, count)
    delay = (max_delay + 2) * torch.rand(shape, generator=draw, dtype=dtype) - 1
    delay = torch.where(torch.rand(shape, generator=draw) < 0.3, (2 * delay).round() / 2, delay)
    x = torch.randn(20, 6, pre, generator=draw, dtype=dtype)
    x = x * (torch.rand(x.shape, generator=draw) < density)
    judge = torch.randn(20, 6, post, generator=draw, dtype=dtype)
    width = torch.full((*shape, 1) if learned == "each" else (), sigma, dtype=dtype)
    leaves = [x, weight, delay, *([width] if learned else [])]
    found: list[list[torch.Tensor]] = []
    for function, precision in (
        (fft.convolve, dtype),
        (reference.delay_convolution, torch.float64),
    ):
        given = [leaf.to(precision).requires_grad_() for leaf in leaves]
        widths = given[3] if learned else sigma
        y = function(given[0], given[1], given[2], widths, max_delay, interpolation)
        found.append([y, *torch.autograd.grad(y, given, judge.to(precision))])
    # Sums of so many terms, of which those by delays and widths are divided by σ and by σ²
    scale = max(1.0, *(one.abs().max().item() for one in found[1]))
    tolerance = scale * (1e-5 if dtype is torch.float32 else 1e-12)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=0, atol=tolerance)


def test_narrow_bells_are_as_exact_as_wide_ones():
    """A hundred thousand delays, in single precision: 1e-6 of the largest tap."""
    draw = torch.Generator().manual_seed(0)
    delay = 24 * torch.rand(200, 200, 1, generator=draw)
    for sigma in (0.05, 0.3, 1.0, 4.0, 12.0, 100.0):
        synapses = Synapses(
            torch.ones_like(delay), delay, torch.tensor(sigma), 24, "gaussian", False
        )
        expected = interpolate(delay.double(), sigma, 24, "gaussian")[:, :, 0].permute(2, 0, 1)
        torch.testing.assert_close(synapses.kernel().double(), expected, rtol=0, atol=1e-6)


def test_what_spikes_add_up_to_knows_nothing_of_the_future():
    draw = torch.Generator().manual_seed(0)
    x = (torch.rand(50, 8, 20, generator=draw) < 0.03).float()
    kernel = torch.randn(30, 20, 25, generator=draw)
    changed = x.clone()
    changed[31:] = 1 - changed[31:]
    changed[35:] = 0
    y, other = convolve(x, kernel), convolve(changed, kernel)
    assert torch.equal(y[:31], other[:31])
    assert (y[31] != other[31]).any()
    silent = (x[:10] == 0).all(2).cumprod(0).bool()
    assert silent.any()
    assert (y[:10][silent] == 0).all()


def test_lengths_are_short_and_of_the_loops_radices():
    for length in range(1, 3000, 7):
        points = spectrum.points_for(length)
        assert 2 * points >= length
        assert points <= max(2, 0.6 * length + 1)  # half of it, and at most a fifth more
        rest = points
        for radix in (2, 3, 5):
            while rest % radix == 0:
                rest //= radix
        assert rest == 1
    for steps in (1, 100, 5000):
        for taps in (1, 25, 2001):
            count, size, points = fft.blocks(steps, taps)
            assert count * size >= steps
            assert 2 * points >= size + taps - 1


def test_the_plan_takes_it_where_taps_are_many_and_batches_large():
    def chosen(sigma: float, batch: int = 128, max_delay: int = 24, steps: int = 100) -> str:
        shape = (steps, batch, 256, 256)
        dtype, device = torch.float32, "cpu, spikes"
        return plan.choose(sigma, max_delay, "gaussian", dtype, 1, device, shape=shape)

    assert chosen(2.0) == chosen(5.0) == "fft"
    assert chosen(0.5) == "fft"
    assert chosen(0.0) == "taps"
    # Kernels cost as much for a few samples as for many.
    assert chosen(2.0, batch=8) == chosen(1.0, batch=8) == "fft"
    assert chosen(6.0, batch=8) == chosen(12.0, batch=2) == "lowrank"
    assert chosen(0.5, batch=8) == "taps"
    assert chosen(2.0, batch=1) == "dense"
    assert chosen(200.0, max_delay=399) == "lowrank"


def test_an_input_that_was_made_again_is_let_go_before_its_gradient(monkeypatch):
    """Both at once would be the most that a training step holds."""
    made: list[weakref.ref] = []
    alive: list[bool] = []

    def again(kept: torch.Tensor) -> torch.Tensor:
        fresh = kept.clone()
        if kept.dim() == 3 and kept.shape[2] == 24:
            made.append(weakref.ref(fresh))
        return fresh

    add = spectrum.add_sequence

    def watched(*arguments):
        alive.extend(one() is not None for one in made)
        add(*arguments)

    x = torch.randn(40, 3, 24, requires_grad=True)
    kernel = torch.randn(20, 24, 5, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda one: one, again):
        y = convolve(x * 1, kernel)
    monkeypatch.setattr(fft, "add_sequence", watched)
    monkeypatch.setattr(fft, "SEQUENCES", 3000)  # several parts
    y.sum().backward()
    assert made
    assert len(alive) > 1
    assert not any(alive)
    expected = torch.autograd.grad(dense.product(x, kernel).sum(), x)[0]
    torch.testing.assert_close(x.grad, expected, rtol=0, atol=1e-3)
