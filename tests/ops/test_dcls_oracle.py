"""The delay layer against the package it descends from: DCLS 0.1.1 (arXiv:2112.03740).

DCLS places a weight at c = P + D // 2 of a kernel of D taps and cross-correlates; behind D − 1
steps of silence, kernel index i reaches D − 1 − i steps back. Hence d = D − 1 − D // 2 − P, which
for odd D is (D − 1) / 2 − P. DCLS normalises by Σ + 1e-7 where we normalise by Σ: the widest gap
is 1e-7 / Σ, and Σ ≥ 0.36 for every d in [0, D − 1] and SIG ≥ 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from DCLS.construct.modules import Dcls1d
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based import functional
from torch.nn import functional as F

from snn_delays.interpolation import dense_kernel
from snn_delays.layers.delay_layer import DelayLayer

VERSIONS = pytest.mark.parametrize("version", ["gauss", "max", "v1"])


@dataclass
class Pair:
    """The same synapses, once in DCLS and once here."""

    theirs: Dcls1d
    ours: DelayLayer

    def their_output(self, x: torch.Tensor) -> torch.Tensor:
        """[T, N, C] behind D − 1 steps of silence, as SNN-delays feeds DCLS."""
        padded = F.pad(x.permute(1, 2, 0), (self.ours.max_delay, 0))
        return self.theirs(padded).permute(2, 0, 1)


def pair(version: str, pre: int, post: int, kernel_count: int, taps: int, sig: float) -> Pair:
    theirs = Dcls1d(
        pre, post, kernel_count, dilated_kernel_size=taps, bias=False, version=version
    ).double()
    ours = DelayLayer(
        pre,
        post,
        taps - 1,
        kernel_count=kernel_count,
        interpolation="gaussian" if version == "gauss" else "triangle",
        sigma={"gauss": sig + 0.27, "max": sig, "v1": 0.0}[version],
    ).double()
    with torch.no_grad():
        # Of order 1, whatever the fan-in, so that 1e-6 means the same everywhere.
        ours.weight.uniform_(-1, 1).div_(pre * kernel_count)
        ours.delay.uniform_(0, taps - 1)
        theirs.weight.copy_(ours.weight)
        theirs.P.copy_(taps - 1 - taps // 2 - ours.delay.unsqueeze(0))
        if version != "v1":
            theirs.SIG.fill_(sig)
    return Pair(theirs, ours)


@st.composite
def pairs(draw: st.DrawFn, version: str) -> Pair:
    torch.manual_seed(draw(st.integers(0, 2**16)))
    sizes = [draw(st.integers(1, 4)) for _ in range(3)]
    return pair(version, *sizes, taps=draw(st.integers(2, 26)), sig=draw(st.floats(0, 12)))


@VERSIONS
@given(data=st.data())
def test_the_kernel_is_that_of_dcls(version: str, data: st.DataObject) -> None:
    both = data.draw(pairs(version))
    theirs = both.theirs.DCK(both.theirs.weight, both.theirs.P, both.theirs.SIG)
    ours = dense_kernel(
        both.ours.weight,
        both.ours.delay,
        both.ours.sigma,
        both.ours.max_delay,
        both.ours.interpolation,
    )
    torch.testing.assert_close(ours, theirs.flip(-1), rtol=0, atol=1e-6)


@VERSIONS
@given(data=st.data(), steps=st.integers(1, 30), batch=st.integers(1, 3))
def test_the_output_is_that_of_dcls(
    version: str, data: st.DataObject, steps: int, batch: int
) -> None:
    both = data.draw(pairs(version))
    spikes = (torch.rand(steps, batch, both.ours.in_features) < 0.3).double()
    torch.testing.assert_close(both.ours(spikes), both.their_output(spikes), rtol=0, atol=1e-6)


@VERSIONS
@pytest.mark.parametrize("taps", [7, 8])
def test_the_gradients_are_those_of_dcls(version: str, taps: int) -> None:
    both = pair(version, 3, 4, 2, taps, sig=0.6)  # random delays: on no kink
    x = torch.randn(12, 2, 3, dtype=torch.float64)
    judge = torch.randn(12, 2, 4, dtype=torch.float64)
    (both.ours(x) * judge).sum().backward()
    (both.their_output(x) * judge).sum().backward()
    torch.testing.assert_close(both.ours.weight.grad, both.theirs.weight.grad, rtol=0, atol=5e-6)
    # d = const − P turns the sign.
    torch.testing.assert_close(both.ours.delay.grad, -both.theirs.P.grad[0], rtol=0, atol=5e-6)


@pytest.mark.parametrize("taps", [7, 8])
def test_where_dcls_v1_is_stuck_the_triangle_moves(taps: int) -> None:
    both = pair("v1", taps, 1, 1, taps, sig=0.0)
    with torch.no_grad():  # one synapse at every whole delay
        both.ours.delay.copy_(torch.arange(taps).view(1, taps, 1))
        both.theirs.P.copy_(taps - 1 - taps // 2 - both.ours.delay.unsqueeze(0))
    # A ramp on every channel: the output depends on every delay.
    x = torch.arange(12.0, dtype=torch.float64).view(12, 1, 1).expand(12, 1, taps)
    both.their_output(x)[-1].sum().backward()
    functional.reset_net(both.ours)
    both.ours(x)[-1].sum().backward()
    assert (both.theirs.P.grad == 0).all()
    assert (both.ours.delay.grad.abs() > 1e-3).all()
