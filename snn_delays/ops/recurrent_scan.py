"""``ops/recurrent.py`` in one compiled scan, neurons included, forward and backward.

Delays that do not differ between neurons post hold each neuron's spikes back once and multiply them
with one matrix; wide Gaussians filter them with the few shapes of ``ops/lowrank.py``; else every
synapse looks at the few taps around its own delay. Backward,

    ∂L/∂s[u, pre] = … + Σ_post Σ_k w · Σ_j g_σ(j − d) · ∂L/∂r[u + 1 + j, post]

is the same window over the steps that follow. Spikes and ∂L/∂r once known, the gradients of weights
and delays are those of a delay convolution, which ``ops/plan.py`` computes by its quickest method.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_delays.errors import UsageError
from snn_delays.interpolation import interpolate_window
from snn_delays.modules.eager import for_loops
from snn_delays.ops import lowrank, lowrank_basis, plan, taps
from snn_delays.ops.adaptive import Cell, constants_of
from snn_delays.ops.compiled import loops, to_array, use_torch_threads
from snn_delays.ops.lif import Firing
from snn_delays.ops.twice import in_torch

recurrent_cpu = loops("recurrent_cpu")  # None: the loop in torch serves.


# σ, max_delay and interpolation.
Kernel = tuple[float, int, str]


class Synapses(NamedTuple):
    """Synapses of ``ops/recurrent.py``, all but ``weight`` as ``interpolate`` takes them.

    Args:
        learned: delays and σ whose slopes are the gradients of delays, if they are not these.
    """

    weight: Tensor
    delay: Tensor
    sigma: Any
    max_delay: int
    interpolation: str
    learned: tuple[Tensor, Any] | None = None


def covers(x: Tensor, history: Tensor, weight: Tensor, delay: Tensor, sigma: Any) -> bool:
    """Whether ``scan`` can take these."""
    there = recurrent_cpu is not None and not isinstance(sigma, Tensor) and x.numel() > 0
    return there and for_loops(x, history, weight, delay)


def scan(
    cell: Cell,
    x: Tensor,
    history: Tensor,
    kept: Tensor | None,
    synapses: Synapses,
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes ``[T, N, C]``, and v and w ``[N, C]`` after the last step, with gradients to all."""
    size = x.shape[2]
    constants = constants_of(cell, size, x)
    states = [one.to(x).expand(x.shape[1:]) for one in cell[5:7]]
    kept = x.new_empty(0, size) if kept is None else kept
    weight, delay, *kernel, learned = synapses
    slopes, width = learned or (None, 0.0)
    settings = (cell.firing, cell.before, cell.adapts, tuple(kernel), width)
    tensors = (x, history, kept, weight, delay, slopes, *states, *constants)
    return _Scan.apply(*tensors, *settings)  # pyright: ignore[reportReturnType]


class _Tables(NamedTuple):
    """Synapses as ``_product`` and ``_filtered``, or else ``_windowed``, take them."""

    matrix: Tensor
    first: Tensor
    taps: Tensor
    strip_first: Tensor
    strip_taps: Tensor
    each: int

    def numpy(self) -> tuple[Any, ...]:
        return *(to_array(one) for one in self[:5]), self.each


def _strips(rows: Tensor) -> Tensor:
    """``[A, J, …] → [A / STRIP, J, STRIP, …]``, A filled up with zeros."""
    size = recurrent_cpu.STRIP
    padded = rows.new_zeros(-len(rows) % size, *rows.shape[1:])
    whole = torch.cat([rows, padded])
    return whole.unflatten(0, (-1, size)).transpose(1, 2)


def _tables(weight: Tensor, delay: Tensor, kernel: Kernel, past: int) -> tuple[_Tables, ...]:
    """Of the window over past spikes, and of that over later gradients."""
    width = taps.width(*kernel, weight.dtype)
    first, spread = interpolate_window(delay, *kernel, width)
    back = past - width - first  # rows are read forwards: the last tap first
    _, pre, each = weight.shape
    none, no_first = weight.new_empty(0, 0, recurrent_cpu.STRIP), first.new_empty(0)
    if delay.shape[0] == 1:  # J = pre · k
        spread = spread[0].expand(pre, -1, -1).flatten(0, 1)
        ahead, behind = (one[0].expand(pre, -1).flatten() for one in (first, back))
        rows, empty = weight.flatten(1), (no_first.view(0, 0, 0), none.unsqueeze(-1))
        return (
            _Tables(_strips(rows), behind, spread.flip(-1), *empty, each),
            _Tables(_strips(rows.T), ahead, spread, *empty, each),
        )
    if _in_a_basis(weight, kernel, width):
        mixed, shapes = lowrank.mixture(weight, delay, *kernel[:2])
        rows, rank = mixed.permute(1, 2, 0).flatten(1), len(shapes)  # J = pre · rank
        filters, ahead = shapes.repeat(pre, 1), first.new_zeros(pre * rank)
        empty = (no_first.view(0, 0, 0), none.unsqueeze(-1))
        return (
            _Tables(_strips(rows), ahead, filters.flip(-1), *empty, rank),
            _Tables(_strips(rows.T), ahead, filters, *empty, rank),
        )
    coefficients = weight.unsqueeze(-1) * spread
    reverse = coefficients.flip(-1)
    ahead, behind = (one.expand(weight.shape) for one in (first, back))
    empty = none, no_first, weight.new_empty(0, 0)
    return (
        _Tables(*empty, _strips(behind.flatten(1)), _strips(reverse.flatten(1, 2)), each),
        _Tables(
            *empty,
            _strips(ahead.transpose(0, 1).flatten(1)),
            _strips(coefficients.transpose(0, 1).flatten(1, 2)),
            each,
        ),
    )  # fmt: skip


def _in_a_basis(weight: Tensor, kernel: Kernel, width: int) -> bool:
    """Whether the sums of ``ops/lowrank.py`` are quicker than ``width`` taps of every synapse."""
    sigma, max_delay, interpolation = kernel
    if interpolation != "gaussian" or not lowrank_basis.worthwhile(sigma, max_delay):
        return False
    rank = lowrank_basis.rank(sigma, max_delay, lowrank_basis.tolerance(weight.dtype))
    # A tap of a synapse takes 1.5 times the time of a number of a matrix.
    return rank * (1 + (max_delay + 1) / len(weight)) < 1.5 * width * weight.shape[2]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        history: Tensor,
        kept: Tensor,
        weight: Tensor,
        delay: Tensor,
        slopes: Tensor | None,
        v: Tensor,
        w: Tensor,
        *rest: Any,
    ) -> tuple[Tensor, Tensor, Tensor]:
        *constants, firing, before, adapts, kernel, width = rest
        steps, batch, size = x.shape
        lanes = recurrent_cpu.SAMPLES
        cells = torch.nn.functional.pad(torch.stack(constants), (0, -size % recurrent_cpu.STRIP))
        cells = cells.repeat_interleave(lanes, 1)
        groups = -(-batch // lanes)
        learning = any(ctx.needs_input_grad)
        whole = (groups, steps, cells.shape[1])
        nobody = (groups, 0, cells.shape[1])
        h = x.new_empty(whole)
        wide = x.new_empty(whole if learning and adapts else nobody)
        currents = x.new_empty(whole if ctx.needs_input_grad[9] else nobody)
        spikes, v_last, w_last = torch.empty_like(x), x.new_empty(v.shape), x.new_empty(v.shape)
        tables = _tables(weight, delay, kernel, len(history))
        use_torch_threads()
        recurrent_cpu.forward(
            *(one.numpy() for one in (spikes, h, wide, currents, v_last, w_last)),
            *(to_array(one) for one in (x, history, kept, v, w)),
            *tables[0].numpy(),
            cells.numpy(),
            *firing[:3],
            before,
        )
        ctx.firing, ctx.before, ctx.kernel, ctx.width = firing, before, kernel, width
        ctx.back = tables[1]
        kept_for_gradients = (spikes, h, wide, currents, history, kept, v, w, cells)
        ctx.save_for_backward(*kept_for_gradients, weight, delay, slopes)
        return spikes, v_last, w_last

    @staticmethod
    def backward(ctx, gspikes: Tensor, gv_last: Tensor, gw_last: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if in_torch(gspikes):
            raise UsageError(
                "RecurrentDelayLayer: gradients of gradients need the loop over time in torch. Use "
                "method='reference'."
            )
        spikes, h, wide, currents, history, kept, v, w, cells, *synapses = ctx.saved_tensors
        gx, gback = torch.empty_like(spikes), torch.empty_like(spikes)
        gv, gw = spikes.new_empty(v.shape), spikes.new_empty(v.shape)
        gcells = spikes.new_zeros(len(h), *cells.shape)
        firing: Firing = ctx.firing
        use_torch_threads()
        recurrent_cpu.backward(
            *(one.numpy() for one in (gx, gback, gv, gw, gcells)),
            *(one.contiguous().numpy() for one in (gspikes, gv_last, gw_last)),
            *(one.numpy() for one in (h, wide, currents)),
            *(to_array(one) for one in (kept, v, w)),
            *ctx.back.numpy(),
            cells.numpy(),
            *firing[:3],
            ctx.before,
            *firing[3:],
            len(history),
        )
        constants = (
            gcells.unflatten(2, (-1, recurrent_cpu.SAMPLES))
            .sum((0, 3))[:, : spikes.shape[2]]
            .unbind(0)
        )
        weight, delay, slopes = synapses
        needed = ctx.needs_input_grad
        sent = torch.cat([history, spikes[:-1]])
        inputs = (sent, weight, delay)
        gsent, *gsynapses = _gradients(inputs, (needed[1], *needed[3:5]), ctx.kernel, gback)
        ghistory = None if gsent is None else gsent[: len(history)]
        learned = (ctx.width, *ctx.kernel[1:])
        inputs = (sent, weight, delay if slopes is None else slopes)
        *_, gslopes = _gradients(inputs, (False, False, needed[5]), learned, gback)
        return gx, ghistory, None, *gsynapses, gslopes, gv, gw, *constants, *[None] * 5


def _gradients(
    inputs: tuple[Tensor, ...], needed: tuple[bool, ...], kernel: Kernel, gback: Tensor
) -> tuple[Tensor | None, ...]:
    """Those of sent spikes, weights and delays from that of the recurrent currents."""
    if not any(needed):
        return (None, None, None)
    with torch.enable_grad():
        views = [
            one.detach().requires_grad_(need) for one, need in zip(inputs, needed, strict=True)
        ]
        names = ("sigma", "max_delay", "interpolation")
        y = plan.delay_convolution(*views, **dict(zip(names, kernel, strict=True)))
        wanted = [one for one in views if one.requires_grad]
        found = iter(torch.autograd.grad(y[len(y) - len(gback) :], wanted, gback))
    return tuple(next(found) if need else None for need in needed)
