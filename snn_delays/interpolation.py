"""From a real-valued delay to weights on integer taps: the g_σ of dilated convolution with
learnable spacings (DCLS), along one axis.

    y[t] = Σ_j g_σ(j − d) · x[t − j],      j = 0 … max_delay,      Σ_j g_σ(j − d) = 1

Reference:
    Khalfaoui-Hassani, Pellegrini, Masquelier, "Dilated convolution with learnable spacings"
    (2021, arXiv:2112.03740) and "… beyond bilinear interpolation" (2023, arXiv:2306.00817).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from snn_delays.errors import UsageError
from snn_delays.modules.eager import readable
from snn_delays.modules.ranged import require_finite

Interpolation = Literal["gaussian", "triangle"]
INTERPOLATIONS: tuple[str, ...] = get_args(Interpolation)
# How delays act; see DelayLayer.rounding.
Rounding = Literal["none", "straight_through", "integer"]
ROUNDINGS: tuple[str, ...] = get_args(Rounding)
# DCLS stores a Gaussian's width as SIG = σ − 0.27.
DCLS_OFFSET = 0.27
# Below this a number counts as none. What fades ends in denormal numbers, with which processors are
# up to a hundred times slower.
TINY = 1e-30


def first_sigma(max_delay: int) -> float:
    """σ (steps) of half the kernel, with which training begins as published."""
    return max_delay / 2 + DCLS_OFFSET


def interpolate(
    delay: Float[Tensor, "*shape"],
    sigma: float | Tensor,
    max_delay: int,
    interpolation: str,
    what: str = "delays",
) -> Float[Tensor, "*shape taps"]:
    """Spread each delay over the taps 0 … max_delay; the weights of one delay sum to 1.

    A delay outside [0, max_delay] acts as the nearest edge and still receives its gradient,
    so that the optimiser can bring it back.

    Args:
        delay: steps.
        sigma: width in steps, >= 0; a 0-d tensor where one graph is to serve every width, or
            ``[..., 1]`` where it is learned of each delay.
        interpolation: ``"gaussian"`` or ``"triangle"``.
        what: what they are called in messages.

    Shape:
        delay ``[...]`` → ``[..., max_delay + 1]``; tap ``j`` is a delay of ``j`` steps.

    Raises:
        UsageError: unknown interpolation; delays that are NaN or infinite (on a GPU, which would
            have to be waited for, these make the result NaN instead).
    """
    if interpolation not in INTERPOLATIONS:
        raise UsageError(
            f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}."
        )
    taps = torch.arange(max_delay + 1, device=delay.device, dtype=delay.dtype)
    return _spread(inside(delay, max_delay, what), sigma, taps, interpolation)


def interpolate_window(
    delay: Float[Tensor, "*shape"], sigma: float, max_delay: int, interpolation: str, width: int
) -> tuple[Int[Tensor, "*shape"], Float[Tensor, "*shape width"]]:
    """As ``interpolate``, on the ``width`` taps around each delay only, and the first of them.

    Exact where g_σ is zero, or below rounding, on all other taps.

    Shape:
        delay ``[...]`` → first tap (int32) ``[...]``, weights ``[..., width]``.
    """
    delay = inside(delay, max_delay)
    first = delay.detach().round().to(torch.int32) - width // 2
    first = first.clamp(0, max_delay + 1 - width)
    taps = first.unsqueeze(-1) + torch.arange(width, device=delay.device, dtype=delay.dtype)
    return first, _spread(delay, sigma, taps, interpolation)


def inside(
    delay: Float[Tensor, "*shape"], max_delay: int, what: str = "delays"
) -> Float[Tensor, "*shape"]:
    """The delay brought into range; its gradient as if it had not been.

    Raises:
        UsageError: delays that are NaN or infinite, where that can be seen without waiting.
    """
    if delay.is_cpu and readable(delay):
        require_finite(delay, what)
    return delay + (delay.clamp(0, max_delay) - delay).detach()


def _spread(delay: Tensor, sigma: float | Tensor, taps: Tensor, interpolation: str) -> Tensor:
    if interpolation == "triangle":
        return triangle(delay, sigma, taps)
    if isinstance(sigma, Tensor):
        # Of the nearest step a bell of no width is what ``nearest`` gives.
        none = (sigma == 0).squeeze(-1) if sigma.dim() else sigma == 0
        return gaussian(torch.where(none, delay.round(), delay), sigma, taps)
    if sigma == 0:
        return nearest(delay, taps)
    return gaussian(delay, sigma, taps)


def gaussian(
    delay: Float[Tensor, "*shape"], sigma: float | Tensor, taps: Float[Tensor, "*#shape taps"]
) -> Float[Tensor, "*shape taps"]:
    """g ∝ exp(−½ ((j − d) / σ)²).

    Written as a softmax: exactly normalised, and no underflow however small σ is. At a delay of
    0 or max_delay the lost half of the bell makes the gradient point inwards, never vanish.
    DCLS calls this version "gauss" and stores SIG = σ − 0.27.
    """
    # Below 1e-6 the same limit; its square must not overflow float32.
    if isinstance(sigma, Tensor):  # whose inverse exceeds half precision
        sigma = sigma.to(torch.promote_types(sigma.dtype, delay.dtype)).clamp(min=1e-6)
    else:
        sigma = max(sigma, 1e-6)
    # By its inverse, as a GPU divides by a number: a σ in a tensor then rounds as that does.
    spread = torch.softmax(-0.5 * ((taps - delay.unsqueeze(-1)) * (1 / sigma)) ** 2, dim=-1)
    return torch.where(spread <= TINY, 0.0, spread)  # as far taps of a narrow bell are


def triangle(
    delay: Float[Tensor, "*shape"], sigma: float | Tensor, taps: Float[Tensor, "*#shape taps"]
) -> Float[Tensor, "*shape taps"]:
    """g ∝ max(1 + σ − |j − d|, 0); σ = 0 is linear interpolation between two taps.

    DCLS calls it "max" (σ = SIG), and "v1" at σ = 0. There a delay at an integer has no gradient
    at all, and one that was clamped to the edge stays for good. ``torch.maximum`` halves the
    gradient at a tie instead of dropping it, which is the central difference: every integer
    delay, the edges included, can move.
    """
    height = (1 - (taps - delay.unsqueeze(-1)).abs()) + sigma  # in this order torch.compile
    # takes sigma for a variable; with 1 + sigma it recompiles for every new value
    height = torch.maximum(height, torch.zeros_like(height))
    return height / height.sum(-1, keepdim=True)


def nearest(
    delay: Float[Tensor, "*shape"], taps: Float[Tensor, "*#shape taps"]
) -> Float[Tensor, "*shape taps"]:
    """The Gaussian's limit σ → 0: all weight on the nearest tap (ties to even); gradient 0.

    A gradient of zeros, not none: whoever adds up gradients of several processes waits for each.
    """
    return (taps == delay.round().unsqueeze(-1)).to(delay.dtype) + 0 * delay.unsqueeze(-1)


def at_least_single(dtype: torch.dtype) -> torch.dtype:
    """Single precision in place of half."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def dense_kernel(
    weight: Float[Tensor, "post pre *space k"],
    delay: Float[Tensor, "post_or_1 pre_or_1 *space_or_1 k"],
    sigma: float | Tensor,
    max_delay: int,
    interpolation: str,
) -> Float[Tensor, "post pre *space taps"]:
    """K[post, pre, j] = Σ_k w[post, pre, k] · g_σ(j − d[post, pre, k]); of kernels in space, at
    each of their positions."""
    # Distances and their squares exceed half precision: to that only the result is rounded.
    wide = at_least_single(weight.dtype)
    spread = interpolate(delay.to(wide), sigma, max_delay, interpolation)
    return (weight.to(wide).unsqueeze(-1) * spread).sum(dim=-2).to(weight.dtype)
