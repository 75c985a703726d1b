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

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.eager import for_loops
from snn_delays.ops import dense, products, spikes
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
KERNEL, TRANSFORM, SPIKE = 5.7, 91.0, 3.1
# Numbers of a spectrum of sequences, and of a kernel, that are there at once. More would take
# memory, less would take time.
SEQUENCES, SYNAPSES = 2**22, 2**21
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
    kernel_of: Callable[..., Float[Tensor, "post pre taps"]],
    post: int,
    taps: int,
    *parameters: Tensor,
) -> Float[Tensor, "time batch post"]:
    """y[t] = Σ_j K[:, :, j] · x[t − j], K = kernel_of(*parameters); x is silent before t = 0.

    Where spikes are few the two products that they are factors of are made one by one. For
    gradients the kernel is made anew: what they need of it is several times as large.
    """
    if not x.numel() or fft_cpu is None or not for_loops(x, *parameters):
        return dense.convolve(x, kernel_of(*parameters))
    steps, batch, pre = x.shape
    x = x.contiguous()
    fired = spikes.per_block(x.detach(), steps)
    most = cost(steps, batch, pre, post, taps) / (SPIKE * taps)
    few = fired is not None and bool(fired.sum() < most * x.numel())
    count, size, points = blocks(steps, taps)
    if count == 1:
        return _Product.apply(x, kernel_of, points, few, *parameters)  # pyright: ignore[reportReturnType]
    history = taps - 1
    padded = torch.nn.functional.pad(x, (0, 0, 0, 0, history, count * size - steps))
    cut = padded.unfold(0, size + history, size).permute(3, 0, 1, 2).flatten(1, 2).contiguous()
    y: Tensor = _Product.apply(cut, kernel_of, points, few, *parameters)  # pyright: ignore[reportAssignmentType]
    return y[history:].unflatten(1, (count, batch)).transpose(0, 1).flatten(0, 1)[:steps]


class _Product(torch.autograd.Function):
    """``dense.product`` by K points; its adjoints are products of the same spectra."""

    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        kernel_of: Callable[..., Tensor],
        points: int,
        few: bool,
        *parameters: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, *parameters)
        ctx.kernel_of, ctx.points, ctx.few = kernel_of, points, few
        taps = kernel_of(*parameters).permute(2, 1, 0).contiguous()
        if few:
            return spikes.convolve(x, taps)
        y = x.new_empty(*x.shape[:2], taps.shape[2])
        forms, room_x, room_y = _in_parts(x, y.shape[2], len(taps), points)
        for i, form in enumerate(forms):
            of_x, of_y = spectrum(form, x, OF_X, room_x), like(form, y, room_y)
            for some, of_kernel in _spectra(form, taps):
                products.multiply(_flat(of_x[some]), of_kernel, _flat(of_y[some]))
            add_sequence(form, of_y, OF_Y / points, y, i > 0)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, *parameters = ctx.saved_tensors
        for_x, _, _, _, *for_each = ctx.needs_input_grad
        if in_torch(grad):

            def product(x: Tensor, *parameters: Tensor) -> Tensor:
                return dense.product(x, ctx.kernel_of(*parameters))

            needed = (for_x, *for_each)
            gx, *found = gradients(product, (x, *parameters), needed, grad)
            return gx, None, None, None, *found
        with torch.no_grad():
            taps = ctx.kernel_of(*parameters).permute(2, 0, 1).contiguous()
        wanted = any(for_each)
        gx, gtaps = _gradients(x, taps, grad.contiguous(), ctx.points, ctx.few, for_x, wanted)
        if gtaps is None:
            return gx, *[None] * (3 + len(for_each))
        # With a graph only now, when the spectra are gone.
        of_kernel = gradients(ctx.kernel_of, parameters, for_each, gtaps.permute(1, 2, 0), False)
        return gx, None, None, None, *of_kernel


def _gradients(
    x: Tensor, taps: Tensor, grad: Tensor, points: int, few: bool, for_x: bool, for_taps: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Those of x and of a kernel's taps ``[taps, post, pre]``, which are given."""
    gx = torch.empty_like(x) if for_x else None
    gtaps = None
    if for_taps and few:
        gtaps = spikes.Channels(x, dense.SPIKES_BLOCK).correlate(grad, len(taps)).mT
    of_taps = torch.zeros_like(taps) if for_taps and not few else None
    if gx is None and of_taps is None:
        return None, gtaps
    forms, room_x, room_y = _in_parts(x, grad.shape[2], len(taps), points)
    for i, form in enumerate(forms):
        of_grad = spectrum(form, grad, OF_Y / points, room_y)
        if of_taps is not None:
            _add_kernel(form, of_grad, spectrum(form, x, OF_X, room_x), of_taps)
        if gx is not None:
            of_x = like(form, x, room_x)
            for some, of_kernel in _spectra(form, taps):
                products.multiply(_flat(of_grad[some]), of_kernel, _flat(of_x[some]))
            add_sequence(form, of_x, OF_X, gx, i > 0)
    return gx, gtaps if of_taps is None else of_taps


def _in_parts(
    x: Tensor, post: int, taps: int, points: int
) -> tuple[tuple[Transform, ...], Tensor, Tensor]:
    """So many parts that their spectra are small, and room for one of x and one of y."""
    each = 3 * points * x.shape[1]
    parts = 1
    while points % (2 * parts) == 0 and each * max(x.shape[2], post) > parts * SEQUENCES:
        parts *= 2
    forms = transforms(points, parts, taps, x.dtype)
    room = [x.new_empty(each // parts * channels) for channels in (x.shape[2], post)]
    return forms, room[0], room[1]


def _spectra(form: Transform, taps: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Piece by piece the three numbers of a kernel ``[taps, A, B]`` at K points: ``[…, A, B]``."""
    rows = taps.flatten(1)[None]
    for some in _pieces(form.points, rows.shape[2]):
        powers = _flat(form.kernel[some])[None]
        values = rows.new_empty(1, powers.shape[1], rows.shape[2])
        yield some, products.multiply(powers, rows, values).view(-1, *taps.shape[1:])


def _pieces(points: int, synapses: int) -> list[slice]:
    """Pairs of points, since a tile of products has six rows."""
    step = 2 * max(1, SYNAPSES // (6 * synapses))
    return [slice(first, min(first + step, points)) for first in range(0, points, step)]


def _add_kernel(form: Transform, of_y: Tensor, of_x: Tensor, sums: Tensor) -> None:
    """Add to ``[taps, post, pre]`` the gradients with respect to a kernel at K points."""
    total = sums.flatten(1)[None]
    for some in _pieces(form.points, total.shape[2]):
        powers = _flat(form.kernel[some])
        values = of_x.new_empty(len(powers), *sums.shape[1:])
        products.multiply(_flat(of_y[some]).mT, _flat(of_x[some]), values)
        products.multiply(powers.mT[None], values.flatten(1)[None], total, more=True)


def _flat(values: Tensor) -> Tensor:
    """``[points, 3, …]`` as products take it."""
    return values.flatten(0, 1)
