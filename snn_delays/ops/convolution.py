"""Delays in convolutions over space: how they are computed, and by which method.

    y[t, o, p] = Σ_i Σ_s Σ_k w[o, i, s, k] · Σ_j g_σ(j − d[o, i, s, k]) · x[t − j, i, p·stride +
                 s·dilation − padding]

Channels lie in groups as in torch's convolutions; i runs over those of o's group.
"""

from __future__ import annotations

import itertools
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from snn_delays.interpolation import at_least_single, dense_kernel, interpolate
from snn_delays.modules.eager import autocasts, for_loops
from snn_delays.ops import convolution_taps
from snn_delays.ops.convolution_dense import Geometry, product

Method = Literal["auto", "dense", "taps", "reference"]
METHODS: tuple[str, ...] = get_args(Method)


def reference(
    x: Float[Tensor, "time batch channels *space"],
    weight: Float[Tensor, "out in *kernel k"],
    delay: Float[Tensor, "out_or_1 in_or_1 *kernel_or_1 k"],
    sigma: float | Tensor,
    max_delay: int,
    interpolation: str,
    geometry: Geometry,
) -> Float[Tensor, "time batch out *space_after"]:
    """The equation as a loop over steps, taps and positions of the kernel."""
    stride, padding, dilation, groups = geometry
    out, own, *size, _ = weight.shape
    spread = interpolate(delay, sigma, max_delay, interpolation)
    kernel = (weight.unsqueeze(-1) * spread).sum(-2).unflatten(0, (groups, -1))
    padded = F.pad(x, [pad for one in reversed(padding) for pad in (one, one)])
    padded = padded.unflatten(2, (groups, own))
    after = geometry.after(tuple(size), tuple(x.shape[3:]))
    y = x.new_zeros(*x.shape[:2], groups, out // groups, *after)
    for place in itertools.product(*map(range, size)):
        first = (at * apart for at, apart in zip(place, dilation, strict=True))
        spans = zip(first, after, stride, strict=True)
        seen = padded[(..., *(slice(at, at + (n - 1) * step + 1, step) for at, n, step in spans))]
        for t in range(len(x)):
            for j in range(min(t, max_delay) + 1):
                tap = kernel[(slice(None),) * 3 + place + (j,)]
                y[t] += torch.einsum("ngi...,goi->ngo...", seen[t - j], tap)
    return y.flatten(2, 3)


def method_for(
    x: Float[Tensor, "time batch channels *space"],
    weight: Float[Tensor, "out in *kernel k"],
    sigma: float | Tensor,
    max_delay: int,
    groups: int,
    method: str = "auto",
) -> str:
    """The method to take: the one that is asked for, or the fastest.

    ``taps`` are compiled loops on the CPU, for numbers that can be read; elsewhere, and under
    autocast, that gives way to ``dense``.
    """
    if method in ("dense", "reference"):
        return method
    loops = convolution_taps.available() and for_loops(x, weight) and not autocasts(x)
    if isinstance(sigma, Tensor) or not loops:
        return "dense"
    if method == "taps":
        return method
    return "taps" if convolution_taps.worthwhile(x, max_delay, groups) else "dense"


def delay_convolution(
    x: Float[Tensor, "time batch channels *space"],
    weight: Float[Tensor, "out in *kernel k"],
    delay: Float[Tensor, "out_or_1 in_or_1 *kernel_or_1 k"],
    *,
    sigma: float | Tensor,
    max_delay: int,
    interpolation: str,
    geometry: Geometry,
    method: str = "auto",
) -> Float[Tensor, "time batch out *space_after"]:
    """The equation; x is silent before t = 0. In the precision of ``weight``, under autocast too.

    In single precision ``taps`` leave out up to 6e-6 of a kernel.
    """
    limits = (sigma, max_delay, interpolation)
    method = method_for(x, weight, sigma, max_delay, geometry.groups, method)
    if method == "dense":
        y = product(x, dense_kernel(weight, delay, *limits), geometry)
    else:
        # These add up in one number what a product does in several: never in half precision.
        single = at_least_single(weight.dtype)
        inputs = (x.to(single), weight.to(single), delay.to(single))
        if method == "reference":
            y = reference(*inputs, *limits, geometry)
        else:
            y = convolution_taps.convolve(*inputs, float(sigma), max_delay, interpolation, geometry)
    return y.to(weight.dtype)
