"""The narrow way: only the few taps around each delay that g_σ does not leave at zero.

    y[t, post] = Σ_pre Σ_k Σ_q c[post, pre, k, q] · x[t − first[post, pre, k] − q, pre]

At σ = 0.5 five taps hold all but 6e-6 of the kernel, whatever max_delay is; at σ = 0, once
delays are rounded, it is one. The cost does not grow with the delay range. On the CPU the sum is
made by ``ops/taps_cpu.py`` with shifted, contiguous rows; elsewhere by way of the dense kernel.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from snn_delays.interpolation import interpolate_window
from snn_delays.ops import dense
from snn_delays.ops.compiled import loops, use_torch_threads

taps_cpu = loops("taps_cpu")  # None: the dense kernel serves.
# Samples side by side in one row; 32 floats are two cache lines.
LANES = 32
# Taps that one pass over a row adds up: enough to hide the row's own load and store.
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
    weight: Float[Tensor, "post pre contacts"],
    delay: Float[Tensor, "post_or_1 pre_or_1 contacts"],
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
    steps, batch, _ = x.shape
    post = coefficients.shape[0]
    if taps_cpu is None or x.device.type != "cpu":
        return dense.convolve(x, _dense(coefficients, first, max_delay)).contiguous()
    if steps * batch == 0:
        return x.new_zeros(steps, batch, post)
    reach, turned = _turned(coefficients, max_delay)
    lanes = _lanes(batch)
    out = _accumulated(
        _to_lanes(x, lanes, reach, 0), reach - _last(first, turned), turned, steps, lanes
    )
    return _from_lanes(out, batch, lanes)


@torch.library.custom_op("snn_delays::shifted_sum_input_gradient", mutates_args=())
def _input_gradient(grad: Tensor, coefficients: Tensor, first: Tensor, max_delay: int) -> Tensor:
    """gx[t, pre] = Σ c[post, pre, k, q] · grad[t + first[post, pre, k] + q, post]."""
    steps, batch, _ = grad.shape
    pre = coefficients.shape[1]
    if taps_cpu is None or grad.device.type != "cpu":
        # The same sum with time and the direction of the synapses turned round.
        kernel = _dense(coefficients, first, max_delay).transpose(0, 1)
        return dense.convolve(grad.flip(0), kernel).flip(0).contiguous()
    if steps * batch == 0:
        return grad.new_zeros(steps, batch, pre)
    reach, padded_coefficients = _whole_passes(coefficients, max_delay)
    lanes = _lanes(batch)
    out = _accumulated(
        _to_lanes(grad, lanes, 0, reach),
        first.transpose(0, 1),
        padded_coefficients.transpose(0, 1),
        steps,
        lanes,
    )
    return _from_lanes(out, batch, lanes)


@torch.library.custom_op("snn_delays::shifted_sum_coefficient_gradient", mutates_args=())
def _coefficient_gradient(
    grad: Tensor, x: Tensor, first: Tensor, max_delay: int, taps: int
) -> Tensor:
    """gc[post, pre, k, q] = Σ_t Σ_n grad[t, n, post] · x[t − first[post, pre, k] − q, n, pre]."""
    shape = (*first.shape, taps)
    if taps_cpu is None or grad.device.type != "cpu":
        kernel = _kernel_gradient(grad, x, max_delay)
        index = first.long().unsqueeze(-1) + torch.arange(taps, device=x.device)
        return kernel.unsqueeze(2).expand(*first.shape, -1).gather(-1, index)
    if grad.shape[0] * grad.shape[1] == 0:
        return grad.new_zeros(shape)
    reach, out = _turned(grad.new_zeros(shape), max_delay)
    lanes = _lanes(grad.shape[1])
    use_torch_threads()
    taps_cpu.correlate(
        out.numpy(),
        _rows(_to_lanes(grad, lanes, 0, 0)),
        _rows(_to_lanes(x, lanes, reach, 0)),
        (reach - _last(first, out)).to(torch.int32).contiguous().numpy(),
        lanes,
    )
    return out.flip(-1)[..., :taps].contiguous()


@shifted_sum.register_fake
def _(x: Tensor, coefficients: Tensor, first: Tensor, max_delay: int) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], coefficients.shape[0])


@_input_gradient.register_fake
def _(grad: Tensor, coefficients: Tensor, first: Tensor, max_delay: int) -> Tensor:
    return grad.new_empty(grad.shape[0], grad.shape[1], coefficients.shape[1])


@_coefficient_gradient.register_fake
def _(grad: Tensor, x: Tensor, first: Tensor, max_delay: int, taps: int) -> Tensor:
    return grad.new_empty(*first.shape, taps)


def _setup(ctx, inputs: tuple, output: Tensor) -> None:
    x, coefficients, first, ctx.max_delay = inputs
    ctx.save_for_backward(x, coefficients, first)


def _backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
    x, coefficients, first = ctx.saved_tensors
    grad = grad.contiguous()
    gx = gc = None
    if ctx.needs_input_grad[0]:
        gx = _input_gradient(grad, coefficients, first, ctx.max_delay)
    if ctx.needs_input_grad[1]:
        gc = _coefficient_gradient(grad, x, first, ctx.max_delay, coefficients.shape[-1])
    return gx, gc, None, None


shifted_sum.register_autograd(_backward, setup_context=_setup)
# The loops know single and double precision; mixed precision keeps the sums in single.
shifted_sum.register_autocast("cpu", torch.float32)


def _whole_passes(coefficients: Tensor, max_delay: int) -> tuple[int, Tensor]:
    """Coefficients with zero taps appended up to whole passes, and the furthest tap then."""
    extra = passes(coefficients.shape[-1]) - coefficients.shape[-1]
    return max_delay + extra, torch.nn.functional.pad(coefficients, (0, extra))


def _turned(coefficients: Tensor, max_delay: int) -> tuple[int, Tensor]:
    """As ``_whole_passes``, last tap first: delays look back, rows are read forwards."""
    reach, padded = _whole_passes(coefficients, max_delay)
    return reach, padded.flip(-1).contiguous()


def _last(first: Tensor, coefficients: Tensor) -> Tensor:
    """The furthest tap of each contact."""
    return first + (coefficients.shape[-1] - 1)


def _accumulated(
    source: Tensor, first: Tensor, coefficients: Tensor, steps: int, lanes: int
) -> Tensor:
    out = source.new_zeros(source.shape[0], coefficients.shape[0], steps, lanes)
    use_torch_threads()
    taps_cpu.accumulate(
        _rows(out),
        _rows(source),
        first.to(torch.int32).contiguous().numpy(),
        coefficients.contiguous().numpy(),
        lanes,
    )
    return out


def _lanes(batch: int) -> int:
    """Lanes of a group: the batch in as few equal parts of at most ``LANES`` as possible."""
    return math.ceil(batch / math.ceil(batch / LANES))


def _to_lanes(x: Tensor, lanes: int, before: int, after: int) -> Tensor:
    """[T, N, C] → [G, C, before + T + after, lanes], silent before, after and beyond the batch."""
    steps, batch, channels = x.shape
    groups = math.ceil(batch / lanes)
    rows = x.new_zeros(groups, channels, before + steps + after, lanes)
    for g in range(groups):
        part = x[:, g * lanes : (g + 1) * lanes]
        rows[g, :, before : before + steps, : part.shape[1]] = part.permute(2, 0, 1)
    return rows


def _from_lanes(rows: Tensor, batch: int, lanes: int) -> Tensor:
    """[G, C, T, lanes] → [T, N, C]."""
    return rows.permute(2, 0, 3, 1).flatten(1, 2)[:, :batch].contiguous()


def _rows(lanes: Tensor) -> np.ndarray:
    return lanes.flatten(2).numpy()


def _dense(
    coefficients: Float[Tensor, "post pre contacts width"],
    first: Int[Tensor, "post pre contacts"],
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
