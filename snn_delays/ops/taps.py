"""The method for narrow kernels: only the few taps around each delay where g_σ is not zero.

    y[t, post] = Σ_pre Σ_k Σ_q c[post, pre, k, q] · x[t − first[post, pre, k] − q, pre]

At σ = 0.5 five taps hold all but 6e-6 of the kernel, whatever max_delay is; at σ = 0, once
delays are rounded, it is one. The cost does not grow with the delay range. On the CPU the sum is
made by ``ops/taps_cpu.py`` with shifted, contiguous rows; elsewhere from the dense kernel.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from snn_delays.interpolation import interpolate_window
from snn_delays.ops import dense
from snn_delays.ops.compiled import loops, to_array, use_torch_threads
from snn_delays.ops.twice import gradients, in_torch

taps_cpu = loops("taps_cpu")  # None: the dense kernel serves.
# Taps that the loops add up at once.
PASS = 5


def width(sigma: float, max_delay: int, interpolation: str, dtype: torch.dtype) -> int:
    """Taps that a delay needs so that the rest is below rounding, at most all.

    With h taps on both sides of the nearest, the first Gaussian tap left out is smaller than the
    nearest by exp(−½ h (h + 1) / σ²) or more, the worst case being a delay half-way between two.
    """
    if interpolation == "triangle":
        # Non-zero strictly inside 1 + σ on both sides; at a kink the gradient is not.
        half = math.ceil(1 + sigma)
    else:
        # exp(−12) = 6e-6 in single precision, exp(−32) = 1e-14 in double.
        exponent = 32 if dtype == torch.float64 else 12
        half = math.ceil((math.sqrt(1 + 8 * exponent * sigma**2) - 1) / 2)
    return min(2 * half + 1, max_delay + 1)


def passes(width: int) -> int:
    """Taps that the loops really add up for a kernel of ``width`` taps: whole passes, or one."""
    return width if width == 1 else math.ceil(width / PASS) * PASS


def convolve(
    x: Float[Tensor, "time batch pre"],
    weight: Float[Tensor, "post pre k"],
    delay: Float[Tensor, "post_or_1 pre_or_1 k"],
    sigma: float,
    max_delay: int,
    interpolation: str,
) -> Float[Tensor, "time batch post"]:
    """The equation of ``ops/reference.py`` with the taps of each delay's neighbourhood alone."""
    taps = width(sigma, max_delay, interpolation, weight.dtype)
    first, spread = interpolate_window(delay, sigma, max_delay, interpolation, taps)
    inputs = x, weight.unsqueeze(-1) * spread, first.expand(weight.shape), max_delay
    if taps_cpu is None or not x.is_cpu:
        return dense.convolve(x, _kernel(*inputs[1:]))
    return _ShiftedSum.apply(*inputs)  # pyright: ignore[reportReturnType]


def _product(
    x: Float[Tensor, "time batch pre"],
    coefficients: Float[Tensor, "post pre k width"],
    first: Int[Tensor, "post pre k"],
    max_delay: int,
) -> Float[Tensor, "time batch post"]:
    """y[t, post] = Σ c[post, pre, k, q] · x[t − first[post, pre, k] − q, pre], in torch alone."""
    return dense.product(x, _kernel(coefficients, first, max_delay))


def _kernel(
    coefficients: Float[Tensor, "post pre k width"],
    first: Int[Tensor, "post pre k"],
    max_delay: int,
) -> Float[Tensor, "post pre taps"]:
    """All taps, most of them 0."""
    index = first.long().unsqueeze(-1) + torch.arange(coefficients.shape[-1], device=first.device)
    kernel = coefficients.new_zeros(*coefficients.shape[:2], max_delay + 1)
    return kernel.scatter_add(-1, index.flatten(2), coefficients.flatten(2))


class _ShiftedSum(torch.autograd.Function):
    """``_product`` by compiled loops.

    gx[t, pre] = Σ c[post, pre, k, q] · grad[t + first[post, pre, k] + q, post],
    gc[post, pre, k, q] = Σ_t Σ_n grad[t, n, post] · x[t − first[post, pre, k] − q, n, pre].
    """

    @staticmethod
    def forward(ctx, x: Tensor, coefficients: Tensor, first: Tensor, max_delay: int) -> Tensor:
        ctx.max_delay = max_delay
        ctx.save_for_backward(x, coefficients, first)
        # Delays look back, rows are read forwards: the last tap first.
        parts, offsets = parts_of(coefficients.flip(-1))
        back, behind = _table(parts), _behind(first, coefficients, offsets)
        out = x.new_empty(*x.shape[:2], coefficients.shape[0])
        places = _places(behind, x)
        for samples in groups(x):
            _accumulate(out, to_lanes(x, samples), samples, places, back)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, coefficients, first = ctx.saved_tensors
        if in_torch(grad):
            product = partial(_product, first=first, max_delay=ctx.max_delay)
            needed = ctx.needs_input_grad[:2]
            return *gradients(product, (x, coefficients), needed, grad), None, None
        of_x, of_coefficients = ctx.needs_input_grad[:2]
        parts, offsets = parts_of(coefficients)
        ahead = _places(_table((first.unsqueeze(-1) + offsets).transpose(0, 1)), grad)
        behind = _behind(first, coefficients, offsets)
        forth = _table(parts.transpose(0, 1))
        turned = torch.zeros_like(parts)
        sums = _table(turned)
        gx = torch.empty_like(x, memory_format=torch.contiguous_format) if of_x else None
        for samples in groups(x):
            lanes = to_lanes(grad, samples)
            if gx is not None:
                _accumulate(gx, lanes, samples, ahead, forth)
            if of_coefficients:
                source, threads = to_lanes(x, samples), torch.get_num_threads()
                taps_cpu.correlate(sums.numpy(), lanes[0], *source, behind.numpy(), threads)
        taps = coefficients.shape[-1]
        gc = turned.flatten(-2)[..., :taps].flip(-1) if of_coefficients else None
        return gx, gc, None, None


def groups(x: Tensor) -> list[np.ndarray]:
    """Samples by groups of lanes, in the order in which they fall silent: a group does so at once.

    One group after the other, so that no copy of the whole batch in lanes ever exists.
    """
    if not x.numel():
        return []
    use_torch_threads()
    order = np.argsort(taps_cpu.last_steps(to_array(x)), kind="stable")
    return [order[i : i + taps_cpu.LANES] for i in range(0, len(order), taps_cpu.LANES)]


def to_lanes(x: Tensor, samples: np.ndarray) -> tuple[np.ndarray, ...]:
    """A group of samples as the loops read it: rows, begin and end."""
    channels = x.shape[2]
    rows = x.new_empty(channels, _row(x) * taps_cpu.LANES)
    lanes = rows.numpy(), *np.empty((2, channels), np.int64)
    use_torch_threads()
    taps_cpu.to_lanes(*lanes, to_array(x), samples)
    return lanes


def _row(x: Tensor) -> int:
    """Vectors of a row: an odd number, since even ones would share few sets of the cache."""
    return (len(x) | 1) + 2 * taps_cpu.MARGIN


def _places(shift: Int[Tensor, "a j"], x: Tensor) -> tuple[np.ndarray, int, int]:
    """Where the shifts of synapses ``j`` lead to in the rows of x, and the least and the largest.

    As vectors of all rows together; there are less than 2³¹ of them, 128 GB.
    """
    kernel_count = max(1, shift.shape[1] // max(1, x.shape[2]))
    rows = torch.arange(shift.shape[1]).div(kernel_count, rounding_mode="floor") * _row(x)
    least, most = (int(one) for one in shift.aminmax()) if shift.numel() else (0, 0)
    return (shift + (rows + taps_cpu.MARGIN)).int().numpy(), least, most


def _accumulate(
    out: Tensor, lanes: tuple, samples: np.ndarray, places: tuple, parts: Tensor
) -> None:
    use_torch_threads()
    taps_cpu.accumulate(out.numpy(), *lanes, samples, *places, parts.numpy())


def _table(values: Tensor) -> Tensor:
    """``[A, B, K, P, …] → [A, J, …]``: every part of every synapse in its row."""
    return values.flatten(1, 3).contiguous()


def parts_of(coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """What the loops add up at once: ``[…, Q] → […, P, PASS]``, and the first tap of each part.

    A part that is not whole is filled up with zeros; a single tap stays one.
    """
    taps = coefficients.shape[-1]
    size = 1 if taps == 1 else PASS
    padded = torch.nn.functional.pad(coefficients, (0, -taps % size))
    offsets = torch.arange(0, taps, size, device=coefficients.device)
    return padded.unflatten(-1, (-1, size)), offsets


def _behind(first: Tensor, coefficients: Tensor, offsets: Tensor) -> Tensor:
    """Shifts at which the parts of a sum over the past begin."""
    return _table(offsets - first.unsqueeze(-1) - (coefficients.shape[-1] - 1))
