"""What of a population's neurons a chip cannot take, one line each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from snn_delays.table.chips.limits import MembraneLimits
from snn_delays.table.chips.profile import ChipProfile
from snn_delays.table.models.model import THRESHOLD
from snn_delays.table.population import Population
from snn_delays.table.require import of_all


def wrong_neurons(population: Population, profile: ChipProfile) -> Iterator[str]:
    limits, model = profile.neuron, population.model
    if model.family not in limits.models:
        yield f"{population.size} {model.name} neurons; the chip has {', '.join(limits.models)}"
    reset = population.scalars.get("reset")
    if reset is not None and reset not in limits.resets:
        yield f"reset is {reset}; the chip's is {' or '.join(limits.resets)}"
    rest = model.state["v"]
    if limits.reset_to_zero and rest is not None:
        away = population.parameters[rest] != 0
        if np.any(away):
            yield (
                f"{of_all(away)} neurons are reset to another v than 0 (subtract {rest} from it "
                "and from thresholds: the same neuron)"
            )
    if limits.leak == "linear":
        _, values = population.float_values(1.0)
        for parameter in model.parameters:
            share = values[parameter.name]
            if parameter.quantity.rounding == "share" and np.any(share != 1):
                yield (
                    f"{of_all(share != 1)} neurons have {parameter.name} {_range(share)} "
                    f"({parameter.text}); the chip takes a constant away"
                )


def wrong_membrane(population: Population, limits: MembraneLimits) -> Iterator[str]:
    if limits.arithmetic == "float" and population.integer:
        yield f"{population.size} neurons compute in integers, the chip in floating point"
    if limits.arithmetic != "integer":
        return
    if not population.integer:
        yield f"{population.size} neurons compute in floating point, the chip in integers"
        return
    for name in ("beta_shift", "weight_shift"):
        wanted, got = getattr(limits, name), population.scalars[name]
        if wanted is not None and got != wanted:
            yield f"{name} is {got}, the chip's is {wanted}"
    potentials = {"bias": population.bias} | {
        one.name: population.parameters[one.name]
        for one in population.model.parameters
        if one.quantity.unit == "v"
    }
    if limits.bits is not None:
        fits = [_fits(values, limits.bits) for values in potentials.values()]
        if wide := sum(int(np.count_nonzero(~one)) for one in fits):
            yield f"{wide} of {', '.join(potentials)} do not fit the {limits.bits} bits of v"
    if limits.bias_bits is not None and limits.bias_exponent_max is not None:
        bias = population.bias.astype(np.int64)
        exact = [
            _fits(bias >> e, limits.bias_bits) & (bias % (1 << e) == 0)
            for e in range(limits.bias_exponent_max + 1)
        ]
        odd = ~np.any(exact, axis=0)
        if np.any(odd):
            yield (
                f"{of_all(odd)} biases are no signed {limits.bias_bits}-bit number times a power "
                f"of two up to 2^{limits.bias_exponent_max}"
            )
    if limits.threshold_bits is not None and limits.threshold_shift is not None:
        for parameter in population.model.parameters:
            if parameter.quantity == THRESHOLD:
                values = population.parameters[parameter.name]
                yield from _thresholds(values, limits.threshold_bits, limits)


def _thresholds(threshold: NDArray[np.int32], bits: int, limits: MembraneLimits) -> Iterator[str]:
    unit = 1 << (limits.threshold_shift or 0)
    # Above k · unit is at k · unit + 1: whole numbers.
    above = threshold.astype(np.int64) - int(bool(limits.threshold_strict))
    outside = (above < 0) | (above // unit >= 1 << bits)
    if np.any(outside):
        yield (
            f"{of_all(outside)} thresholds are outside 0 … {((1 << bits) - 1) * unit} "
            f"(up to {threshold.max()})"
        )
    if np.any(above % unit != 0):
        offset = " + 1 (the chip fires above its own)" if limits.threshold_strict else ""
        yield f"{of_all(above % unit != 0)} thresholds are no multiple of {unit}{offset}"


def _range(values: NDArray[np.floating]) -> str:
    """``0.1 … 0.9``, or the one value that all have."""
    return " … ".join(dict.fromkeys(f"{end:g}" for end in (values.min(), values.max())))


def _fits(values: NDArray[np.generic], bits: int) -> NDArray[np.bool_]:
    """Whether a signed number of so many bits holds them."""
    half = 1 << (bits - 1)
    wide = values.astype(np.int64)
    return (wide >= -half) & (wide < half)
