"""The methods for delays that belong to neurons: one matrix product, whatever the delays are.

Axonal delays ``[1, pre, k]`` hold back what a neuron sends, dendritic ones ``[post, 1, k]`` what
it is sent; with both, one after the other:

    z_k[t, pre] = Σ_j g_σ(j − d[pre, k]) · x[t − j, pre],      y = Σ_k z_k @ W_kᵀ
    p_k = x @ W_kᵀ,      y[t, post] = Σ_k Σ_j g_σ(j − d[post, k]) · p_k[t − j, post]

The sum over j is a filter along time of every channel by itself: few operations next to the
product. On the CPU ``ops/factored_cpu.py`` makes it; elsewhere it is a grouped convolution.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from snn_delays.interpolation import at_least_single, interpolate, interpolate_window
from snn_delays.modules.eager import for_loops, readable
from snn_delays.ops import dense, taps
from snn_delays.ops.compiled import loops, to_array, use_torch_threads
from snn_delays.ops.saved import Again, saving
from snn_delays.ops.twice import gradients, in_torch

factored_cpu = loops("factored_cpu")  # None: grouped convolutions serve.


class Stages(NamedTuple):
    """Delays on the way out of pre, and into post; None where there are none.

    Shape:
        pre ``[1, pre or 1, k]`` within [0, pre_max], post ``[post or 1, 1, k]`` within
        [0, post_max]; steps.
    """

    pre: Tensor | None
    post: Tensor | None
    pre_max: int
    post_max: int


def of_one_end(delay: Float[Tensor, "post_or_1 pre_or_1 k"], end: str, max_delay: int) -> Stages:
    """Axonal or dendritic delays as stages."""
    if end == "axonal":
        return Stages(delay, None, max_delay, 0)
    return Stages(None, delay, 0, max_delay)


def convolve(
    x: Float[Tensor, "time batch pre"],
    weight: Float[Tensor, "post pre k"],
    stages: Stages,
    sigma: float | Tensor,
    interpolation: str,
) -> Float[Tensor, "time batch post"]:
    """Both sums of the module's equation around one product."""
    post, pre, k = weight.shape
    late = None
    if stages.pre is not None:
        delay = stages.pre[0].expand(pre, k)
        late = partial(along_time, x, delay, sigma, stages.pre_max, interpolation)
    z = x if late is None else late()
    if stages.post is None:
        with _made_again(z, late):
            return _product(z, weight.transpose(1, 2).flatten(1))
    if stages.pre is None:
        p = _product(z, weight.permute(2, 0, 1).flatten(0, 1))
    else:
        each = z.unflatten(-1, (k, pre)).unbind(2)
        products = [_product(one, weight[:, :, i]) for i, one in enumerate(each)]
        p = products[0] if k == 1 else torch.cat(products, -1)
    delay = stages.post[:, 0].expand(post, k)
    return along_time(p, delay, sigma, stages.post_max, interpolation, into_one=True)


def last(
    x: Float[Tensor, "taps batch pre"],
    weight: Float[Tensor, "post pre k"],
    stages: Stages,
    sigma: float | Tensor,
    interpolation: str,
) -> Float[Tensor, "batch post"]:
    """The last step of ``convolve``, of an x with as many steps as the delays have taps."""
    wide = at_least_single(weight.dtype)
    x, weight = x.to(wide).flip(0), weight.to(wide)
    if stages.pre is not None:
        delay = stages.pre[0].expand(weight.shape[1:]).to(wide)
        spread = interpolate(delay, sigma, stages.pre_max, interpolation)
        z = torch.einsum("jsni,ikj->snik", _windows(x, stages.pre_max + 1), spread)
    else:
        z = x.unsqueeze(-1).expand(*x.shape, weight.shape[2])
    if stages.post is None:
        return torch.einsum("nik,oik->no", z[0], weight)
    delay = stages.post[:, 0].expand(weight.shape[::2]).to(wide)
    spread = interpolate(delay, sigma, stages.post_max, interpolation)
    p = torch.einsum("snik,oik->snok", z, weight)
    return torch.einsum("snok,oks->no", p, spread)


def _windows(x: Tensor, taps: int) -> Tensor:
    """``[S + taps − 1, …] → [taps, S, …]``: window j begins j steps later."""
    return torch.stack([x[j : len(x) - taps + 1 + j] for j in range(taps)])


def _made_again(z: Tensor, late: partial[Tensor] | None) -> AbstractContextManager[Any]:
    """Let products keep no z for their gradient, but make it again: a filter is cheap beside them.

    Its input is kept anyway, for the filter's own gradient.

    Raises:
        RuntimeError: in the backward pass, if the input, the delays or the product's other factor
            were written into meanwhile.
    """
    if late is None or not z.requires_grad or not for_loops(z):
        return nullcontext()
    storage = z.untyped_storage().data_ptr()
    made_of: tuple[Tensor, ...] = late.args[:2]
    versions = [one._version for one in made_of]

    def filtered(kept: Tensor) -> Again | None:
        if kept.untyped_storage().data_ptr() != storage:
            return None
        layout = kept.shape, kept.stride(), kept.storage_offset()

        def again() -> Tensor:
            if [one._version for one in made_of] != versions:
                raise RuntimeError(
                    "the input or the delays of a layer were modified by an inplace operation "
                    "between its forward and its backward pass. Call backward() before that."
                )
            with torch.no_grad():
                return late().as_strided(*layout)

        return again

    return saving(filtered)


def _product(x: Tensor, matrix: Float[Tensor, "post pre"]) -> Tensor:
    return dense.convolve(x.to(matrix.dtype), matrix.unsqueeze(-1))


def along_time(
    x: Float[Tensor, "time batch channels"],
    delay: Float[Tensor, "c k"],
    sigma: float | Tensor,
    max_delay: int,
    interpolation: str,
    into_one: bool = False,
) -> Float[Tensor, "time batch out"]:
    """Every channel of x after its k delays; x is silent before t = 0.

    Shape:
        x ``[T, N, c] → [T, N, k·c]``, or with ``into_one`` ``[T, N, k·c] → [T, N, c]``, summed
        over k; channel a·c + i is of delay[i, a].
    """
    wide = at_least_single(delay.dtype)
    x, delay = x.to(wide), delay.to(wide)
    if x.shape[0] * x.shape[1] == 0:  # the delays stay part of the graph
        channels = delay.shape[0] if into_one else delay.numel()
        return x.new_zeros(*x.shape[:2], channels) + 0 * (delay.sum() + x.sum())
    if isinstance(sigma, Tensor) or not readable(x, delay):
        kernel = interpolate(delay, sigma, max_delay, interpolation)
        return _grouped(x, kernel, into_one)
    size = taps.width(sigma, max_delay, interpolation, wide)
    first, spread = interpolate_window(delay, sigma, max_delay, interpolation, size)
    if factored_cpu is None or not for_loops(x, spread):
        return _grouped(x, _whole(spread, first, max_delay), into_one)
    return _Filtered.apply(x, spread, first, max_delay, into_one)  # pyright: ignore[reportReturnType]


def _whole(spread: Tensor, first: Int[Tensor, "c k"], max_delay: int) -> Float[Tensor, "c k taps"]:
    index = first.long().unsqueeze(-1) + torch.arange(spread.shape[-1], device=first.device)
    return spread.new_zeros(*first.shape, max_delay + 1).scatter_add(-1, index, spread)


def _grouped(x: Tensor, kernel: Float[Tensor, "c k taps"], into_one: bool) -> Tensor:
    """The filter in torch alone."""
    channels, k, longest = kernel.shape
    if into_one:  # each group is one channel's k in a row
        x = x.unflatten(2, (k, channels)).transpose(2, 3).flatten(2)
    else:
        kernel = kernel.reshape(channels * k, 1, longest)
    padded = F.pad(x.permute(1, 2, 0), (longest - 1, 0))
    y = F.conv1d(padded, kernel.flip(-1), groups=channels).permute(2, 0, 1)
    return y if into_one else y.unflatten(2, (channels, k)).transpose(2, 3).flatten(2)


class _Filtered(torch.autograd.Function):
    """The filter by compiled loops: backward it looks ahead instead of back.

    gx[t] = Σ_q c[q] · grad[t + first + q],      gc[q] = Σ_t Σ_n grad[t] · x[t − first − q]
    """

    @staticmethod
    def forward(
        ctx, x: Tensor, spread: Tensor, first: Tensor, max_delay: int, into_one: bool
    ) -> Tensor:
        ctx.save_for_backward(x, spread, first)
        ctx.max_delay, ctx.into_one = max_delay, into_one
        channels, k = first.shape
        out = x.new_empty(*x.shape[:2], channels if into_one else channels * k)
        parts, shift = _back(spread, first)
        _filter(out, x, shift, parts, max_delay)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, spread, first = ctx.saved_tensors
        of_x, of_spread = ctx.needs_input_grad[:2]
        if in_torch(grad):

            def product(x: Tensor, spread: Tensor) -> Tensor:
                return _grouped(x, _whole(spread, first, ctx.max_delay), ctx.into_one)

            return *gradients(product, (x, spread), (of_x, of_spread), grad), None, None, None
        gx = gspread = None
        if of_x:
            parts, offsets = taps.parts_of(spread)
            gx = torch.empty_like(x, memory_format=torch.contiguous_format)
            _filter(gx, grad, first.unsqueeze(-1) + offsets, parts, ctx.max_delay)
        if of_spread:
            parts, shift = _back(spread, first)
            sums = torch.zeros_like(parts)
            use_torch_threads()
            flows = [to_array(one) for one in (sums, grad, x, shift)]
            factored_cpu.correlated(*flows, ctx.max_delay)
            gspread = sums.flatten(-2)[..., : spread.shape[-1]].flip(-1)
        return gx, gspread, None, None, None


def _back(spread: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients and shifts of a sum over the past; rows are read forwards, last tap first."""
    parts, offsets = taps.parts_of(spread.flip(-1))
    return parts, offsets - first.unsqueeze(-1) - (spread.shape[-1] - 1)


def _filter(out: Tensor, x: Tensor, shift: Tensor, parts: Tensor, max_delay: int) -> None:
    use_torch_threads()
    factored_cpu.filtered(*(to_array(one) for one in (out, x, shift, parts)), max_delay)
