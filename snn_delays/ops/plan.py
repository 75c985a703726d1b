"""Which way a delay convolution is computed, from a count of operations.

The choice depends on its arguments alone, so that equal runs take equal ways.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.errors import UsageError
from snn_delays.interpolation import dense_kernel
from snn_delays.ops import dense, lowrank, reference, taps

Method = Literal["auto", "dense", "taps", "lowrank", "reference"]
METHODS: tuple[str, ...] = get_args(Method)

# Time of one tap (``taps``) and of one basis shape (``lowrank``) in taps of ``dense``, forward
# and backward, on a CPU: scripts/bench/paths.py measures them.
COST = {"taps": 1.5, "lowrank": 1.85}


def choose(
    sigma: float, max_delay: int, interpolation: str, device: str, dtype: torch.dtype
) -> str:
    """Name of the fastest way."""
    costs = {"dense": float(max_delay + 1)}
    if interpolation == "gaussian" and lowrank.worthwhile(sigma, max_delay):
        rank = lowrank.basis(sigma, max_delay, lowrank.tolerance(dtype)).rank
        costs["lowrank"] = COST["lowrank"] * rank
    if device == "cpu" and taps.taps_cpu is not None and dtype in (torch.float32, torch.float64):
        needed = taps.passes(taps.width(sigma, max_delay, interpolation, dtype))
        costs["taps"] = COST["taps"] * needed
    return min(costs, key=lambda method: costs[method])


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
    """The equation of ``ops/reference.py``; x is silent before t = 0.

    The result has the precision of ``weight`` under autocast too: only products are in half.
    In single precision ``taps`` leaves out up to 6e-6 of a kernel, and ``lowrank`` is off by 1e-6
    of its largest tap.

    A forced ``lowrank`` gives way to ``auto`` once σ is too small for a basis to make sense.

    Raises:
        UsageError: ``method="lowrank"`` for a triangle, which has no smooth basis.
    """
    if method == "lowrank" and interpolation != "gaussian":
        raise UsageError(
            f"method='lowrank' needs interpolation='gaussian', got {interpolation!r}. "
            "Use method='auto'."
        )
    if method == "auto" or (method == "lowrank" and not lowrank.worthwhile(sigma, max_delay)):
        # torch.compile gets one graph for every sigma; a count of operations needs one for each.
        compiling = torch.compiler.is_compiling()
        device, dtype = x.device.type, weight.dtype
        method = "dense" if compiling else choose(sigma, max_delay, interpolation, device, dtype)
    if method == "reference":
        return reference.delay_convolution(x, weight, delay, sigma, max_delay, interpolation)
    if method == "taps":
        return taps.convolve(x, weight, delay, sigma, max_delay, interpolation)
    if method == "lowrank":
        return lowrank.convolve(x, weight, delay, sigma, max_delay)
    kernel = dense_kernel(weight, delay, sigma, max_delay, interpolation)
    return dense.convolve(x, kernel).to(weight.dtype)
