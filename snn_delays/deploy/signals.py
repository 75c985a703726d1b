"""What a tensor inside a network is: sums of delayed spikes, channel by channel.

    signal[t, channel] = bias[channel] + Σ_sources Σ_rows weight · x_source[t − delay, pre]

Linear layers, normalisation, additions, concatenations and slices of channels lead from one such
signal to another, in float64; a neuron node makes the projections into a population of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError

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

    Shape:
        weight: float64, delay: int64 steps, both ``[post, pre, k]``; bias: float64 ``[post]``.
    """

    weight: Float64
    delay: Int64
    bias: Float64
    max_delay: int


@dataclass(frozen=True, eq=False)
class Signal:
    """A tensor of ``size`` channels; ``parts`` by source."""

    size: int
    parts: Mapping[str, Rows]
    bias: Float64

    @classmethod
    def of(cls, source: str, size: int) -> Signal:
        """A source's own spikes."""
        index = np.arange(size)
        rows = Rows(index, index, np.zeros(size, np.int64), np.ones(size), 0)
        return cls(size, {source: rows}, np.zeros(size))

    def is_only(self, source: str, size: int) -> bool:
        """Whether this is the source itself, of that size, unchanged."""
        if set(self.parts) != {source} or self.size != size or np.any(self.bias):
            return False
        rows, own = self.parts[source], Signal.of(source, size).parts[source]
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
        n_post, n_pre, count = layer.weight.shape
        if n_pre != self.size:
            raise UsageError(f"takes {n_pre} channels, got {self.size}.")
        if np.any(self.bias) and np.any(layer.delay):
            raise UsageError(
                "delays a constant current (a bias before it), which begins with the sample. Move "
                "the bias behind the delays."
            )
        bias = layer.bias + layer.weight.sum(2) @ self.bias

        def spread(rows: Rows) -> Rows:
            # Every row goes to all of post, by each synapse that its channel has.
            weight, delay = layer.weight[:, rows.channel], layer.delay[:, rows.channel]
            whole = (n_post, len(rows.pre), count)
            return Rows(
                np.broadcast_to(rows.pre[:, None], whole).ravel(),
                np.broadcast_to(np.arange(n_post)[:, None, None], whole).ravel(),
                (delay + rows.delay[:, None]).ravel(),
                (weight * rows.weight[:, None]).ravel(),
                rows.max_delay + layer.max_delay,
            )

        return Signal(n_post, {name: spread(rows) for name, rows in self.parts.items()}, bias)

    def scaled(self, scale: Float64 | float, shift: Float64 | float = 0.0) -> Signal:
        """scale · signal + shift, numbers or one per channel."""
        scale = np.broadcast_to(np.asarray(scale, np.float64), (self.size,))
        return self._with(
            lambda rows: rows._replace(weight=rows.weight * scale[rows.channel]),
            self.bias * scale + shift,
        )

    def plus(self, other: Signal) -> Signal:
        """The sum of two."""
        if self.size != other.size:
            raise UsageError(f"adds {self.size} and {other.size} channels.")
        return Signal(self.size, _united(self.parts, other.parts), self.bias + other.bias)

    def beside(self, other: Signal) -> Signal:
        """Both, the other's channels after its own."""
        moved = other._with(
            lambda rows: rows._replace(channel=rows.channel + self.size), other.bias
        )
        return Signal(
            self.size + other.size,
            _united(self.parts, moved.parts),
            np.concatenate([self.bias, other.bias]),
        )

    def chosen(self, index: NDArray[np.integer]) -> Signal:
        """Some of the channels, in this order."""

        def chosen(rows: Rows) -> Rows:
            # Rows of one channel stand together, so that each copy of it is one stretch of them.
            order = np.argsort(rows.channel, kind="stable")
            first = np.searchsorted(rows.channel[order], index)
            count = np.searchsorted(rows.channel[order], index, side="right") - first
            within = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
            at = order[np.repeat(first, count) + within]
            channel = np.repeat(np.arange(len(index)), count)
            return Rows(rows.pre[at], channel, rows.delay[at], rows.weight[at], rows.max_delay)

        changed = self._with(chosen, self.bias[index])
        return replace(changed, size=len(index))

    def _with(self, change: Callable[[Rows], Rows], bias: Float64) -> Signal:
        return Signal(self.size, {name: change(rows) for name, rows in self.parts.items()}, bias)


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
