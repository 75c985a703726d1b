"""The method for narrow kernels: only the few taps around each delay where g_σ is not zero.

    y[t, post] = Σ_pre Σ_k Σ_q c[post, pre, k, q] · x[t − first[post, pre, k] − q, pre]

At σ = 0.5 five taps hold all but 6e-6 of the kernel, whatever max_delay is; at σ = 0, once
delays are rounded, it is one. The cost does not grow with the delay range. On the CPU the sum is
made by ``ops/taps_cpu.py`` with shifted, contiguous rows; elsewhere from the dense kernel.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from snn_delays.interpolation import interpolate_window
from snn_delays.ops import dense, twice
from snn_delays.ops.compiled import loops, use_torch_threads

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
    coefficients = weight.unsqueeze(-1) * spread
    return shifted_sum(x, coefficients, first.expand(weight.shape), max_delay)


@torch.library.custom_op("snn_delays::shifted_sum", mutates_args=())
def shifted_sum(x: Tensor, coefficients: Tensor, first: Tensor, max_delay: int) -> Tensor:
    """y[t, post] = Σ c[post, pre, k, q] · x[t − first[post, pre, k] − q, pre].

    Shape:
        x ``[T, N, pre]``, coefficients ``[post, pre, K, Q]``, first ``[post, pre, K]`` (whole
        numbers with first + Q − 1 ≤ max_delay) → ``[T, N, post]``.
    """
    if taps_cpu is None or x.device.type != "cpu":
        return dense.convolve(x, _dense(coefficients, first, max_delay)).contiguous()
    # Delays look back, rows are read forwards: the last tap first.
    parts, offsets = _parts(coefficients.flip(-1))
    back = _table(parts)
    behind = _table(offsets - first.unsqueeze(-1) - (coefficients.shape[-1] - 1))
    out = x.new_empty(*x.shape[:2], coefficients.shape[0])
    for samples in _groups(x):
        _accumulate(out, _to_lanes(x, samples), samples, behind, back)
    return out


@torch.library.custom_op("snn_delays::shifted_sum_backward", mutates_args=())
def _gradients(
    grad: Tensor,
    x: Tensor,
    coefficients: Tensor,
    first: Tensor,
    max_delay: int,
    of_x: bool,
    of_coefficients: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``shifted_sum``; one that is not asked for is empty.

    gx[t, pre] = Σ c[post, pre, k, q] · grad[t + first[post, pre, k] + q, post],
    gc[post, pre, k, q] = Σ_t Σ_n grad[t, n, post] · x[t − first[post, pre, k] − q, n, pre].
    """
    gx, gc = x.new_empty(0), coefficients.new_empty(0)
    if taps_cpu is None or grad.device.type != "cpu":
        if of_x:
            # The same sum with time and the direction of the synapses turned round.
            kernel = _dense(coefficients, first, max_delay).transpose(0, 1)
            gx = dense.convolve(grad.flip(0), kernel).flip(0).contiguous()
        if of_coefficients:
            kernel = _kernel_gradient(grad, x, max_delay)
            taps = torch.arange(coefficients.shape[-1], device=x.device)
            index = first.long().unsqueeze(-1) + taps
            gc = kernel.unsqueeze(2).expand(*first.shape, -1).gather(-1, index)
        return gx, gc
    taps = coefficients.shape[-1]
    parts, offsets = _parts(coefficients)
    ahead = _table((first.unsqueeze(-1) + offsets).transpose(0, 1))
    behind = _table(offsets - first.unsqueeze(-1) - (taps - 1))
    forth = _table(parts.transpose(0, 1))
    turned = torch.zeros_like(parts)
    sums = _table(turned)
    if of_x:
        gx = torch.empty_like(x, memory_format=torch.contiguous_format)
    for samples in _groups(x):
        lanes = _to_lanes(grad, samples)
        if of_x:
            _accumulate(gx, lanes, samples, ahead, forth)
        if of_coefficients:
            source = _to_lanes(x, samples)
            taps_cpu.correlate(
                sums.numpy(),
                lanes.rows,
                source.rows,
                source.begin,
                source.end,
                behind.numpy(),
                torch.get_num_threads(),
            )
    if of_coefficients:
        gc = turned.flatten(-2)[..., :taps].flip(-1)
    return gx, gc


@shifted_sum.register_fake
def _(x: Tensor, coefficients: Tensor, first: Tensor, max_delay: int) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], coefficients.shape[0])


@_gradients.register_fake
def _(grad: Tensor, x: Tensor, coefficients: Tensor, *settings: Any) -> tuple[Tensor, Tensor]:
    of_x, of_coefficients = settings[-2:]
    gx = torch.empty_like(x, memory_format=torch.contiguous_format) if of_x else x.new_empty(0)
    return gx, coefficients.new_empty(coefficients.shape if of_coefficients else (0,))


def _setup(ctx, inputs: tuple, output: Tensor) -> None:
    x, coefficients, first, ctx.max_delay = inputs
    ctx.save_for_backward(x, coefficients, first)


def _backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, coefficients, first = ctx.saved_tensors
    of_x, of_coefficients = ctx.needs_input_grad[:2]
    if torch.is_grad_enabled():

        def product(x: Tensor, coefficients: Tensor) -> Tensor:
            return dense.product(x, _dense(coefficients, first, ctx.max_delay))

        needed = (of_x, of_coefficients)
        return *twice.gradients(product, (x, coefficients), needed, grad), None, None
    gx, gc = _gradients(
        grad.contiguous(), x, coefficients, first, ctx.max_delay, of_x, of_coefficients
    )
    return gx if of_x else None, gc if of_coefficients else None, None, None


shifted_sum.register_autograd(_backward, setup_context=_setup)
# The loops know single and double precision; mixed precision keeps the sums in single.
shifted_sum.register_autocast("cpu", torch.float32)


class _Lanes(NamedTuple):
    """A group of samples as ``ops/taps_cpu.py`` reads it."""

    rows: np.ndarray
    begin: np.ndarray
    end: np.ndarray


def _groups(x: Tensor) -> list[np.ndarray]:
    """Samples by groups of lanes, in the order in which they fall silent: a group does so at once.

    One group after the other, so that no copy of the whole batch in lanes ever exists.
    """
    if not x.numel():
        return []
    use_torch_threads()
    order = np.argsort(taps_cpu.last_steps(x.contiguous().numpy()), kind="stable")
    return [order[i : i + taps_cpu.LANES] for i in range(0, len(order), taps_cpu.LANES)]


def _to_lanes(x: Tensor, samples: np.ndarray) -> _Lanes:
    steps, _, channels = x.shape
    # An odd number of vectors a row: even ones would share few sets of the cache.
    length = ((steps | 1) + 2 * taps_cpu.MARGIN) * taps_cpu.LANES
    rows = x.new_empty(channels, length).numpy()
    begin, end = np.empty((2, channels), np.int64)
    use_torch_threads()
    taps_cpu.to_lanes(rows, begin, end, x.contiguous().numpy(), samples)
    return _Lanes(rows, begin, end)


def _accumulate(
    out: Tensor, lanes: _Lanes, samples: np.ndarray, shift: Tensor, parts: Tensor
) -> None:
    taps_cpu.accumulate(
        out.numpy(),
        lanes.rows,
        lanes.begin,
        lanes.end,
        samples,
        shift.numpy(),
        parts.numpy(),
        torch.get_num_threads(),
    )


def _table(values: Tensor) -> Tensor:
    """``[A, B, K, P, …] → [A, J, …]``: every part of every synapse in its row."""
    return values.flatten(1, 3).contiguous()


def _parts(coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """What the loops add up at once: ``[…, Q] → […, P, PASS]``, and the first tap of each part.

    A part that is not whole is filled up with zeros; a single tap stays one.
    """
    taps = coefficients.shape[-1]
    size = 1 if taps == 1 else PASS
    padded = torch.nn.functional.pad(coefficients, (0, -taps % size))
    offsets = torch.arange(0, taps, size, device=coefficients.device)
    return padded.unflatten(-1, (-1, size)), offsets


def _dense(
    coefficients: Float[Tensor, "post pre k width"],
    first: Int[Tensor, "post pre k"],
    max_delay: int,
) -> Float[Tensor, "post pre taps"]:
    kernel = coefficients.new_zeros(*coefficients.shape[:2], max_delay + 1)
    index = first.long().unsqueeze(-1) + torch.arange(coefficients.shape[-1], device=first.device)
    return kernel.scatter_add(-1, index.flatten(2), coefficients.flatten(2))


def _kernel_gradient(grad: Tensor, x: Tensor, max_delay: int) -> Float[Tensor, "post pre taps"]:
    """Gradient of the whole dense kernel, one matrix product per tap."""
    steps = grad.shape[0]
    taps = [
        torch.einsum("tno,tni->oi", grad[min(j, steps) :], x[: max(steps - j, 0)])
        for j in range(max_delay + 1)
    ]
    return torch.stack(taps, -1)
