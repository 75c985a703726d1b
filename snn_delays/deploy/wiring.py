"""Which neurons a layer's weights lead from and to: all to all, or a kernel all over a map."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.ops.convolution_dense import Geometry
from snn_delays.ops.convolution_taps import targets

Int64 = NDArray[np.int64]
# Shape of what flows in one step: (channels,), or (channels, W) or (channels, H, W) of maps.
Frame = tuple[int, ...]


class Wiring(NamedTuple):
    """Which weight leads from which neuron to which.

    Args:
        after: the frame of what a layer makes.

    Shape:
        pre, post, weight (a layer's, counted without ``kernel_count``): int64 ``[S]``; channel, of
        each neuron after it: int64 ``[size]``.
    """

    pre: Int64
    post: Int64
    weight: Int64
    channel: Int64
    after: Frame


def all_to_all(post: int, pre: int, frame: Frame) -> Wiring:
    """Of a fully connected layer.

    Raises:
        UsageError: another number of channels, or maps.
    """
    if len(frame) != 1:
        raise UsageError(f"takes channels, got maps {list(frame)}. Put Flatten before it.")
    if frame[0] != pre:
        raise UsageError(f"takes {pre} channels, got {frame[0]}.")
    into, of = np.indices((post, pre)).reshape(2, -1)
    return Wiring(of, into, np.arange(post * pre), np.arange(post), (post,))


def over_maps(shape: tuple[int, ...], geometry: Geometry, frame: Frame) -> Wiring:
    """Of a convolution, whose weights serve every position of its maps.

    Args:
        shape: of its weights, ``[out, in / groups, *kernel_size]``.

    Raises:
        UsageError: other maps than it takes.
    """
    out, own, *size = shape
    channels = own * geometry.groups
    if len(frame) != 1 + len(size) or frame[0] != channels:
        raise UsageError(
            f"takes {channels} maps with {len(size)} axes of space, got {list(frame)}."
        )
    kernel, space = tuple(size), frame[1:]
    found = targets(geometry, kernel, space)
    place, spot = np.nonzero(found >= 0)
    reached = found[place, spot]
    o, i = (one[..., None] for one in np.indices((out, own)))
    of = (o // (out // geometry.groups)) * own + i
    after = geometry.after(kernel, space)
    columns = (
        of * prod(space) + place,
        o * prod(after) + reached,
        (o * own + i) * prod(kernel) + spot,
    )
    pre, post, weight = (one.reshape(-1) for one in np.broadcast_arrays(*columns))
    return Wiring(pre, post, weight, np.repeat(np.arange(out), prod(after)), (out, *after))
