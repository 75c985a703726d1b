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

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.interpolation import dense_kernel
from snn_delays.modules.eager import for_loops
from snn_delays.ops import dense, products, spikes
from snn_delays.ops.kernels import Synapses
from snn_delays.ops.spectrum import (
    OF_X,
    OF_Y,
    Transform,
    add_sequence,
    fft_cpu,
    like,
    points_for,
    spectrum,
    transforms,
)
from snn_delays.ops.twice import gradients, in_torch

# What a kernel's spectrum (of a tap and a synapse), transforms (of a channel) and what is added up
# for a spike cost, in products of the same size; fitted to layers of several sizes and batches.
KERNEL, TRANSFORM, SPIKE = 2.5, 91.0, 3.1
# Numbers of a spectrum of sequences, and of a kernel, that are there at once. More would take
# memory, less would take time.
SEQUENCES, SYNAPSES = 2**22, 3 * 2**19
# Points of one transform at most: two sequences of so many fill half a second-level cache.
MOST = 1024


def blocks(steps: int, taps: int) -> tuple[int, int, int]:
    """Into how many blocks of how many steps a sequence is cut, and K: few, as long as MOST lets.

    All but the first have to begin with the ``taps − 1`` steps before them.
    """
    history = taps - 1
    longest = max(MOST, points_for(4 * history))
    count = -(-steps // (2 * longest - history))
    size = -(-steps // count)
    return count, size, points_for(size + history)


def cost(steps: int, batch: int, pre: int, post: int, taps: int) -> float:
    """What one convolution takes, in products of a matrix with the input of a step."""
    count, _, points = blocks(steps, taps)
    each = 1 + KERNEL * taps / (batch * count) + TRANSFORM * (1 / pre + 1 / post)
    return 3 * points * count / steps * each


def convolve(
    x: Float[Tensor, "time batch pre"],
    weight: Float[Tensor, "post pre k"],
    delay: Float[Tensor, "post_or_1 pre_or_1 k"],
    sigma: float | Tensor,
    max_delay: int,
    interpolation: str,
) -> Float[Tensor, "time batch post"]:
    """The equation of ``ops/reference.py`` by products of spectra.

    Where spikes are few the two products that they are factors of are made one by one.
    """
    kernel = (sigma, max_delay, interpolation)
    width = torch.as_tensor(sigma, dtype=weight.dtype, device=weight.device)
    if not x.numel() or fft_cpu is None or not for_loops(x, weight, delay, width):
        return dense.convolve(x, dense_kernel(weight, delay, *kernel))
    steps, batch, pre = x.shape
    post, taps = len(weight), max_delay + 1
    x = x.contiguous()
    fired = spikes.per_block(x.detach(), steps)
    most = cost(steps, batch, pre, post, taps) / (SPIKE * taps)
    few = fired is not None and bool(fired.sum() < most * x.numel())
    count, size, points = blocks(steps, taps)
    synapses = weight, delay, width, max_delay, interpolation
    if count == 1:
        return _Product.apply(x, points, few, *synapses)  # pyright: ignore[reportReturnType]
    padded = torch.nn.functional.pad(x, (0, 0, 0, 0, max_delay, count * size - steps))
    cut = padded.unfold(0, size + max_delay, size).permute(3, 0, 1, 2).flatten(1, 2).contiguous()
    y: Tensor = _Product.apply(cut, points, few, *synapses)  # pyright: ignore[reportAssignmentType]
    return y[max_delay:].unflatten(1, (count, batch)).transpose(0, 1).flatten(0, 1)[:steps]


class _Product(torch.autograd.Function):
    """``dense.product`` by K points; its adjoints are products of the same spectra."""

    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        points: int,
        few: bool,
        weight: Tensor,
        delay: Tensor,
        sigma: Tensor,
        max_delay: int,
        interpolation: str,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, delay, sigma)
        ctx.points, ctx.few, ctx.kernel = points, few, (max_delay, interpolation)
        synapses = Synapses(weight, delay, sigma, *ctx.kernel, turned=True)
        if few:
            return spikes.convolve(x, synapses.kernel())
        y = x.new_empty(*x.shape[:2], len(weight))
        forms, room_x, room_y = _in_parts(x, len(weight), synapses.taps, points)
        for i, form in enumerate(forms):
            of_x, of_y = spectrum(form, x, OF_X, room_x), like(form, y, room_y)
            _multiply(form, of_x, synapses, of_y)
            add_sequence(form, of_y, OF_Y / points, y, i > 0)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        inputs = list(ctx.saved_tensors)
        for_x, _, _, *for_each = ctx.needs_input_grad
        if in_torch(grad):

            def product(x: Tensor, weight: Tensor, delay: Tensor, sigma: Tensor) -> Tensor:
                return dense.product(x, dense_kernel(weight, delay, sigma, *ctx.kernel))

            gx, *found = gradients(product, inputs, (for_x, *for_each[:3]), grad)
            return gx, None, None, *found, None, None
        synapses = Synapses(*inputs[1:], *ctx.kernel, turned=False)
        settings = ctx.points, ctx.few, for_x, any(for_each)
        gx, *found = _gradients(inputs, synapses, grad.contiguous(), *settings)
        return gx, None, None, *found, None, None


def _gradients(
    inputs: list[Tensor],
    synapses: Synapses,
    grad: Tensor,
    points: int,
    few: bool,
    for_x: bool,
    for_synapses: bool,
) -> tuple[Tensor | None, ...]:
    """Those of x, weights, delays and widths.

    x is taken out of ``inputs``: where it was made again for this pass, nothing else holds it, and
    its room is free before its gradient needs as much.
    """
    x = inputs.pop(0)
    shape = x.shape
    forms, room_x, room_y = _in_parts(x, grad.shape[2], synapses.taps, points)
    of_grad, found = None, [None] * 3
    if for_synapses and few:
        channels = spikes.Channels(x, dense.SPIKES_BLOCK)
        found = synapses.gradients(synapses.sums(channels.correlate(grad, synapses.taps).mT))
    elif for_synapses:
        sums = synapses.sums()
        for form in forms:
            of_grad = spectrum(form, grad, OF_Y / points, room_y)
            _correlate(form, of_grad, spectrum(form, x, OF_X, room_x), synapses, sums)
        found = synapses.gradients(sums)
        del sums
    del x
    if not for_x:
        return None, *found
    gx = grad.new_empty(shape)
    # The last part first: its spectrum is still there.
    for i, form in enumerate(reversed(forms)):
        if of_grad is None or i > 0:
            of_grad = spectrum(form, grad, OF_Y / points, room_y)
        of_x = like(form, gx, room_x)
        _multiply(form, of_grad, synapses, of_x)
        add_sequence(form, of_x, OF_X, gx, i > 0)
    return gx, *found


def _in_parts(
    x: Tensor, post: int, taps: int, points: int
) -> tuple[tuple[Transform, ...], Tensor, Tensor]:
    """So many parts that their spectra are small, and room for one of x and one of y."""
    each = 3 * points * x.shape[1]
    parts = 1
    while points % (4 * parts) == 0 and each * max(x.shape[2], post) > parts * SEQUENCES:
        parts *= 2
    forms = transforms(points, parts, taps, x.dtype)
    room = [x.new_empty(each // parts * channels) for channels in (x.shape[2], post)]
    return forms, room[0], room[1]


def _multiply(form: Transform, of_x: Tensor, synapses: Synapses, out: Tensor) -> None:
    """``[K, 3, N, A]`` times a kernel's spectrum, at some points after others: ``[K, 3, N, B]``."""
    for some, of_kernel in _pieces(form, synapses, of_x):
        synapses.spectrum(form, some, of_kernel)
        for x, kernel, y in zip(_halves(of_x), of_kernel, _halves(out), strict=True):
            products.multiply(_flat(x[some]), _flat(kernel), _flat(y[some]))


def _correlate(
    form: Transform, of_y: Tensor, of_x: Tensor, synapses: Synapses, sums: Tensor
) -> None:
    """Adds the gradients of a kernel, from those of its spectrum at some points after others."""
    for some, values in _pieces(form, synapses, of_x):
        for x, kernel, y in zip(_halves(of_x), values, _halves(of_y), strict=True):
            products.multiply(_flat(y[some]).mT, _flat(x[some]), _flat(kernel))
        synapses.add_spectrum(form, some, values, sums)


def _pieces(form: Transform, synapses: Synapses, x: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Some of half of the points, and room for a kernel at these and at those opposite."""
    half = form.points // 2
    step = min(half, max(1, SYNAPSES // (6 * synapses.shape.numel())))
    room = x.new_empty(2 * step, 3, *synapses.shape)
    for first in range(0, half, step):
        some = slice(first, min(first + step, half))
        yield some, room[: 2 * (some.stop - first)].unflatten(0, (2, -1))


def _halves(values: Tensor) -> Tensor:
    return values.unflatten(0, (2, -1))


def _flat(values: Tensor) -> Tensor:
    """``[points, 3, …]`` as products take it."""
    return values.flatten(0, 1)
