"""What of a table's synapses a chip cannot take, one line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.table.chips.profile import ChipProfile
from snn_delays.table.projection import Projection
from snn_delays.table.require import value_range
from snn_delays.table.table import INPUT, DelayTable

# What is wrong: which of all, for a line that begins "3 of 10 "; or a line as it is.
Wrong = tuple[NDArray[np.bool_] | None, str]


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


def wrong_delays(projection: Projection, profile: ChipProfile, change: int) -> Iterator[Wrong]:
    """``change``: of ``latency_changes``."""
    limits, delay = profile.delay, projection.delay.astype(np.int64) + change
    most = np.inf if limits.max is None else limits.max
    outside = (delay < limits.min) | (delay > most)
    changed = f", {change:+d} for latency" if change else ""
    yield outside, f"delays are outside {limits.text} (they are {value_range(delay)}{changed})"
    if limits.granularity == "none":
        yield delay != limits.min, "synapses have a delay, and the chip has none"


def wrong_weights(projection: Projection, profile: ChipProfile) -> Iterator[Wrong]:
    limits, weight = profile.weights, projection.weight
    if projection.integer:
        low = -np.inf if limits.low is None else limits.low
        high = np.inf if limits.high is None else limits.high
        outside = (weight < low) | (weight > high)
        yield outside, f"weights are outside {low} … {high} (they are {value_range(weight)})"
    elif limits.bits is not None:
        yield None, f"{len(weight)} weights are float32, not integers of {limits.bits} bits"
    if limits.power_of_two and np.frexp(projection.weight_scale)[0] != 0.5:
        yield None, f"weight_scale is {projection.weight_scale:g}, not a power of two"


def wrong_axons(table: DelayTable, source: str, profile: ChipProfile) -> Iterator[Wrong]:
    """``source``: the input or a population."""
    if profile.delay.granularity == "axon":
        leaving = [(one.pre, one.delay) for one in table.projections if one.source == source]
        different = _distinct(table.size(source), leaving) > 1
        yield different, "axons have different delays; the chip has one delay per axon"


def wrong_partners(table: DelayTable, source: str, profile: ChipProfile) -> Iterator[Wrong]:
    """``source``: the input or a population."""
    sizes = [table.input_channels, *(one.size for one in table.populations)]
    # Every neuron's number among all, since partners may be in several populations.
    first = dict(zip((INPUT, *table.order), np.cumsum([0, *sizes]), strict=False))
    ends = [(one, first[one.source] + one.pre, first[one.target] + one.post)
            for one in table.projections]  # fmt: skip
    coming = [(one.post, pre) for one, pre, _ in ends if one.target == source]
    leaving = [(one.pre, post) for one, _, post in ends if one.source == source]
    weights = [(one.post, one.weight) for one in table.projections if one.target == source]
    for limit, pairs, what in (
        (profile.fan.fan_in, coming, "are reached by more than {} others"),
        (profile.fan.fan_out, leaving, "reach more than {} others"),
        (profile.weights.distinct_per_neuron, weights, "have more than {} different weights"),
    ):
        if limit is not None:
            found = _distinct(table.size(source), pairs)
            yield found > limit, f"neurons {what.format(limit)} (up to {found.max()})"


def _distinct(n: int, pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> NDArray[np.int64]:
    """How many different values each of n owners has, from columns of owner and value."""
    if not pairs:
        return np.zeros(n, np.int64)
    owner, value = (np.concatenate(columns) for columns in zip(*pairs, strict=True))
    codes = np.unique(value, return_inverse=True)[1].ravel().astype(np.int64)
    width = int(codes.max(initial=0)) + 1
    found = np.unique(owner.astype(np.int64) * width + codes)
    return np.bincount(found // width, minlength=n)
