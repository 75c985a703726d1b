"""By which method a depthwise convolution is computed, from a count of operations.

The choice depends on its arguments alone, so that equal runs take equal methods.
"""

from __future__ import annotations

from torch import Tensor

from snn_delays.eager import for_loops
from snn_delays.ops import depthwise
from snn_delays.ops.depthwise import Pair

# Time of a training step on the CPU for each pixel of a result, in that of one tap of
# ``F.conv2d``: scripts/bench/dcls.py measures both methods. Torch's own is faster up to 15 × 15.
LARGE, LARGE_TAP = 15, 1.7
PART, PIXEL = 0.15, 8.5
TILE = (7, 16)  # rows and columns that are computed together


def choose(
    size: Pair, extent: Pair, window: tuple[int, int, int], stride: Pair, dilation: Pair
) -> str:
    """``"taps"`` or ``"dense"``, whichever is faster on the CPU.

    Args:
        size: rows and columns of the input.
        window: how many elements a channel has, and rows and columns of their windows.
    """
    fast = max(extent) <= LARGE and stride == dilation == (1, 1)
    dense = extent[0] * extent[1] * (1.0 if fast else LARGE_TAP)
    parts = min(
        depthwise.count_parts(window, dilation), depthwise.count_parts((1, *extent), dilation)
    )
    # Tiles that are not full, and what a stride steps over, are computed all the same; but single
    # rows come from all samples together.
    for length, unit in zip(size, TILE, strict=True):
        parts *= -(-length // unit) * unit / length if length > 1 else 1.0
    taps = (PIXEL + PART * parts) * stride[0] * stride[1]
    return "taps" if taps < dense else "dense"


def possible(x: Tensor, weight: Tensor) -> bool:
    """Whether the loops can take these; elsewhere ``taps`` makes the dense kernel."""
    return depthwise.depthwise_cpu is not None and for_loops(x, weight)
