"""What of a population's neurons a chip cannot take, one line each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from snn_delays.table.chips.limits import MembraneLimits
from snn_delays.table.chips.profile import ChipProfile
from snn_delays.table.chips.synapses import Wrong
from snn_delays.table.models.model import SHARE, THRESHOLD
from snn_delays.table.population import Population


def wrong_neurons(population: Population, profile: ChipProfile) -> Iterator[Wrong]:
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
                what = f"neurons have {one.name} {_range(share)} ({one.text})"
                yield share != 1, f"{what}; the chip takes a constant away"


def wrong_membrane(population: Population, limits: MembraneLimits) -> Iterator[Wrong]:
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


def _range(values: NDArray[np.floating]) -> str:
    """``0.1 … 0.9``, or the one value that all have."""
    return " … ".join(dict.fromkeys(f"{end:g}" for end in (values.min(), values.max())))


def _fits(values: NDArray[np.generic], bits: int) -> NDArray[np.bool_]:
    """Whether a signed number of so many bits holds them."""
    half = 1 << (bits - 1)
    wide = values.astype(np.int64)
    return (wide >= -half) & (wide < half)
