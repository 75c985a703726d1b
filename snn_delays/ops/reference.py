"""The reference: the delay convolution as a loop over its own equation.

    y[t, post] = Σ_pre Σ_k w[post, pre, k] · Σ_j g_σ(j − d[post, pre, k]) · x[t − j, pre]

Every fast path is compared with these functions, in values and in gradients.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from snn_delays.interpolation import dense_kernel, interpolate


def delay_convolution(
    x: Float[Tensor, "time batch pre"],
    weight: Float[Tensor, "post pre k"],
    delay: Float[Tensor, "post_or_1 pre_or_1 k"],
    sigma: float | Tensor,
    max_delay: int,
    interpolation: str,
) -> Float[Tensor, "time batch post"]:
    """One matrix product per time step and tap; x is silent before t = 0."""
    return _sums(x, dense_kernel(weight, delay, sigma, max_delay, interpolation))


def _sums(
    x: Float[Tensor, "time batch pre"], kernel: Float[Tensor, "post pre taps"]
) -> Float[Tensor, "time batch post"]:
    steps, batch, _ = x.shape
    y = x.new_zeros(steps, batch, kernel.shape[0])
    for t in range(steps):
        for j in range(min(t, kernel.shape[2] - 1) + 1):
            y[t] += x[t - j] @ kernel[:, :, j].T
    return y


def two_stages(
    x: Float[Tensor, "time batch pre"],
    weight: Float[Tensor, "post pre k"],
    stages: Any,
    sigma: float | Tensor,
    interpolation: str,
) -> Float[Tensor, "time batch post"]:
    """The same with d = d[pre, k] + d[post, k], each spread over taps of its own: K[post, pre, i +
    j] = Σ_k w[post, pre, k] · g_σ(i − d[pre, k]) · g_σ(j − d[post, k])."""
    out, into = stages.pre.to(weight.dtype), stages.post.to(weight.dtype)
    sent = interpolate(out, sigma, stages.pre_max, interpolation)
    received = interpolate(into, sigma, stages.post_max, interpolation)
    kernel = weight.new_zeros(*weight.shape[:2], stages.pre_max + stages.post_max + 1)
    for i in range(stages.pre_max + 1):
        for j in range(stages.post_max + 1):
            kernel[:, :, i + j] += (weight * sent[..., i] * received[..., j]).sum(2)
    return _sums(x, kernel)


def recurrence(
    x: Float[Tensor, "time batch size"],
    weight: Float[Tensor, "post pre k"],
    delay: Float[Tensor, "post_or_1 pre_or_1 k"],
    sigma: float | Tensor,
    max_delay: int,
    interpolation: str,
    neuron: Callable[[Tensor], Tensor],
) -> Float[Tensor, "time batch size"]:
    """s[t] = neuron(x[t] + Σ_{j ≥ 1} K[:, :, j] s[t − j]), delays from 1 to ``max_delay``."""
    kernel = dense_kernel(weight, delay - 1, sigma, max_delay - 1, interpolation)
    spikes: list[Tensor] = []
    for t, current in enumerate(x):
        for j in range(1, min(t, max_delay) + 1):
            current = current + spikes[t - j] @ kernel[:, :, j - 1].T
        spikes.append(neuron(current))
    return torch.stack(spikes)


def integer_delays(
    x: Float[Tensor, "time batch pre"],
    weight: Float[Tensor, "post pre k"],
    delay: Int[Tensor, "post pre k"],
) -> Float[Tensor, "time batch post"]:
    """Every synapse by itself, no kernel at all: y[t, post] += w · x[t − d, pre]."""
    steps, batch, _ = x.shape
    y = x.new_zeros(steps, batch, weight.shape[0])
    for post, pre, k in itertools.product(*map(range, weight.shape)):
        d = int(delay[post, pre, k])
        for t in range(d, steps):
            y[t, :, post] += weight[post, pre, k] * x[t - d, :, pre]
    return y


def spaced_kernel(
    weight: Float[Tensor, "out in *rest"],
    position: Float[Tensor, "learned out in *rest"],
    sigmas: Any,
    extent: tuple[int, ...],
    learned_axes: tuple[int, ...],
    interpolation: str,
) -> Float[Tensor, "out in *extent"]:
    """The equation of ``ops/spacings.py``, element by element."""
    kernel = weight.new_zeros(*weight.shape[:2], *extent)
    kind, factors = ("triangle" if interpolation == "bilinear" else interpolation), []
    for places, sigma, axis in zip(position, sigmas, learned_axes, strict=True):
        width = 0.0 if interpolation == "bilinear" else sigma
        place = places + (extent[axis] - 1) / 2
        factors.append(interpolate(place, width, extent[axis] - 1, kind))
    for element in itertools.product(*map(range, weight.shape)):
        post, pre, *dense, _ = element
        for place in itertools.product(*map(range, extent)):
            others = [at for axis, at in enumerate(place) if axis not in learned_axes]
            if others != dense:
                continue
            term = weight[element]
            for factor, axis in zip(factors, learned_axes, strict=True):
                term = term * factor[element][place[axis]]
            kernel[(post, pre, *place)] += term
    return kernel
