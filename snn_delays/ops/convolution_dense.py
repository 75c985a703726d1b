"""Delays in convolutions over space by torch's own convolution, with time as one more axis."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


class Geometry(NamedTuple):
    """Of a convolution, per axis of space, as torch's has it."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def after(self, kernel: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
        """Positions of the output, of a kernel's and an input's size."""
        axes = zip(size, kernel, *self[:3], strict=True)
        return tuple(
            (n + 2 * pad - apart * (k - 1) - 1) // step + 1 for n, k, step, pad, apart in axes
        )


def product(
    x: Float[Tensor, "time batch channels *space"],
    kernel: Float[Tensor, "out in *kernel taps"],
    geometry: Geometry,
    *,
    history: bool = False,
) -> Float[Tensor, "time_after batch out *space_after"]:
    """y[t] = Σ_j K[…, j] · x[t − j] by torch's convolution, with time as one more axis.

    Args:
        history: whether x begins with the steps before the first that the result has; else it is
            silent before t = 0.
    """
    stride, padding, dilation, groups = geometry
    taps = kernel.shape[-1]
    if x.shape[0] * x.shape[1] == 0:
        # Nothing to convolve, but the kernel stays part of the graph.
        space = geometry.after(tuple(kernel.shape[2:-1]), tuple(x.shape[3:]))
        return x.new_zeros(*x.shape[:2], kernel.shape[0], *space) + 0 * kernel.sum()
    # A cross-correlation over its axes: turn the kernel round in time.
    turned = kernel.movedim(-1, 2).flip(2)
    lanes = x.movedim(0, 2)
    if not history:
        lanes = F.pad(lanes, [0, 0] * len(stride) + [taps - 1, 0])
    convolve = F.conv2d if len(stride) == 1 else F.conv3d
    y = convolve(lanes, turned, None, (1, *stride), (0, *padding), (1, *dilation), groups)
    return y.movedim(2, 0)
