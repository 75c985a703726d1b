"""The method for kernels between narrow and wide: products of spectra instead of sums over taps.

A sequence is a polynomial, x(z) = Σ_t x[t] · zᵗ, and a convolution is a product of two. That has
less than 2 · K coefficients if 2 · K ≥ T + max_delay, and its remainder after division by zᴷ − i,
y[n] + i · y[n + K], is known from its values at the K points where zᴷ = i (right-angle
convolution, half as long as a circular one):

    Y[k, post] = Σ_pre G[k, post, pre] · X[k, pre],   k < K

A complex product takes three real ones (Gauss). So all taps cost 3 · K / T products of matrices a
step, about two, whatever σ and max_delay are, where ``dense`` makes max_delay + 1; and besides them
the transforms of x, y and the kernel. Zeros are zeros but for rounding: 1e-7 of the largest.

Reference:
    Crandall & Fagin, "Discrete weighted transforms and large-integer arithmetic", 1994.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.eager import for_loops
from snn_delays.ops import dense, products, spikes
from snn_delays.ops.compiled import loops, use_torch_threads
from snn_delays.ops.twice import gradients, in_torch

fft_cpu = loops("fft_cpu")  # None: the dense kernel serves.
# Numbers of a kernel's spectrum that are there at once, so that they stay in the cache.
NUMBERS = 2**21
# Points of one transform at most: two sequences of so many fill half a second-level cache.
MOST = 1024

# X as three real numbers (a, b, their sum) and G as (c, d − c, c + d) have the three products
# c · (a + b), a · (d − c), b · (c + d), of which Y = first − third + i · (first + second).
_OF_X = np.array([[1, 1], [1, 0], [0, 1]])
_OF_G = np.array([[1, 0], [-1, 1], [1, 1]])
_OF_Y = np.array([[1, 1], [0, 1], [-1, 0]])


class Transform(NamedTuple):
    """What the loops of one length need, in one precision."""

    points: int
    twist: np.ndarray  # [K, 3]: the real part, the imaginary part, and that with its sign turned
    radices: np.ndarray
    table: np.ndarray  # [coefficients, 3], likewise
    kernel: Tensor  # [3, K, taps]: by which a kernel's taps become its spectrum

    @property
    def tables(self) -> tuple[np.ndarray, ...]:
        return self.twist, self.radices, self.table

    @property
    def adjoint(self) -> Transform:
        """Everything conjugated."""
        return self._replace(twist=self.twist[:, [0, 2, 1]], table=self.table[:, [0, 2, 1]])


@functools.lru_cache(maxsize=256)
def transform(points: int, taps: int, dtype: torch.dtype) -> Transform:
    """Of K = ``points``, 2^a · 3^b · 5^c, at z_k = exp(i · (½ − 2 · k) · π / K)."""
    number = torch.empty(0, dtype=dtype).numpy().dtype
    radices, table = [], []
    n = points
    for radix in (4, 2, 3, 5):
        while n % radix == 0:
            n //= radix
            radices.append(radix)
            p, j, k = np.ogrid[:n, :radix, :radix]
            turns = j * k / radix + p * j / (radix * n)
            table.append(np.exp(-2j * np.pi * turns).ravel())
    angles = (0.5 - 2 * np.arange(points)) * np.pi / points
    powers = np.exp(1j * angles[:, None] * np.arange(taps))
    kernel = np.einsum("ip,pkj->ikj", _OF_G, [np.real(powers), np.imag(powers)])
    return Transform(
        points,
        _signed(np.exp(0.5j * np.pi * np.arange(points) / points), number),
        np.array(radices, np.int64),
        _signed(np.concatenate(table), number),
        torch.from_numpy(kernel.astype(number)),
    )


def _signed(values: np.ndarray, number: np.dtype) -> np.ndarray:
    real, imaginary = np.real(values), np.imag(values)
    return np.stack([real, imaginary, -imaginary], 1).astype(number)


def points_for(length: int) -> int:
    """The least K of the loops' radices with 2 · K ≥ ``length``."""
    least = max(2, -(-length // 2))
    odd = [5**five * 3**three for five in range(3) for three in range(3)]
    return min(base << max(0, -(-least // base) - 1).bit_length() for base in odd)


def blocks(steps: int, taps: int) -> tuple[int, int, int]:
    """Into how many blocks of how many steps a sequence is cut, and K: few, as long as MOST lets.

    All but the first have to begin with the ``taps − 1`` steps before them.
    """
    history = taps - 1
    longest = max(MOST, points_for(4 * history))
    count = -(-steps // (2 * longest - history))
    size = -(-steps // count)
    return count, size, points_for(size + history)


def columns(steps: int, batch: int, pre: int, post: int, taps: int) -> dict[str, float]:
    """What one convolution takes, in products of matrices of one step's input."""
    count, _, points = blocks(steps, taps)
    products = 3 * points * count / steps
    return {
        "product": products,
        "kernel": products * taps / (batch * count),
        "transform": products * (1 / pre + 1 / post),
    }


def convolve(
    x: Float[Tensor, "time batch pre"], kernel: Float[Tensor, "post pre taps"]
) -> Float[Tensor, "time batch post"]:
    """y[t] = Σ_j K[:, :, j] · x[t − j]; x is silent before t = 0.

    Of spikes the two products that they are factors of are made one by one, as in ``dense``.
    """
    if not x.numel() or fft_cpu is None or not for_loops(x, kernel):
        return dense.convolve(x, kernel)
    steps, batch, _ = x.shape
    taps = kernel.shape[2]
    x = x.contiguous()
    few = spikes.few(x, spikes.per_block(x.detach(), steps))
    count, size, points = blocks(steps, taps)
    if count == 1:
        return _Product.apply(x, kernel, points, few)  # pyright: ignore[reportReturnType]
    history = taps - 1
    padded = torch.nn.functional.pad(x, (0, 0, 0, 0, history, count * size - steps))
    cut = padded.unfold(0, size + history, size).permute(3, 0, 1, 2).flatten(1, 2).contiguous()
    y: Tensor = _Product.apply(cut, kernel, points, few)  # pyright: ignore[reportAssignmentType]
    return y[history:].unflatten(1, (count, batch)).transpose(0, 1).flatten(0, 1)[:steps]


class _Product(torch.autograd.Function):
    """``dense.product`` by K points; its adjoints are products of the same spectra."""

    @staticmethod
    def forward(ctx, x: Tensor, kernel: Tensor, points: int, few: bool) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.points, ctx.few = points, few
        if few:
            return spikes.convolve(x, kernel.permute(2, 1, 0).contiguous())
        form = transform(points, kernel.shape[2], x.dtype)
        of_x = _spectrum(form, x, _OF_X)
        of_y = x.new_empty(3, points, x.shape[1], kernel.shape[0])
        for part, of_kernel in _spectra(form, kernel.permute(2, 1, 0)):
            _multiply(of_x[:, part], of_kernel, of_y[:, part])
        return _sequence(form, of_y, _OF_Y / points, x.shape[0])

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, kernel = ctx.saved_tensors
        if in_torch(grad):
            needed = ctx.needs_input_grad[:2]
            return *gradients(dense.product, (x, kernel), needed, grad), None, None
        grad, gx, gkernel = grad.contiguous(), None, None
        for_x, for_kernel = ctx.needs_input_grad[:2]
        if for_kernel and ctx.few:
            sums = spikes.Channels(x, dense.SPIKES_BLOCK).correlate(grad, kernel.shape[2])
            gkernel, for_kernel = sums.permute(2, 1, 0), False
        if not (for_x or for_kernel):
            return None, gkernel, None, None
        form = transform(ctx.points, kernel.shape[2], x.dtype)
        of_grad = _spectrum(form, grad, _OF_Y / ctx.points)
        if for_kernel:
            gkernel = _kernel_sums(form, of_grad, _spectrum(form, x, _OF_X))
        if for_x:
            of_x = x.new_empty(3, ctx.points, *x.shape[1:])
            for part, of_kernel in _spectra(form, kernel.permute(2, 0, 1)):
                _multiply(of_grad[:, part], of_kernel, of_x[:, part])
            gx = _sequence(form, of_x, _OF_X, x.shape[0])
        return gx, gkernel, None, None


def _spectra(form: Transform, taps: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """By parts the values of a kernel ``[taps, A, B]`` at K points: ``[3, points, A, B]``."""
    rows = taps.detach().contiguous().flatten(1)[None]
    for part in _parts(form.points, rows.shape[2]):
        powers = form.kernel[:, part].flatten(0, 1)[None]
        values = products.multiply(powers, rows, rows.new_empty(1, powers.shape[1], rows.shape[2]))
        yield part, values.view(3, -1, *taps.shape[1:])


def _parts(points: int, synapses: int) -> list[slice]:
    """Pairs of points, since a tile of products has six rows."""
    step = 2 * max(1, NUMBERS // (6 * synapses))
    return [slice(first, min(first + step, points)) for first in range(0, points, step)]


def _kernel_sums(form: Transform, of_y: Tensor, of_x: Tensor) -> Tensor:
    """Σ_k of gradients with respect to a kernel's values at K points: ``[post, pre, taps]``."""
    post, pre = of_y.shape[-1], of_x.shape[-1]
    total = of_x.new_zeros(1, form.kernel.shape[2], post * pre)
    some = torch.empty_like(total)
    for part in _parts(form.points, post * pre):
        powers = form.kernel[:, part].flatten(0, 1)
        values = of_x.new_empty(3, powers.shape[0] // 3, post, pre)
        _multiply(of_y[:, part].mT, of_x[:, part], values)
        total += products.multiply(powers.mT[None], values.view(1, len(powers), -1), some)
    return total.view(-1, post, pre).permute(1, 2, 0)


def _multiply(a: Tensor, b: Tensor, out: Tensor) -> None:
    """The three products of all points."""
    for i in range(3):
        products.multiply(a[i], b[i], out[i])


def _spectrum(form: Transform, x: Tensor, mix: np.ndarray) -> Tensor:
    """Three real numbers of each value of ``[T, N, C]``: ``[3, K, N, C]``."""
    out = x.new_empty(3, form.points, *x.shape[1:])
    rows = x.detach().flatten(1).numpy()
    use_torch_threads()
    fft_cpu.to_spectrum(out.flatten(2).numpy(), rows, mix.astype(rows.dtype), *form.tables)
    return out


def _sequence(form: Transform, spectrum: Tensor, mix: np.ndarray, steps: int) -> Tensor:
    """The adjoint: ``[3, K, N, C]`` → ``[T, N, C]``."""
    out = spectrum.new_empty(steps, *spectrum.shape[2:])
    rows = out.flatten(1).numpy()
    use_torch_threads()
    tables = form.adjoint.tables
    fft_cpu.from_spectrum(rows, spectrum.flatten(2).numpy(), mix.astype(rows.dtype), *tables)
    return out
