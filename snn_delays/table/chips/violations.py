"""What of a table a chip cannot take, one line each; what was not checked, and not simulated."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from snn_delays.table.chips.limits import MembraneLimits
from snn_delays.table.chips.profile import ChipProfile
from snn_delays.table.neuron_table import IntegerNeuronTable
from snn_delays.table.table import DelayTable, LayerTable


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
    for layer in table.layers:
        lines = [
            *_delays(layer, profile),
            *_weights(layer, profile),
            *_fans(layer, profile),
            *_neurons(layer, profile),
            *_membrane(layer, profile.membrane),
        ]
        found += [f"layer {layer.target}: {line}" for line in lines]
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
    layers = table.layers
    found = [f"layer {one.target}: {line}" for one in layers for line in _neurons(one, profile)]
    if found:
        found += [f"layer {one.target}: {line}" for one in layers for line in _axons(one, profile)]
    return found


def unknowns(profile: ChipProfile) -> list[str]:
    """The keys of the profile that ``violations`` cannot check: no public source states them."""
    return list(profile.unknown)


def not_simulated(table: DelayTable, profile: ChipProfile) -> list[str]:
    """What the chip does otherwise than the table's simulation."""
    found = []
    own = profile.membrane.arithmetic
    ours = "whole numbers" if table.layers[-1].integer else "floating point"
    bits = "" if profile.membrane.bits is None else f" of {profile.membrane.bits} bits"
    fixed = f"fixed point{bits}"
    kinds = {"float": "floating point", "fixed": fixed, "integer": "whole numbers"}
    chips = kinds.get(str(own), "unknown")
    if ours != chips:
        found.append(f"v: {ours} in the simulation, {chips} on the chip")
    if profile.delay.transport:
        found.append(f"latency: {profile.delay.transport} more per layer, whatever the delays")
    return found + list(profile.not_simulated)


def _delays(layer: LayerTable, profile: ChipProfile) -> Iterator[str]:
    limits, delay = profile.delay, layer.synapses.delay
    outside = delay < limits.min
    if limits.max is not None:
        outside = outside | (delay > limits.max)
    if np.any(outside):
        yield (
            f"{_of(outside)} delays are outside {limits.text} (they are {delay.min()} … "
            f"{delay.max()})"
        )
    yield from _axons(layer, profile)
    if limits.granularity == "none" and np.any(delay != limits.min):
        yield f"{_of(delay != limits.min)} synapses have a delay, and the chip has none"


def _axons(layer: LayerTable, profile: ChipProfile) -> Iterator[str]:
    different = _distinct(layer.synapses.pre, layer.synapses.delay, layer.n_pre) > 1
    if profile.delay.granularity == "axon" and np.any(different):
        yield f"{_of(different)} axons have different delays; the chip has one delay per axon"


def _weights(layer: LayerTable, profile: ChipProfile) -> Iterator[str]:
    limits, weight = profile.weights, layer.synapses.weight
    if limits.bits is not None and weight.dtype == np.float32:
        yield f"{len(weight)} weights are float32, not integers of {limits.bits} bits"
    elif weight.dtype != np.float32:
        values = weight.astype(np.float64)
        low = -np.inf if limits.low is None else limits.low
        high = np.inf if limits.high is None else limits.high
        outside = (values < low) | (values > high)
        if np.any(outside):
            yield (
                f"{_of(outside)} weights are outside {low} … {high} (they are {weight.min()} … "
                f"{weight.max()})"
            )
    if limits.power_of_two and np.frexp(layer.weight_scale)[0] != 0.5:
        yield f"weight_scale is {layer.weight_scale:g}, not a power of two"
    if limits.distinct_per_neuron is not None:
        distinct = _distinct(layer.synapses.post, weight, layer.n_post)
        many = distinct > limits.distinct_per_neuron
        if np.any(many):
            yield (
                f"{_of(many)} neurons have more than {limits.distinct_per_neuron} different "
                f"weights (up to {distinct.max()})"
            )


def _fans(layer: LayerTable, profile: ChipProfile) -> Iterator[str]:
    rows, fan = layer.synapses, profile.fan
    for limit, one, n_one, other, what in (
        (fan.fan_in, rows.post, layer.n_post, rows.pre, "are reached by"),
        (fan.fan_out, rows.pre, layer.n_pre, rows.post, "reach"),
    ):
        partners = _distinct(one, other, n_one)
        if limit is not None and np.any(partners > limit):
            yield (
                f"{_of(partners > limit)} neurons {what} more than {limit} others "
                f"(up to {partners.max()})"
            )


def _neurons(layer: LayerTable, profile: ChipProfile) -> Iterator[str]:
    limits, neuron = profile.neuron, layer.neuron
    model = neuron.model.removeprefix("Int")
    if model not in limits.models:
        yield f"{layer.n_post} {neuron.model} neurons; the chip has {', '.join(limits.models)}"
    if neuron.reset != "none" and neuron.reset not in limits.resets:
        yield f"reset is {neuron.reset}; the chip's is {' or '.join(limits.resets)}"
    if limits.reset_to_zero and np.any(neuron.v_reset != 0):
        yield (
            f"{_of(neuron.v_reset != 0)} neurons are reset to another v than 0 (subtract v_reset "
            "from it and from v_threshold: the same neuron)"
        )
    if limits.leak == "linear" and np.any(neuron.beta != 1):
        yield (
            f"{_of(neuron.beta != 1)} neurons keep a share of v per step (beta "
            f"{_range(neuron.beta)}); the chip takes a constant away"
        )


def _membrane(layer: LayerTable, limits: MembraneLimits) -> Iterator[str]:
    neuron = layer.neuron
    if limits.arithmetic == "float" and layer.integer:
        yield f"{layer.n_post} neurons compute in integers, the chip in floating point"
    if limits.arithmetic != "integer":
        return
    if not isinstance(neuron, IntegerNeuronTable):
        yield f"{layer.n_post} neurons compute in floating point, the chip in integers"
        return
    for name in ("decay_shift", "weight_shift"):
        wanted, got = getattr(limits, name), getattr(neuron, name)
        if wanted is not None and got != wanted:
            yield f"{name} is {got}, the chip's is {wanted}"
    if limits.bits is not None:
        values = [layer.bias, neuron.v_reset] + [neuron.v_threshold] * neuron.spiking
        wide = sum(int(np.count_nonzero(~_fits(value, limits.bits))) for value in values)
        if wide:
            yield f"{wide} of bias, v_reset and v_threshold do not fit the {limits.bits} bits of v"
    if limits.bias_bits is not None and limits.bias_exponent_max is not None:
        bias = layer.bias.astype(np.int64)
        exact = [
            _fits(bias >> e, limits.bias_bits) & (bias % (1 << e) == 0)
            for e in range(limits.bias_exponent_max + 1)
        ]
        odd = ~np.any(exact, axis=0)
        if np.any(odd):
            yield (
                f"{_of(odd)} biases are no signed {limits.bias_bits}-bit number times a power of "
                f"two up to 2^{limits.bias_exponent_max}"
            )
    if neuron.spiking and limits.threshold_bits is not None and limits.threshold_shift is not None:
        yield from _thresholds(neuron.v_threshold, limits.threshold_bits, limits)


def _thresholds(threshold: NDArray[np.int32], bits: int, limits: MembraneLimits) -> Iterator[str]:
    unit = 1 << (limits.threshold_shift or 0)
    # Above k · unit is at k · unit + 1: whole numbers.
    above = threshold.astype(np.int64) - int(bool(limits.threshold_strict))
    outside = (above < 0) | (above // unit >= 1 << bits)
    if np.any(outside):
        yield (
            f"{_of(outside)} thresholds are outside 0 … {((1 << bits) - 1) * unit} "
            f"(up to {threshold.max()})"
        )
    if np.any(above % unit != 0):
        offset = " + 1 (the chip fires above its own)" if limits.threshold_strict else ""
        yield f"{_of(above % unit != 0)} thresholds are no multiple of {unit}{offset}"


def _distinct(owner: NDArray[np.int32], value: NDArray[np.generic], n: int) -> NDArray[np.int64]:
    """How many different values each owner ``[n]`` has."""
    codes = np.unique(value, return_inverse=True)[1].ravel().astype(np.int64)
    width = int(codes.max(initial=0)) + 1
    pairs = np.unique(owner.astype(np.int64) * width + codes)
    return np.bincount(pairs // width, minlength=n)


def _range(values: NDArray[np.floating]) -> str:
    """``0.1 … 0.9``, or the one value that all have."""
    return " … ".join(dict.fromkeys(f"{end:g}" for end in (values.min(), values.max())))


def _fits(values: NDArray[np.generic], bits: int) -> NDArray[np.bool_]:
    """Whether a signed number of so many bits holds them."""
    half = 1 << (bits - 1)
    wide = values.astype(np.int64)
    return (wide >= -half) & (wide < half)


def _of(chosen: NDArray[np.bool_]) -> str:
    return f"{np.count_nonzero(chosen)} of {chosen.size}"
