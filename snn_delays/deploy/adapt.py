"""Delays that fit a chip: shifted where 0 is impossible, clipped or rescaled where too long.

With ``base`` the chip's shortest delay and ``low`` the shortest one the network may use (``base``
too, if it uses none below that), every delay of every layer becomes

    base + round(factor · (delay − low)),      factor = 1 unless delays are rescaled,

and, when clipping, at most the chip's longest. A network of L layers answers base − low steps
later per layer, L · (base − low) in all, and its tail grows by as much. Where every bias is 0 it
is otherwise the same network. Else bias alone moves v during the steps in which a layer still
waits for its first input, as it does before a sample begins on a chip that runs on.

This is done before weights are quantised, so that synapses which come to lie on one step can be
added up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.chips.profile import ChipProfile
from snn_delays.table.merge import merged
from snn_delays.table.table import DelayTable, LayerTable

HOW = ("clip", "rescale", "refuse")


@dataclass(frozen=True, eq=False)
class AdaptedDelays:
    """A table whose delays a chip can take, and what that took.

    Args:
        shift: steps that every layer's delays grew by.
        factor: what all delays were multiplied by; 1 unless rescaled.
        synapses: per layer, before.
        clipped: per layer, synapses that were too long and are now the chip's longest.
        joined: per layer, synapses that came to lie on the step of another of their pair and
            were added to it.
        cancelled: per layer, such sums that are zero and left out.
        beyond_native: per layer, synapses that need the chip's delay extensions.
        transport: steps that each layer takes on the chip whatever its delays; the table and its
            simulation leave them out, and a run on the chip is as many steps per layer longer.
    """

    table: DelayTable
    shift: int
    factor: float
    synapses: tuple[int, ...]
    clipped: tuple[int, ...]
    joined: tuple[int, ...]
    cancelled: tuple[int, ...]
    beyond_native: tuple[int, ...]
    transport: int

    @property
    def latency(self) -> tuple[int, ...]:
        """Steps by which the spikes, or v, of each layer come later than they did."""
        return tuple(self.shift * (index + 1) for index in range(len(self.synapses)))

    @property
    def total_latency(self) -> int:
        """Steps by which the answer comes later: the sum over layers, and what the tail grew by.

        For the first ``total_latency`` steps the readout sees bias only; where there is none, each
        score of ``sum_softmax`` grows by total_latency / n_classes.
        """
        return self.latency[-1]

    @property
    def clipped_share(self) -> tuple[float, ...]:
        """Per layer, 0 … 1."""
        return tuple(
            clipped / max(synapses, 1)
            for clipped, synapses in zip(self.clipped, self.synapses, strict=True)
        )


def adapt_delays(table: DelayTable, profile: ChipProfile, how: str = "clip") -> AdaptedDelays:
    """The same network with delays within the chip's; the table itself where they already are.

    Args:
        table: float weights and neurons; quantise afterwards.
        how: what to do with delays above the chip's longest: ``clip`` them, ``rescale`` all delays
            of the network by one factor, or ``refuse``.

    Raises:
        UsageError: a quantised table; delays too long with ``refuse``; delays that differ where
            the chip has one per axon, or none at all.
    """
    if how not in HOW:
        raise UsageError(f"how must be one of {', '.join(HOW)}; got {how!r}.")
    for layer in table.layers:
        if layer.integer or layer.synapses.weight.dtype != np.float32:
            raise UsageError(
                f"adapt_delays: layer {layer.target} has quantised weights, whose sums may not fit "
                "their type. Adapt the delays of the float table, then quantise it."
            )
    limits = profile.delay
    delays = [layer.synapses.delay for layer in table.layers]
    low, base = _shortest(table, limits.min), limits.min
    if limits.granularity == "none":
        _require_none(delays, low, profile)
    longest = max(int(delay.max(initial=low)) for delay in delays) + base - low
    factor = 1.0
    if limits.max is not None and longest > limits.max:
        if how == "refuse":
            raise UsageError(_too_long(delays, base - low, limits.max, profile.name))
        if how == "rescale":
            factor = (limits.max - base) / (longest - base)
    moved = [(base + np.rint(factor * (delay - low))).astype(np.int32) for delay in delays]
    fitting = moved if limits.max is None else [np.minimum(one, limits.max) for one in moved]
    if limits.granularity == "axon":
        _require_one_per_axon(table, fitting, profile)

    layers, joined, cancelled = [], [], []
    for layer, before, delay in zip(table.layers, delays, fitting, strict=True):
        ends = _range(layer, low, base, factor, limits.max)
        rows = layer.synapses
        joined.append(0)
        cancelled.append(0)
        if factor != 1 or np.any(delay != before + (base - low)):
            rows, joined[-1], cancelled[-1] = merged(
                rows.pre, rows.post, delay, layer.current_weight
            )
        elif base != low:
            rows = replace(rows, delay=delay)
        layers.append(replace(layer, synapses=rows, min_delay=ends[0], max_delay=ends[1]))
    native = np.iinfo(np.int32).max if limits.native_max is None else limits.native_max
    latency = (base - low) * len(layers)
    return AdaptedDelays(
        table=replace(table, layers=tuple(layers), tail_steps=table.tail_steps + latency),
        shift=base - low,
        factor=factor,
        synapses=tuple(len(layer.synapses) for layer in table.layers),
        clipped=tuple(
            int(np.count_nonzero(one > two)) for one, two in zip(moved, fitting, strict=True)
        ),
        joined=tuple(joined),
        cancelled=tuple(cancelled),
        beyond_native=tuple(
            int(np.count_nonzero(layer.synapses.delay > native)) for layer in layers
        ),
        transport=limits.transport or 0,
    )


def _shortest(table: DelayTable, chip: int) -> int:
    """The shortest delay the network may use; the chip's, if it uses none below that."""
    if all(np.all(layer.synapses.delay >= chip) for layer in table.layers):
        return chip
    return min(layer.min_delay for layer in table.layers)


def _range(
    layer: LayerTable, low: int, base: int, factor: float, longest: int | None
) -> tuple[int, int]:
    """min_delay and max_delay of the layer after its delays have moved."""
    ends = [base + round(factor * max(end - low, 0)) for end in (layer.min_delay, layer.max_delay)]
    if longest is not None:
        ends = [min(end, longest) for end in ends]
    return ends[0], ends[1]


def _too_long(delays: list[NDArray[np.int32]], shift: int, longest: int, chip: str) -> str:
    every = np.concatenate(delays) + shift
    shifted = f" (shifted by {shift})" if shift else ""
    return (
        f"{np.count_nonzero(every > longest)} of {every.size} synapses have delays above the "
        f"{longest} steps of {chip}, up to {every.max()}{shifted}. Clip or rescale them "
        "(delays=clip, delays=rescale), fine-tune for the chip (finetune.chip), or train with a "
        "smaller max_delay."
    )


def _require_none(delays: list[NDArray[np.int32]], low: int, profile: ChipProfile) -> None:
    every = np.concatenate(delays)
    delayed = int(np.count_nonzero(every != low))
    if delayed:
        raise UsageError(
            f"{profile.name} has no delays, and {delayed} of {every.size} synapses have one. "
            "Choose another chip, or train with max_delay = 0."
        )


def _require_one_per_axon(
    table: DelayTable, delays: list[NDArray[np.int32]], profile: ChipProfile
) -> None:
    mixed = axons = 0
    for layer, delay in zip(table.layers, delays, strict=True):
        pre = layer.synapses.pre
        shortest = np.full(layer.n_pre, np.iinfo(np.int32).max)
        longest = np.full(layer.n_pre, -1)
        np.minimum.at(shortest, pre, delay)
        np.maximum.at(longest, pre, delay)
        mixed += int(np.count_nonzero(longest > shortest))
        axons += int(np.count_nonzero(longest >= 0))
    if mixed:
        raise UsageError(
            f"{profile.name} has one delay per axon, and {mixed} of {axons} neurons send with "
            "different ones. Train with axonal delays, or choose another chip."
        )
