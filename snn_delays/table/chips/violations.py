"""What of a table a chip cannot take, one line each; what was not checked, and not simulated."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from snn_delays.table.chips import neurons, synapses
from snn_delays.table.chips.profile import ChipProfile
from snn_delays.table.table import INPUT, DelayTable


def violations(
    table: DelayTable,
    profile: ChipProfile,
    largest_count: int | None = None,
    *,
    graded: bool = False,
) -> list[str]:
    """Everything a table holds that the chip's known limits forbid; empty if it fits.

    Static limits only: whether v leaves its width depends on the spikes and is for a simulation
    to find.

    Args:
        table: as it would be put on the chip: delays adapted, weights quantised.
        largest_count: most spikes that an input channel has in one step, where known.
        graded: the input is currents. No chip here takes those where spikes come in.
    """
    found = wrong_input(table.dt_ms, profile, largest_count, graded=graded)
    changes = synapses.latency_changes(table, profile)
    for one in table.projections:
        owner, change = f"projection {one.name}", changes[one.name]
        found += _lines(owner, synapses.wrong_delays(one, profile, change))
        found += _lines(owner, synapses.wrong_weights(one, profile))
    for name in (INPUT, *table.order):
        found += _lines(_named(name), synapses.wrong_axons(table, name, profile))
        found += _lines(_named(name), synapses.wrong_partners(table, name, profile))
    for one in table.populations:
        found += _lines(_named(one.name), neurons.wrong_neurons(one, profile))
        found += _lines(_named(one.name), neurons.wrong_membrane(one, profile.membrane))
    return found


def _named(source: str) -> str:
    return source if source == INPUT else f"population {source}"


def _lines(owner: str, wrong: Iterable[synapses.Wrong]) -> list[str]:
    """A line for each thing that is wrong, with how many of all where it says which."""
    found = []
    for which, what in wrong:
        if which is None:
            found.append(f"{owner}: {what}")
        elif np.any(which):
            found.append(f"{owner}: {np.count_nonzero(which)} of {which.size} {what}")
    return found


def wrong_input(
    dt_ms: float, profile: ChipProfile, largest_count: int | None = None, *, graded: bool = False
) -> list[str]:
    """What of a data set a chip cannot take; arguments as for ``violations``."""
    found = []
    if graded:
        found.append("input: currents, not spikes (train with an encoder that makes spikes)")
    tick = profile.neuron.dt_ms
    if tick is not None and dt_ms != tick:
        found.append(
            f"time: a step is {dt_ms:g} ms, the chip's is fixed to {tick:g} ms, so that it runs at "
            f"{dt_ms / tick:g} times the speed of real time (train with dataset.dt_ms={tick:g})"
        )
    several = largest_count is not None and largest_count > 1
    if several and profile.neuron.multiple_input_spikes is False:
        found.append(
            f"input: up to {largest_count} spikes per step and channel, not only one (train with "
            "dataset.max_count=1)"
        )
    return found


def wrong_neurons(table: DelayTable, profile: ChipProfile) -> list[str]:
    """The violations that no change of weights can mend: the network needs other neurons.

    Where there are any, axons with different delays are named too, which delays seldom mend.
    """
    found = []
    for one in table.populations:
        found += _lines(_named(one.name), neurons.wrong_neurons(one, profile))
    for name in (INPUT, *table.order) if found else ():
        found += _lines(_named(name), synapses.wrong_axons(table, name, profile))
    return found


def unknowns(profile: ChipProfile) -> list[str]:
    """The keys of the profile that ``violations`` cannot check: no public source states them."""
    return list(profile.unknown)


def not_simulated(table: DelayTable, profile: ChipProfile) -> list[str]:
    """What the chip does otherwise than the table's simulation."""
    found = []
    kinds = {"whole numbers" if one.integer else "floating point" for one in table.populations}
    ours = " and ".join(sorted(kinds))
    bits = "" if profile.membrane.bits is None else f" of {profile.membrane.bits} bits"
    chips = {"float": "floating point", "fixed": f"fixed point{bits}", "integer": "whole numbers"}
    theirs = chips.get(str(profile.membrane.arithmetic), "unknown")
    if ours != theirs:
        found.append(f"v: {ours} in the simulation, {theirs} on the chip")
    if transport := profile.delay.transport:
        found.append(f"latency: {transport} more per projection, whatever the delays")
        found += [
            f"latency: {name} closes a loop or a shortcut, so its delays change by {change:+d} on "
            "the chip"
            for name, change in synapses.latency_changes(table, profile).items()
            if change
        ]
    return found + list(profile.not_simulated)
