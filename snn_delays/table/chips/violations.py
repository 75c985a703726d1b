"""What of a table a chip cannot take, one line each; what was not checked, and not simulated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.arguments import require
from snn_delays.table.chips.profile import ChipProfile, MembraneLimits
from snn_delays.table.models.model import SHARE, THRESHOLD
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection
from snn_delays.table.require import value_range
from snn_delays.table.table import INPUT, DelayTable

# What is wrong: which of all, for a line that begins "3 of 10 "; or a line as it is.
Wrong = tuple[NDArray[np.bool_] | None, str]


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
    require(isinstance(profile, ChipProfile), "profile", "be a chip, as of load_chip", profile)
    found = wrong_input(table.dt_ms, profile, largest_count, graded=graded)
    for name, change in _latency_changes(table, profile).items():
        (one,) = (one for one in table.projections if one.name == name)
        found += _lines(f"projection {name}", _wrong_synapses(one, profile, change))
    for name in (INPUT, *table.order):
        found += _lines(_named(name), _wrong_axons(table, name, profile))
        found += _lines(_named(name), _wrong_partners(table, name, profile))
    for one in table.populations:
        found += _lines(_named(one.name), _wrong_models(one, profile))
        found += _lines(_named(one.name), _wrong_membrane(one, profile.membrane))
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
    if (largest_count or 0) > 1 and profile.neuron.multiple_input_spikes is False:
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
        found += _lines(_named(one.name), _wrong_models(one, profile))
    for name in (INPUT, *table.order) if found else ():
        found += _lines(_named(name), _wrong_axons(table, name, profile))
    return found


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
            for name, change in _latency_changes(table, profile).items()
            if change
        ]
    return found + list(profile.not_simulated)


def _named(source: str) -> str:
    return source if source == INPUT else f"population {source}"


def _lines(owner: str, wrong: Iterable[Wrong]) -> list[str]:
    """A line for each thing that is wrong, with how many of all where it says which."""
    return [
        f"{owner}: {what}"
        if which is None
        else f"{owner}: {np.count_nonzero(which)} of {which.size} {what}"
        for which, what in wrong
        if which is None or np.any(which)
    ]


def _latency_changes(table: DelayTable, profile: ChipProfile) -> dict[str, int]:
    """By how much delays must change for a chip whose every connection takes ``transport`` steps.

    Along a chain that makes everything later and nothing else. Where paths of unequal length
    meet, and in loops, it would shift spikes against others.
    """
    transport, every = profile.delay.transport or 0, table.projections
    late, _ = table.lags({one.name: transport for one in every if not table.leads_back(one)})
    return {one.name: late[one.target] - late[one.source] - transport for one in every}


def _wrong_synapses(projection: Projection, profile: ChipProfile, change: int) -> Iterator[Wrong]:
    delay, limits = projection.delay.astype(np.int64) + change, profile.delay
    most = np.inf if limits.max is None else limits.max
    changed = f", {change:+d} for latency" if change else ""
    where = f"delays are outside {limits.text} (they are {value_range(delay)}{changed})"
    yield (delay < limits.min) | (delay > most), where
    if limits.granularity == "none":
        yield delay != limits.min, "synapses have a delay, and the chip has none"
    weight, limits = projection.weight, profile.weights
    if projection.integer:
        low = -np.inf if limits.low is None else limits.low
        high = np.inf if limits.high is None else limits.high
        where = f"weights are outside {low} … {high} (they are {value_range(weight)})"
        yield (weight < low) | (weight > high), where
    elif limits.bits is not None:
        yield None, f"{len(weight)} weights are float32, not integers of {limits.bits} bits"
    if limits.power_of_two and np.frexp(projection.weight_scale)[0] != 0.5:
        yield None, f"weight_scale is {projection.weight_scale:g}, not a power of two"


def _wrong_axons(table: DelayTable, source: str, profile: ChipProfile) -> Iterator[Wrong]:
    if profile.delay.granularity == "axon":
        leaving = [(one.pre, one.delay) for one in table.projections if one.source == source]
        different = _distinct(table.size(source), leaving) > 1
        yield different, "axons have different delays; the chip has one delay per axon"


def _wrong_partners(table: DelayTable, source: str, profile: ChipProfile) -> Iterator[Wrong]:
    names = (INPUT, *table.order)
    # Every neuron's number among all, since partners may be in several populations.
    first = dict(zip(names, np.cumsum([0, *map(table.size, names)]), strict=False))
    coming = table.into(source)
    leaving = [one for one in table.projections if one.source == source]
    for limit, pairs, what in (
        (
            profile.fan.fan_in,
            [(one.post, first[one.source] + one.pre) for one in coming],
            "are reached by more than {} others",
        ),
        (
            profile.fan.fan_out,
            [(one.pre, first[one.target] + one.post) for one in leaving],
            "reach more than {} others",
        ),
        (
            profile.weights.distinct_per_neuron,
            [(one.post, one.weight) for one in coming],
            "have more than {} different weights",
        ),
    ):
        if limit is not None:
            found = _distinct(table.size(source), pairs)
            yield found > limit, f"neurons {what.format(limit)} (up to {found.max()})"


def _distinct(n: int, pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> NDArray[np.int64]:
    """How many different values each of n owners has, from columns of owner and value."""
    if not pairs:
        return np.zeros(n, np.int64)
    owner, value = (np.concatenate(columns) for columns in zip(*pairs, strict=True))
    codes = np.unique(value, return_inverse=True)[1].ravel()
    return np.bincount(np.unique(np.stack([owner, codes]), axis=1)[0].astype(int), minlength=n)


def _wrong_models(population: Population, profile: ChipProfile) -> Iterator[Wrong]:
    limits, model = profile.neuron, population.model
    if model.family not in limits.models:
        known = ", ".join(limits.models)
        yield None, f"{population.size} {model.name} neurons; the chip has {known}"
    reset = population.scalars.get("reset")
    if reset is not None and reset not in limits.resets:
        yield None, f"reset is {reset}; the chip's is {' or '.join(limits.resets)}"
    rest = model.state["v"]
    if limits.reset_to_zero and rest is not None:
        why = f"(subtract {rest} from it and from thresholds: the same neuron)"
        away = population.parameters[rest] != 0
        yield away, f"neurons are reset to another v than 0 {why}"
    if limits.leak == "linear":
        _, values = population.float_values(1.0)
        for one in model.parameters:
            if one.quantity == SHARE:
                share = values[one.name]
                ends = dict.fromkeys(f"{end:g}" for end in (share.min(), share.max()))
                what = f"neurons have {one.name} {' … '.join(ends)} ({one.text})"
                yield share != 1, f"{what}; the chip takes a constant away"


def _wrong_membrane(population: Population, limits: MembraneLimits) -> Iterator[Wrong]:
    if limits.arithmetic == "float" and population.integer:
        yield None, f"{population.size} neurons compute in integers, the chip in floating point"
    if limits.arithmetic != "integer":
        return
    if not population.integer:
        yield None, f"{population.size} neurons compute in floating point, the chip in integers"
        return
    for name in ("beta_shift", "weight_shift"):
        wanted, got = getattr(limits, name), population.scalars[name]
        if wanted is not None and got != wanted:
            yield None, f"{name} is {got}, the chip's is {wanted}"
    values = {one: population.parameters[one.name] for one in population.model.parameters}
    if limits.bits is not None:
        potentials = {one.name: x for one, x in values.items() if one.quantity.unit == "v"}
        potentials = {"bias": population.bias, **potentials}
        wide = ~_fits(np.concatenate([*potentials.values()]), limits.bits)
        yield wide, f"values of {', '.join(potentials)} do not fit the {limits.bits} bits of v"
    if limits.bias_bits is not None and limits.bias_exponent_max is not None:
        bias = population.bias.astype(np.int64)
        exact = [
            _fits(bias >> e, limits.bias_bits) & (bias % (1 << e) == 0)
            for e in range(limits.bias_exponent_max + 1)
        ]
        product = f"signed {limits.bias_bits}-bit number times a power of two"
        yield ~np.any(exact, axis=0), f"biases are no {product} up to 2^{limits.bias_exponent_max}"
    if limits.threshold_bits is not None and limits.threshold_shift is not None:
        unit, most = 1 << limits.threshold_shift, 1 << limits.threshold_bits
        for threshold in (x for one, x in values.items() if one.quantity == THRESHOLD):
            # Above k · unit is at k · unit + 1: whole numbers.
            above = threshold.astype(np.int64) - int(bool(limits.threshold_strict))
            outside = (above < 0) | (above // unit >= most)
            top = f"(up to {threshold.max()})"
            yield outside, f"thresholds are outside 0 … {(most - 1) * unit} {top}"
            offset = " + 1 (the chip fires above its own)" if limits.threshold_strict else ""
            yield above % unit != 0, f"thresholds are no multiple of {unit}{offset}"


def _fits(values: NDArray[np.generic], bits: int) -> NDArray[np.bool_]:
    """Whether a signed number of so many bits holds them."""
    half = 1 << (bits - 1)
    wide = values.astype(np.int64)
    return (wide >= -half) & (wide < half)
