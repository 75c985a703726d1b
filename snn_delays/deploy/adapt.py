"""Delays that fit a chip: shifted where 0 is impossible, clipped or rescaled where too long.

With ``base`` the chip's shortest delay and ``low`` the shortest one the network may use (``base``
too, if it uses none below that), every population comes to lag base − low steps more than the
latest of its sources, and every delay of a projection becomes

    low + shift + round(factor · (delay − low)),      shift = lag[target] − lag[source],

factor = 1 unless delays are rescaled, and, when clipping, at most the chip's longest. Along a
projection that leads back the delay shrinks by what it leads back over, so that spikes still meet.
The answer comes lag[output] steps later, and the tail grows by as much. Where every bias is 0 it is
otherwise the same network. Else bias alone moves v during the steps in which a population still
waits for its first input, as it does before a sample begins on a chip that runs on.

This is done before weights are quantised, so that synapses which come to lie on one step can be
added up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from snn_delays.arguments import choice, require
from snn_delays.errors import UsageError
from snn_delays.table.chips.profile import ChipProfile
from snn_delays.table.projection import Projection, merged
from snn_delays.table.table import INPUT, DelayTable

HOW = ("clip", "rescale", "refuse")
_NEVER = int(np.iinfo(np.int32).max)
Counts = dict[str, int]
Delays = dict[str, NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class AdaptedDelays:
    """A table whose delays a chip can take, and what that took; counts are by projection.

    Args:
        shift: steps that a projection's delays grew by; negative where it leads back.
        lag: by population, steps by which its spikes, or v, come later than they did.
        factor: what all delays were multiplied by; 1 unless rescaled.
        synapses: before.
        clipped: synapses that were too long and are now the chip's longest.
        joined: synapses that came to lie on the step of another of their pair and were added to it.
        cancelled: such sums that are zero and left out.
        beyond_native: synapses that need the chip's delay extensions.
        transport: steps that each projection takes on the chip whatever its delays; the table and
            its simulation leave them out, and a run on the chip is as many steps per layer longer.
    """

    table: DelayTable
    shift: Counts
    lag: Counts
    factor: float
    synapses: Counts
    clipped: Counts
    joined: Counts
    cancelled: Counts
    beyond_native: Counts
    transport: int

    @property
    def total_latency(self) -> int:
        """Steps by which the answer comes later, and what the tail grew by.

        For the first ``total_latency`` steps the output sees bias only; where there is none, each
        score of ``sum_softmax`` grows by total_latency / n_classes.
        """
        return self.lag[self.table.output.name]


def adapt_delays(table: DelayTable, profile: ChipProfile, how: str = "clip") -> AdaptedDelays:
    """The same network with delays within the chip's; the table itself where they already are.

    Args:
        table: float weights and neurons; quantise afterwards.
        how: what to do with delays above the chip's longest: ``clip`` them, ``rescale`` all delays
            of the network by one factor, or ``refuse``.

    Raises:
        UsageError: a quantised table; delays too long with ``refuse``; spikes that lead back sooner
            than the chip can send them; delays that differ where the chip has one per axon, or none
            at all.
    """
    choice("how", how, HOW)
    require(isinstance(profile, ChipProfile), "profile", "be a chip, as of load_chip", profile)
    for one in table.projections:
        if one.integer:
            raise UsageError(
                f"adapt_delays: projection {one.name} has quantised weights, whose sums may not "
                "fit their type. Adapt the delays of the float table, then quantise it."
            )
    limits = profile.delay
    most = _NEVER if limits.max is None else limits.max
    low = _shortest(table, limits.min)
    lag = _lags(table, low, profile)
    shift = {one.name: lag[one.target] - lag[one.source] for one in table.projections}
    shifted = {one.name: one.delay + np.int64(shift[one.name]) for one in table.projections}
    if limits.granularity == "none":
        every = np.concatenate([np.zeros(0, np.int64), *shifted.values()])
        if delayed := _count(every != limits.min):
            raise UsageError(
                f"{profile.name} has no delays, and {delayed} of {every.size} synapses have one. "
                "Choose another chip, or train with max_delay = 0."
            )
    factor = 1.0
    if any(delay.max(initial=0) > most for delay in shifted.values()):
        if how == "refuse":
            raise UsageError(_too_long(shifted, shift, most, profile.name))
        if how == "rescale":
            factor = _factor(table, low, shift, most)

    def moved(one: Projection, delay: NDArray[np.integer]) -> NDArray[np.int64]:
        """Delays, or the ends of their range, before they are clipped."""
        first = low + shift[one.name]
        found = first + np.rint(factor * (delay - np.int64(low))).astype(np.int64)
        return np.maximum(found, _least(table, one, limits.min))

    unclipped = {one.name: moved(one, one.delay) for one in table.projections}
    fitting = {name: np.minimum(delay, most) for name, delay in unclipped.items()}
    if limits.granularity == "axon":
        _require_one_per_axon(table, fitting, profile)
    joined = dict.fromkeys(fitting, 0)
    cancelled = dict.fromkeys(fitting, 0)

    def adapted(one: Projection) -> Projection:
        ends = np.minimum(moved(one, np.array([one.min_delay, one.max_delay])), most).tolist()
        delay = fitting[one.name]
        columns = {"delay": delay.astype(np.int32)}
        if factor != 1 or np.any(delay != shifted[one.name]):
            found = merged(one.pre, one.post, delay, one.weight)
            joined[one.name], cancelled[one.name] = found.joined, found.cancelled
            columns = found.columns
        return replace(one, min_delay=ends[0], max_delay=ends[1], **columns)

    native = most if limits.native_max is None else limits.native_max
    late = replace(table, tail_steps=table.tail_steps + lag[table.output.name])
    found = late.map(projection=adapted)
    del lag[INPUT]
    return AdaptedDelays(
        table=found,
        shift=shift,
        lag=lag,
        factor=factor,
        synapses={one.name: len(one) for one in table.projections},
        clipped={name: _count(unclipped[name] > delay) for name, delay in fitting.items()},
        joined=joined,
        cancelled=cancelled,
        beyond_native={one.name: _count(one.delay > native) for one in found.projections},
        transport=limits.transport or 0,
    )


def _shortest(table: DelayTable, chip: int) -> int:
    """The shortest delay the network may use on its way forward; the chip's, if none is below."""
    forward = [one for one in table.projections if not table.leads_back(one)]
    if all(np.all(one.delay >= chip) for one in forward):
        return chip
    return min(one.min_delay for one in forward)


def _least(table: DelayTable, one: Projection, chip: int) -> int:
    """The shortest delay that a projection can have on the chip."""
    return max(chip, int(table.leads_back(one)))


def _lags(table: DelayTable, low: int, profile: ChipProfile) -> Counts:
    """By source, the least by which it comes later so that no delay is below the chip's."""
    wanted = {one.name: max(profile.delay.min - low, 0) for one in table.projections}
    back = [one for one in table.projections if table.leads_back(one)]
    for one in back:
        # Without synapses any delay will do.
        shortest = int(one.delay.min(initial=_NEVER))
        wanted[one.name] = _least(table, one, profile.delay.min) - shortest
    lag, loop = table.lags(wanted)
    if loop:
        raise UsageError(
            f"delays of {profile.name} are {profile.delay.text}, and spikes come back sooner than "
            f"that allows along {', '.join(one.name for one in back)}. Train with longer delays "
            "there, or choose another chip."
        )
    return lag


def _factor(table: DelayTable, low: int, shift: Counts, most: int) -> float:
    """The largest factor with which every delay fits."""
    factors = [
        (most - low - shift[one.name]) / (int(one.delay.max(initial=0)) - low)
        for one in table.projections
        if one.delay.max(initial=0) > low
    ]
    return max(min(factors), 0.0)


def _count(chosen: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(chosen))


def _too_long(delays: Delays, shift: Counts, longest: int, chip: str) -> str:
    every = np.concatenate(list(delays.values()))
    ends = dict.fromkeys((min(shift.values()), max(shift.values())))
    shifted = f" (shifted by {' … '.join(map(str, ends))})" if any(ends) else ""
    return (
        f"{_count(every > longest)} of {every.size} synapses have delays above the "
        f"{longest} steps of {chip}, up to {every.max()}{shifted}. Clip or rescale them "
        "(delays=clip, delays=rescale), fine-tune for the chip (finetune.chip), or train with a "
        "smaller max_delay."
    )


def _require_one_per_axon(table: DelayTable, delays: Delays, profile: ChipProfile) -> None:
    shortest = {name: np.full(table.size(name), np.inf) for name in (INPUT, *table.order)}
    longest = {name: np.full(table.size(name), -1.0) for name in shortest}
    for one in table.projections:
        np.minimum.at(shortest[one.source], one.pre, delays[one.name])
        np.maximum.at(longest[one.source], one.pre, delays[one.name])
    mixed = sum(_count(longest[name] > first) for name, first in shortest.items())
    if mixed:
        axons = sum(_count(last >= 0) for last in longest.values())
        raise UsageError(
            f"{profile.name} has one delay per axon, and {mixed} of {axons} neurons send with "
            "different ones. Train with axonal delays, or choose another chip."
        )
