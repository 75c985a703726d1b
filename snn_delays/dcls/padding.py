"""What a convolution adds around its input, as torch's own do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from snn_delays.arguments import choice, per_axis
from snn_delays.errors import UsageError

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def checked_padding(owner: str, given: Any, stride: tuple[int, ...]) -> tuple[int, ...] | str:
    """Places added at both ends of each axis, or ``"same"`` or ``"valid"``.

    Raises:
        UsageError: something else, or ``"same"`` with strides.
    """
    if not isinstance(given, str):
        return per_axis(f"{owner}: padding", given, len(stride), 0)
    padding = choice(f"{owner}: padding", given, ("same", "valid"))
    if padding == "same" and set(stride) != {1}:
        raise UsageError(
            f"{owner}: padding='same' needs a stride of 1, got {stride}. Give the numbers."
        )
    return padding


def ends(
    padding: tuple[int, ...] | str, extent: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int]]:
    """Places before and behind each axis."""
    if padding == "valid":
        return [(0, 0)] * len(extent)
    if isinstance(padding, str):  # "same": as of torch, what is odd goes behind
        whole = [d * (e - 1) for d, e in zip(dilation, extent, strict=True)]
        return [(one // 2, one - one // 2) for one in whole]
    return [(one, one) for one in padding]


def padded(x: Tensor, both: list[tuple[int, int]], mode: str) -> tuple[Tensor, tuple[int, ...]]:
    """The input, and the zeros that are still to be added at both ends by the convolution."""
    before = tuple(one for one, _ in both)
    if mode == "zeros" and all(one == other for one, other in both):
        return x, before
    pads = [end for one in reversed(both) for end in one]
    return F.pad(x, pads, mode="constant" if mode == "zeros" else mode), (0,) * len(both)
