"""By which method a convolution with learned spacings is computed, from a count of operations.

The choice depends on its arguments alone, so that equal runs take equal methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from snn_delays.modules.eager import autocasts, for_loops
from snn_delays.ops import depthwise, reference, spacings, windows
from snn_delays.ops.depthwise import Pair

Method = Literal["auto", "dense", "taps", "reference"]
METHODS: tuple[str, ...] = get_args(Method)
_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}

# Time of a training step on the CPU for each pixel of a result, in that of one tap of
# ``F.conv2d``: scripts/bench/dcls.py measures both methods. Torch's own is faster up to 15 × 15.
LARGE, LARGE_TAP = 15, 1.7
PART, PIXEL = 0.15, 8.5
TILE = (7, 16)  # rows and columns that are computed together


def choose(size: Pair, extent: Pair, window: Sequence[int], stride: Pair, dilation: Pair) -> str:
    """``"taps"`` or ``"dense"``, whichever is faster on the CPU.

    Args:
        size: rows and columns of the input.
        window: how many elements a channel has, and rows and columns of their windows.
    """
    fast = max(extent) <= LARGE and stride == dilation == (1, 1)
    dense = extent[0] * extent[1] * (1.0 if fast else LARGE_TAP)
    work = min(depthwise.work(window, dilation), depthwise.work((1, *extent), dilation))
    # Tiles that are not full, and what a stride steps over, are computed all the same; but single
    # rows come from all samples together.
    for length, unit in zip(size, TILE, strict=True):
        work *= -(-length // unit) * unit / length if length > 1 else 1.0
    taps = (PIXEL + PART * work) * stride[0] * stride[1]
    return "taps" if taps < dense else "dense"


def convolution(
    x: Tensor,
    weight: Float[Tensor, "out in *rest"],
    position: Float[Tensor, "learned out in *rest"],
    sigmas: Sequence[float | Tensor],
    extent: tuple[int, ...],
    learned_axes: tuple[int, ...],
    interpolation: str,
    *,
    bias: Float[Tensor, " out"] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    method: str = "auto",
) -> tuple[Tensor, str]:
    """The convolution of x with the kernel of ``ops/spacings.py``, and by which method.

    ``"taps"`` is for depthwise convolutions of plain float32 or float64 tensors on the CPU, in one
    or two dimensions: of others it makes the dense kernel, as on GPUs and under autocast. A
    Gaussian is without what is below rounding then.
    """
    elements = (weight, position, sigmas, extent, learned_axes, interpolation)
    settings = (stride, padding, dilation)
    if method in ("auto", "taps") and _for_loops(x, weight, position, bias, groups):
        coefficients, first = windows.of_elements(*elements)
        # One axis is that of an image of one row.
        image = x.unsqueeze(2) if len(extent) == 1 else x
        size, whole = _pair(image.shape[2:], 1), _pair(extent, 1)
        pairs = _pair(stride, 1), _pair(padding, 0), _pair(dilation, 1)
        window = coefficients.shape[1:]
        if method == "taps" or choose(size, whole, window, pairs[0], pairs[2]) == "taps":
            y = depthwise.convolve(image, coefficients, first, whole, bias, *pairs)
            return y.squeeze(2) if len(extent) == 1 else y, "taps"
    if method == "reference":
        kernel = reference.spaced_kernel(*elements)
    else:
        kernel, method = spacings.dense_kernel(*elements), "dense"
    return _CONVOLUTIONS[len(extent)](x, kernel, bias, *settings, groups), method


def _for_loops(
    x: Tensor, weight: Tensor, position: Tensor, bias: Tensor | None, groups: int
) -> bool:
    if depthwise.depthwise_cpu is None or not is_depthwise(x.dim() - 2, x.shape[1], groups):
        return False
    tensors = [x, weight, position] + ([] if bias is None else [bias])
    return for_loops(*tensors) and not autocasts(x)


def is_depthwise(dimensions: int, in_channels: int, groups: int) -> bool:
    """Whether taps can compute a convolution: each channel on its own, along one or two axes."""
    return groups == in_channels and dimensions in (1, 2)


def _pair(sizes: Sequence[int], before: int) -> Pair:
    """The sizes of two axes; of one axis with what stands for the other before it."""
    first, second = sizes if len(sizes) == 2 else (before, sizes[0])
    return first, second
