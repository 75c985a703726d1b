"""By which method a delay convolution is computed, from a count of operations.

The choice depends on its arguments alone, so that equal runs take equal methods.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from snn_delays.errors import UsageError
from snn_delays.interpolation import at_least_single, dense_kernel
from snn_delays.modules.eager import autocasts, readable
from snn_delays.ops import (
    dense,
    factored,
    fft,
    lowrank,
    lowrank_basis,
    reference,
    sparse_taps,
    spectrum,
    spikes,
    taps,
)
from snn_delays.ops.factored import Stages

Method = Literal["auto", "dense", "fft", "taps", "lowrank", "axonal", "dendritic", "reference"]
# Those for delays of any shape, and those for delays of one end alone.
ONE_END = ("axonal", "dendritic")
METHODS: tuple[str, ...] = tuple(name for name in get_args(Method) if name not in ONE_END)
_SINGLE_OR_DOUBLE = (torch.float32, torch.float64)
BOTH = "axonal+dendritic"  # the one method of delays of both ends

# Time of one matrix product of each method, forward and backward, in those of ``dense`` on the same
# device: scripts/bench/paths.py measures them, and scripts/bench/gpu.py on GPUs, where ``dense`` is
# one launch in TF32 and a product of ``lowrank`` one of many in full precision. ``turn`` and
# ``along time`` are what a filter of ``factored`` and each of its taps cost, in columns of a
# product (scripts/bench/axonal.py).
COST = {
    "cpu, spikes": {
        "dense": 1.0,
        "fft": 1.55,
        "lowrank": 1.3,
        "taps": 1.27,
        "turn": 66.0,
        "along time": 2.0,
    },
    "cpu": {
        "dense": 1.0,
        "fft": 0.75,
        "lowrank": 1.1,
        "taps": 0.9,
        "turn": 70.0,
        "along time": 2.0,
    },
    "gpu": {"dense": 1.0, "lowrank": 7.0, "turn": 6400.0, "along time": 2.0},
}
# What is made of weights and delays for a product, and its gradient, takes as long on the CPU as
# the product of so many steps of one sample; measured from SOME of them on.
MADE = {"dense": 1000, "lowrank": 100, "taps": 1200}
SOME = 500


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
    ends: dict[str, int] | None = None,
    shape: tuple[int, int, int, int] | None = None,
) -> str:
    """Name of the fastest method on a ``device_class``; only ``taps`` gains from absent synapses.

    Args:
        density: share of synapses that are there.
        ends: at which ends the delays are (``ends_of``), and how many neurons the other end has.
        shape: steps, batch, pre and post, without which ``fft`` cannot be counted.
    """
    cost = COST[device]
    costs = {"dense": float(max_delay + 1)}
    for end, others in (ends or {}).items():
        needed = taps.passes(taps.width(sigma, max_delay, interpolation, dtype))
        columns = cost["turn"] + cost["along time"] * needed
        costs[end] = kernel_count * (1 + columns / others)
    if shape and "fft" in cost and spectrum.fft_cpu is not None and dtype in _SINGLE_OR_DOUBLE:
        costs["fft"] = cost["fft"] * fft.cost(*shape, max_delay + 1)
    if interpolation == "gaussian" and lowrank_basis.worthwhile(sigma, max_delay):
        rank = lowrank_basis.rank(sigma, max_delay, lowrank_basis.tolerance(dtype))
        costs["lowrank"] = cost["lowrank"] * rank
    if "taps" in cost and taps.taps_cpu is not None and dtype in _SINGLE_OR_DOUBLE:
        needed = taps.passes(taps.width(sigma, max_delay, interpolation, dtype))
        costs["taps"] = cost["taps"] * needed * kernel_count * sparse_taps.share(density)
    if shape and device != "gpu" and (rows := shape[0] * shape[1]) >= SOME:
        costs |= {
            name: costs[name] * (1 + made / rows) for name, made in MADE.items() if name in costs
        }
    return min(costs, key=lambda method: costs[method])


def ends_of(weight: Tensor, delay: Tensor) -> dict[str, int]:
    """At which ends delays of this shape are the neurons' own, and how many the other end has."""
    post, pre, _ = weight.shape
    rows, columns, _ = delay.shape
    ends = {"axonal": post} if rows == 1 else {}
    return {**ends, "dendritic": pre} if columns == 1 else ends


def method_for(
    x: Float[Tensor, "time batch pre"],
    weight: Float[Tensor, "post pre k"],
    delay: Float[Tensor, "post_or_1 pre_or_1 k"] | Stages,
    sigma: float | Tensor,
    max_delay: int,
    interpolation: str,
    method: str = "auto",
    mask: Shaped[Tensor, "post pre k"] | None = None,
) -> str:
    """The method to take for these arguments: the one that is asked for, or the fastest.

    A forced ``lowrank`` gives way to ``auto`` once σ is too small for a basis to make sense. Of
    tensors whose numbers cannot be read (traced, fake, in ``torch.func``: see ``eager.py``)
    ``taps``, ``fft``, ``lowrank`` and ``auto`` make the dense kernel, or take the method of delays'
    one end, in torch alone. Delays of both ends have one method beside ``reference``.

    Raises:
        UsageError: ``method="lowrank"`` for a triangle, which has no smooth basis; a method for
            delays of another shape.
    """
    if method == "lowrank" and interpolation != "gaussian":
        raise UsageError(
            f"method='lowrank' needs interpolation='gaussian', got {interpolation!r}. "
            "Use method='auto'."
        )
    if isinstance(delay, Stages):
        if method not in ("auto", "reference", BOTH):
            raise UsageError(
                f"method={method!r} takes one delay of every synapse, got {BOTH} delays. "
                "Use method='auto'."
            )
        return method if method == "reference" else BOTH
    ends = ends_of(weight, delay)
    if method in ONE_END and method not in ends:
        shape = "[1, pre, k]" if method == "axonal" else "[post, 1, k]"
        raise UsageError(
            f"method={method!r} needs delays {shape} of {method} or common granularity, got "
            f"{list(delay.shape)}. Use method='auto'."
        )
    if method in ("dense", "reference") or method in ends:
        return method
    if isinstance(sigma, Tensor) or not readable(x, weight):
        # One graph for every sigma, where a count needs one for each.
        found, most = "dense", 1
        for end, others in ends.items():
            if others > most:
                found, most = end, others
        return found
    if method == "auto" or (method == "lowrank" and not lowrank_basis.worthwhile(sigma, max_delay)):
        dtype = lowrank.product_dtype(weight)
        settings = dtype, weight.shape[2]
        steps, batch, pre = x.shape
        shape = (steps, batch, pre, weight.shape[0]) if x.numel() else None
        fastest = partial(
            *(choose, sigma, max_delay, interpolation, *settings),
            density=sparse_taps.density(mask),
            ends=ends,
            shape=shape,
        )
        # Spikes are counted where the choice depends on them.
        found = {fastest(device=device) for device in ("cpu", "cpu, spikes")}
        if x.device.type == "cpu" and len(found) == 1:
            return found.pop()
        return fastest(device=device_class(x))
    return method


def delay_convolution(
    x: Float[Tensor, "time batch pre"],
    weight: Float[Tensor, "post pre k"],
    delay: Float[Tensor, "post_or_1 pre_or_1 k"] | Stages,
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
    single precision ``taps`` and the filters along time leave out up to 6e-6 of a kernel,
    ``lowrank`` is off by 1e-6 of its largest tap, and ``fft`` by 1e-6 of the largest result.
    """
    kernel = (sigma, max_delay, interpolation)
    method = method_for(x, weight, delay, *kernel, method, mask)
    # These add up in one number what others add up in a product: never in half precision.
    single = at_least_single(weight.dtype)
    if isinstance(delay, Stages) or method in ONE_END:
        stages = (
            delay if isinstance(delay, Stages) else factored.of_one_end(delay, method, max_delay)
        )
        if method == "reference":
            y = reference.two_stages(x.to(single), weight.to(single), stages, sigma, interpolation)
        else:
            y = factored.convolve(x, weight, stages, sigma, interpolation)
    elif method == "dense":
        y = dense.convolve(x, dense_kernel(weight, delay, *kernel))
    elif method == "fft":
        y = fft.convolve(x.to(single), weight.to(single), delay.to(single), *kernel)
    elif method == "lowrank":
        y = lowrank.convolve(x, weight, delay, float(sigma), max_delay)
    else:
        inputs = (x.to(single), weight.to(single), delay.to(single))
        if method == "reference":
            y = reference.delay_convolution(*inputs, *kernel)
        elif mask is not None and sparse_taps.density(mask) < sparse_taps.MOST:
            y = sparse_taps.convolve(*inputs, mask, float(sigma), max_delay, interpolation)
        else:
            y = taps.convolve(*inputs, float(sigma), max_delay, interpolation)
    return y.to(weight.dtype)
