"""By which method a delay convolution is computed, from a count of operations.

The choice depends on its arguments alone, so that equal runs take equal methods.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from snn_delays.eager import autocasts, readable
from snn_delays.errors import UsageError
from snn_delays.interpolation import at_least_single, dense_kernel
from snn_delays.ops import dense, lowrank, reference, sparse_taps, spikes, taps

Method = Literal["auto", "dense", "taps", "lowrank", "reference"]
METHODS: tuple[str, ...] = get_args(Method)

# Time of one matrix product of each method, forward and backward, in those of ``dense`` on the same
# device: scripts/bench/paths.py measures them. On GPUs nothing was measured: one product of
# ``lowrank`` is taken for one and a half, for its filters.
COST = {
    "cpu, spikes": {"dense": 1.0, "lowrank": 1.5, "taps": 2.1},
    "cpu": {"dense": 1.0, "lowrank": 1.1, "taps": 1.0},
    "gpu": {"dense": 1.0, "lowrank": 1.5},
}


def device_class(x: Tensor) -> str:
    """The row of ``COST`` that holds for x: on the CPU products with spikes cost less."""
    if x.device.type != "cpu":
        return "gpu"
    few = not autocasts(x) and spikes.few(x, spikes.per_block(x.detach().contiguous(), len(x)))
    return "cpu, spikes" if few else "cpu"


def choose(
    sigma: float,
    max_delay: int,
    interpolation: str,
    dtype: torch.dtype,
    kernel_count: int,
    device: str = "cpu, spikes",
    density: float = 1.0,
) -> str:
    """Name of the fastest method on a ``device_class``; only ``taps`` gains from absent synapses.

    Args:
        density: share of synapses that are there.
    """
    cost = COST[device]
    costs = {"dense": float(max_delay + 1)}
    if interpolation == "gaussian" and lowrank.worthwhile(sigma, max_delay):
        rank = len(lowrank.basis(sigma, max_delay, lowrank.tolerance(dtype))[0])
        costs["lowrank"] = cost["lowrank"] * rank
    if "taps" in cost and taps.taps_cpu is not None and dtype in (torch.float32, torch.float64):
        needed = taps.passes(taps.width(sigma, max_delay, interpolation, dtype))
        costs["taps"] = cost["taps"] * needed * kernel_count * sparse_taps.share(density)
    return min(costs, key=lambda method: costs[method])


def method_for(
    x: Float[Tensor, "time batch pre"],
    weight: Float[Tensor, "post pre k"],
    sigma: float | Tensor,
    max_delay: int,
    interpolation: str,
    method: str = "auto",
    mask: Shaped[Tensor, "post pre k"] | None = None,
) -> str:
    """The method to take for these arguments: the one that is asked for, or the fastest.

    A forced ``lowrank`` gives way to ``auto`` once σ is too small for a basis to make sense. Of
    tensors whose numbers cannot be read (traced, fake, in ``torch.func``: see ``eager.py``) every
    method but ``reference`` makes the dense kernel, in torch alone.

    Raises:
        UsageError: ``method="lowrank"`` for a triangle, which has no smooth basis.
    """
    if method == "lowrank" and interpolation != "gaussian":
        raise UsageError(
            f"method='lowrank' needs interpolation='gaussian', got {interpolation!r}. "
            "Use method='auto'."
        )
    if method == "reference":
        return method
    if isinstance(sigma, Tensor) or not readable(x, weight):
        return "dense"  # one graph for every sigma, where a count needs one for each
    if method == "auto" or (method == "lowrank" and not lowrank.worthwhile(sigma, max_delay)):
        dtype = lowrank.product_dtype(weight)
        device, density = device_class(x), sparse_taps.density(mask)
        return choose(sigma, max_delay, interpolation, dtype, weight.shape[2], device, density)
    return method


def delay_convolution(
    x: Float[Tensor, "time batch pre"],
    weight: Float[Tensor, "post pre k"],
    delay: Float[Tensor, "post_or_1 pre_or_1 k"],
    *,
    sigma: float | Tensor,
    max_delay: int,
    interpolation: str,
    method: str = "auto",
    mask: Shaped[Tensor, "post pre k"] | None = None,
) -> Float[Tensor, "time batch post"]:
    """The equation of ``ops/reference.py``; x is silent before t = 0.

    ``mask`` is 0 where ``weight`` is 0 for good: such synapses need not be computed.

    The result has the precision of ``weight``, under autocast too: only products are in half. In
    single precision ``taps`` leaves out up to 6e-6 of a kernel, and ``lowrank`` is off by 1e-6
    of its largest tap.
    """
    kernel = (sigma, max_delay, interpolation)
    method = method_for(x, weight, *kernel, method, mask)
    if method == "dense":
        y = dense.convolve(x, dense_kernel(weight, delay, *kernel))
    elif method == "lowrank":
        y = lowrank.convolve(x, weight, delay, float(sigma), max_delay)
    else:
        # These add up in one number what others add up in a product: never in half precision.
        single = at_least_single(weight.dtype)
        inputs = (x.to(single), weight.to(single), delay.to(single))
        if method == "reference":
            y = reference.delay_convolution(*inputs, *kernel)
        elif mask is not None and sparse_taps.density(mask) < sparse_taps.MOST:
            y = sparse_taps.convolve(*inputs, mask, float(sigma), max_delay, interpolation)
        else:
            y = taps.convolve(*inputs, float(sigma), max_delay, interpolation)
    return y.to(weight.dtype)
