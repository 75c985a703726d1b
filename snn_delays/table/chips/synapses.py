"""What of a table's synapses a chip cannot take, one line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.table.chips.profile import ChipProfile
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection
from snn_delays.table.require import of_all, value_range
from snn_delays.table.table import INPUT, DelayTable


def latency_changes(table: DelayTable, profile: ChipProfile) -> dict[str, int]:
    """By how much delays must change for a chip whose every connection takes ``transport`` steps.

    Along a chain that makes everything later and nothing else. Where paths of unequal length
    meet, and in loops, it would shift spikes against others.
    """
    transport, late = profile.delay.transport or 0, {INPUT: 0}
    for population in table.populations:
        before = [late[one.source] for one in table.into(population.name) if one.source in late]
        late[population.name] = max(before, default=-transport) + transport
    return {one.name: late[one.target] - late[one.source] - transport for one in table.projections}


def wrong_delays(projection: Projection, profile: ChipProfile, change: int) -> Iterator[str]:
    """``change``: of ``latency_changes``."""
    limits, delay = profile.delay, projection.delay + change
    outside = delay < limits.min
    if limits.max is not None:
        outside = outside | (delay > limits.max)
    if np.any(outside):
        changed = f", {change:+d} for latency" if change else ""
        yield (
            f"{of_all(outside)} delays are outside {limits.text} (they are "
            f"{value_range(delay)}{changed})"
        )
    if limits.granularity == "none" and np.any(delay != limits.min):
        yield f"{of_all(delay != limits.min)} synapses have a delay, and the chip has none"


def wrong_weights(projection: Projection, profile: ChipProfile) -> Iterator[str]:
    limits, weight = profile.weights, projection.weight
    if limits.bits is not None and not projection.integer:
        yield f"{len(weight)} weights are float32, not integers of {limits.bits} bits"
    elif projection.integer:
        values = weight.astype(np.float64)
        low = -np.inf if limits.low is None else limits.low
        high = np.inf if limits.high is None else limits.high
        outside = (values < low) | (values > high)
        if np.any(outside):
            yield (
                f"{of_all(outside)} weights are outside {low} … {high} (they are "
                f"{value_range(weight)})"
            )
    if limits.power_of_two and np.frexp(projection.weight_scale)[0] != 0.5:
        yield f"weight_scale is {projection.weight_scale:g}, not a power of two"


def wrong_axons(table: DelayTable, profile: ChipProfile) -> Iterator[str]:
    if profile.delay.granularity != "axon":
        return
    for source, size in _sizes(table).items():
        leaving = [one for one in table.projections if one.source == source]
        different = _distinct(size, [(one.pre, one.delay) for one in leaving]) > 1
        if np.any(different):
            yield (
                f"{_named(source)}: {of_all(different)} axons have different delays; the chip has "
                "one delay per axon"
            )


def wrong_fans(table: DelayTable, profile: ChipProfile) -> Iterator[str]:
    fan = profile.fan
    sizes = _sizes(table)
    # Every neuron's number among all, since partners may be in several populations.
    first = dict(zip(sizes, np.cumsum([0, *sizes.values()])[:-1], strict=True))
    for source, size in sizes.items():
        leaving = [one for one in table.projections if one.source == source]
        coming = table.into(source)
        for limit, what, pairs in (
            (fan.fan_in, "are reached by", [(p.post, first[p.source] + p.pre) for p in coming]),
            (fan.fan_out, "reach", [(p.pre, first[p.target] + p.post) for p in leaving]),
        ):
            if limit is None:
                continue
            partners = _distinct(size, pairs)
            if np.any(partners > limit):
                yield (
                    f"{_named(source)}: {of_all(partners > limit)} neurons {what} more than "
                    f"{limit} others (up to {partners.max()})"
                )


def _sizes(table: DelayTable) -> dict[str, int]:
    """Of the input and of every population."""
    return {name: table.size(name) for name in (INPUT, *table.order)}


def _named(source: str) -> str:
    return source if source == INPUT else f"population {source}"


def wrong_distinct_weights(
    table: DelayTable, population: Population, profile: ChipProfile
) -> Iterator[str]:
    limit = profile.weights.distinct_per_neuron
    if limit is None:
        return
    leading = table.into(population.name)
    distinct = _distinct(population.size, [(one.post, one.weight) for one in leading])
    if np.any(distinct > limit):
        yield (
            f"{of_all(distinct > limit)} neurons have more than {limit} different "
            f"weights (up to {distinct.max()})"
        )


def _distinct(n: int, pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> NDArray[np.int64]:
    """How many different values each of n owners has, from columns of owner and value."""
    if not pairs:
        return np.zeros(n, np.int64)
    owner, value = (np.concatenate(columns) for columns in zip(*pairs, strict=True))
    codes = np.unique(value, return_inverse=True)[1].ravel().astype(np.int64)
    width = int(codes.max(initial=0)) + 1
    found = np.unique(owner.astype(np.int64) * width + codes)
    return np.bincount(found // width, minlength=n)
