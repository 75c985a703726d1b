"""What a tensor inside a network is: sums of delayed spikes, channel by channel.

    signal[t, channel] = bias[channel] + Σ_sources Σ_rows weight · x_source[t − delay, pre]

Linear layers, normalisation, additions, concatenations and slices of channels lead from one such
signal to another, in float64; a neuron node makes the projections into a population of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn_delays.deploy.wiring import Frame, Wiring, all_to_all, over_maps
from snn_delays.errors import UsageError
from snn_delays.ops.convolution_dense import Geometry

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


class Rows(NamedTuple):
    """Delayed, weighted copies of a source's neurons.

    Args:
        max_delay: the longest that the layers which made them can express, in steps.

    Shape:
        pre, channel, delay (steps): int64; weight: float64, all ``[S]``.
    """

    pre: Int64
    channel: Int64
    delay: Int64
    weight: Float64
    max_delay: int


class Synapses(NamedTuple):
    """A layer's synapses, delays rounded.

    Args:
        geometry: of a convolution.

    Shape:
        weight: float64, delay: int64 steps, both ``[post, pre, k]``, or ``[out, in / groups,
        *kernel_size, k]`` of a convolution; bias: float64 ``[post]``.
    """

    weight: Float64
    delay: Int64
    bias: Float64
    max_delay: int
    geometry: Geometry | None = None

    def wiring(self, frame: Frame) -> Wiring:
        """Which weights lead from where to where, of what flows into the layer."""
        shape = self.weight.shape[:-1]
        if self.geometry is None:
            return all_to_all(shape[0], shape[1], frame)
        return over_maps(shape, self.geometry, frame)


@dataclass(frozen=True, eq=False)
class Signal:
    """A tensor whose steps have the shape ``frame``, channels counted through; ``parts`` by
    source."""

    frame: Frame
    parts: Mapping[str, Rows]
    bias: Float64

    @classmethod
    def of(cls, source: str, frame: Frame) -> Signal:
        """A source's own spikes."""
        size = prod(frame)
        index = np.arange(size)
        rows = Rows(index, index, np.zeros(size, np.int64), np.ones(size), 0)
        return cls(frame, {source: rows}, np.zeros(size))

    @property
    def size(self) -> int:
        """How many channels it has, those of maps at all positions."""
        return prod(self.frame)

    def is_only(self, source: str, size: int) -> bool:
        """Whether this is the source itself, of that size, unchanged."""
        if set(self.parts) != {source} or self.size != size or np.any(self.bias):
            return False
        rows, own = self.parts[source], Signal.of(source, (size,)).parts[source]
        return all(map(np.array_equal, rows[:4], own[:4]))

    def values(self, given: Mapping[str, Float64]) -> Float64:
        """The signal ``[T, N, size]`` of its sources' spikes ``[T, N, pre]``."""
        lead = next(iter(given.values())).shape[:2]
        found = np.broadcast_to(self.bias, (*lead, self.size)).copy()
        for source, rows in self.parts.items():
            x = given[source]
            for delay in np.unique(rows.delay):
                at = rows.delay == delay
                weight = np.zeros((x.shape[2], self.size))
                np.add.at(weight, (rows.pre[at], rows.channel[at]), rows.weight[at])
                found[delay:] += x[: len(x) - delay] @ weight
        return found

    def through(self, layer: Synapses) -> Signal:
        """What a layer of synapses makes of it."""
        wiring, count = layer.wiring(self.frame), layer.weight.shape[-1]
        if np.any(self.bias) and np.any(layer.delay):
            raise UsageError(
                "delays a constant current (a bias before it), which begins with the sample. Move "
                "the bias behind the delays."
            )
        weights, delays = layer.weight.reshape(-1, count), layer.delay.reshape(-1, count)
        bias = layer.bias[wiring.channel]
        if np.any(self.bias):
            constant = weights.sum(1)[wiring.weight] * self.bias[wiring.pre]
            bias = bias + np.bincount(wiring.post, constant, minlength=len(bias))
        order = np.argsort(wiring.pre, kind="stable")
        of_pre = wiring.pre[order]

        def spread(rows: Rows) -> Rows:
            # Every row goes by each synapse that its channel has.
            at, row = _stretches(of_pre, rows.channel)
            synapse = order[at]
            at = wiring.weight[synapse]
            return Rows(
                np.repeat(rows.pre[row], count),
                np.repeat(wiring.post[synapse], count),
                (delays[at] + rows.delay[row, None]).ravel(),
                (weights[at] * rows.weight[row, None]).ravel(),
                rows.max_delay + layer.max_delay,
            )

        parts = {name: spread(rows) for name, rows in self.parts.items()}
        return Signal(wiring.after, parts, bias)

    def shaped(self, frame: Frame) -> Signal:
        """The same channels in a frame of another shape."""
        return replace(self, frame=frame)

    def scaled(self, scale: Float64 | float, shift: Float64 | float = 0.0) -> Signal:
        """scale · signal + shift, numbers or one per channel."""
        scale = np.broadcast_to(np.asarray(scale, np.float64), (self.size,))
        return self._with(
            lambda rows: rows._replace(weight=rows.weight * scale[rows.channel]),
            self.bias * scale + shift,
        )

    def plus(self, other: Signal) -> Signal:
        """The sum of two."""
        if self.frame != other.frame:
            raise UsageError(f"adds {_channels(self.frame)} and {_channels(other.frame)}.")
        return Signal(self.frame, _united(self.parts, other.parts), self.bias + other.bias)

    def beside(self, other: Signal) -> Signal:
        """Both, the other's channels after its own."""
        if self.frame[1:] != other.frame[1:]:
            raise UsageError(f"joins {_channels(self.frame)} and {_channels(other.frame)}.")
        moved = other._with(
            lambda rows: rows._replace(channel=rows.channel + self.size), other.bias
        )
        return Signal(
            (self.frame[0] + other.frame[0], *self.frame[1:]),
            _united(self.parts, moved.parts),
            np.concatenate([self.bias, other.bias]),
        )

    def chosen(self, index: NDArray[np.integer]) -> Signal:
        """Some of the channels, in this order."""

        def chosen(rows: Rows) -> Rows:
            # Rows of one channel stand together, so that each copy of it is one stretch of them.
            order = np.argsort(rows.channel, kind="stable")
            at, channel = _stretches(rows.channel[order], index)
            at = order[at]
            return Rows(rows.pre[at], channel, rows.delay[at], rows.weight[at], rows.max_delay)

        changed = self._with(chosen, self.bias[index])
        return changed.shaped((len(index),))

    def _with(self, change: Callable[[Rows], Rows], bias: Float64) -> Signal:
        return Signal(self.frame, {name: change(rows) for name, rows in self.parts.items()}, bias)


def _stretches(known: NDArray[np.integer], asked: NDArray[np.integer]) -> tuple[Int64, Int64]:
    """Of each that is asked for, where in ``known``, which is sorted, it stands, every time; and
    which of those asked for that was."""
    first = np.searchsorted(known, asked)
    count = np.searchsorted(known, asked, side="right") - first
    within = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
    return np.repeat(first, count) + within, np.repeat(np.arange(len(asked)), count)


def _channels(frame: Frame) -> str:
    return f"{frame[0]} channels" if len(frame) == 1 else f"maps {list(frame)}"


def _united(a: Mapping[str, Rows], b: Mapping[str, Rows]) -> dict[str, Rows]:
    found = dict(a)
    for name, rows in b.items():
        if name in found:
            *mine, most = found[name]
            *theirs, longest = rows
            joined = map(np.concatenate, zip(mine, theirs, strict=True))
            rows = Rows._make([*joined, max(most, longest)])
        found[name] = rows
    return found
