"""Which way a delay convolution is computed."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.interpolation import dense_kernel
from snn_delays.ops import dense, reference, taps

Method = Literal["auto", "dense", "taps", "reference"]
METHODS: tuple[str, ...] = get_args(Method)

# Time of one tap of ``taps`` in taps of ``dense``, on a CPU (scripts/bench/paths.py).
TAP_COST = 1.5


def choose(
    sigma: float, max_delay: int, interpolation: str, device: str, dtype: torch.dtype
) -> str:
    """The fastest exact way, by counting operations; equal arguments give equal answers."""
    if device != "cpu" or taps.taps_cpu is None or dtype not in (torch.float32, torch.float64):
        return "dense"
    needed = taps.width(sigma, max_delay, interpolation, dtype)
    needed = 1 if needed == 1 else -(-needed // taps.taps_cpu.PASS) * taps.taps_cpu.PASS
    return "taps" if TAP_COST * needed < max_delay + 1 else "dense"


def delay_convolution(
    x: Float[Tensor, "time batch pre"],
    weight: Float[Tensor, "post pre contacts"],
    delay: Float[Tensor, "post_or_1 pre_or_1 contacts"],
    *,
    sigma: float,
    max_delay: int,
    interpolation: str,
    method: str = "auto",
) -> Float[Tensor, "time batch post"]:
    """The equation of ``ops/reference.py``; x is silent before t = 0."""
    if method == "auto":
        method = choose(sigma, max_delay, interpolation, x.device.type, weight.dtype)
    if method == "reference":
        return reference.delay_convolution(x, weight, delay, sigma, max_delay, interpolation)
    if method == "taps":
        return taps.convolve(x, weight, delay, sigma, max_delay, interpolation)
    return dense.convolve(x, dense_kernel(weight, delay, sigma, max_delay, interpolation))
