"""Neurons in whole numbers: from a table with integer weights to one of integers only.

Everything counts in unit = weight_scale / 2^weight_shift, shares in 1 / 2^beta_shift. Of a LIF
neuron with u = v − v_reset

    float     v ← v_reset + beta · u + bias + Σ weight · x               fires at v ≥ v_threshold
    integer   v ← v_reset + trunc(u · beta / 2^beta_shift) + bias + Σ (weight << weight_shift) · x

A bias is rounded to the unit and the leak's fraction is dropped; weights, and the threshold
(rounded up: v takes whole values only), lose nothing where the chip has no coarser grid for it.
This is the arithmetic of Loihi's membranes (12 bits of beta, 6 of shift): Davies et al.,
"Loihi" (2018, IEEE Micro 38).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.arguments import choice
from snn_delays.errors import UsageError
from snn_delays.table.models import model_named, whole_form
from snn_delays.table.models.model import MAX_SHIFT
from snn_delays.table.population import Population
from snn_delays.table.table import DelayTable

Leak = Literal["multiplier", "shift"]
LEAKS: tuple[str, ...] = ("multiplier", "shift")
Floats = NDArray[np.floating]


def fixed_point(
    table: DelayTable,
    *,
    leak: Leak = "multiplier",
    beta_shift: int = 12,
    weight_shift: int = 6,
    threshold_shift: int = 0,
    threshold_offset: int = 0,
    bias_bits: int | None = None,
) -> DelayTable:
    """The table in integer arithmetic only.

    Args:
        leak: ``"multiplier"`` rounds beta to beta_shift bits; ``"shift"`` takes the nearest
            share that needs no multiplier: v >> s, or v − (v >> s) as far as rounding goes.
        beta_shift, weight_shift: bits of beta, and of v below one weight.
        threshold_shift, threshold_offset: thresholds are multiples of 2^threshold_shift plus the
            offset, which is 1 where a chip fires above its threshold and not at it.
        bias_bits: biases are signed numbers of so many bits, times a power of two; None: free.

    Raises:
        UsageError: float weights, neurons that have no form in whole numbers, an unknown leak,
            shifts out of range, a number beyond 32 bits.
    """
    choice("leak", leak, LEAKS)
    shifts = {"beta_shift": beta_shift, "weight_shift": weight_shift}
    for name, shift in (shifts | {"threshold_shift": threshold_shift}).items():
        if not isinstance(shift, int) or not 0 <= shift <= MAX_SHIFT:
            raise UsageError(f"{name} must be a whole number from 0 to {MAX_SHIFT}, got {shift!r}.")

    def share(beta: Floats, unit: float) -> Floats:
        beta = beta.astype(np.float64)
        if leak == "shift":
            # What one shift, and at most one subtraction, leave of v: 2^−s and 1 − 2^−s. Of what
            # is no share but a factor, 2^s and the negative ones, too.
            powers = 0.5 ** np.arange(beta_shift + 1)
            grid = np.unique([0.0, *powers, *(1 - powers), *(1 / powers)])
            grid = np.concatenate([-grid[:0:-1], grid])
            beta = grid[np.abs(beta[:, None] - grid).argmin(axis=1)]
        return np.rint(beta * 2**beta_shift)

    def up(values: Floats, unit: float) -> Floats:
        grid = 2**threshold_shift
        # In single precision, whose rounding hides the last digit that quantising left over.
        found = np.ceil(values / unit) - threshold_offset
        found = np.rint(found / grid) * grid + threshold_offset
        lost = (found <= threshold_offset) & (values > 0)
        if np.any(lost):
            raise UsageError(
                f"{np.count_nonzero(lost)} of {lost.size} thresholds round to nothing: they are "
                f"multiples of 2^{threshold_shift} units, with weight_shift {weight_shift}. Use "
                "more bits for weights, a larger weight_shift, or a smaller threshold_shift."
            )
        return found

    def nearest(values: Floats, unit: float) -> Floats:
        return np.rint(values / unit)

    rounded = {"share": share, "up": up, "nearest": nearest}

    def whole(population: Population) -> Population:
        if population.integer:
            raise UsageError("its neurons are integer ones already.")
        leading = table.into(population.name)
        if any(not one.integer for one in leading):
            raise UsageError("integer neurons need integer weights. Quantise them first (bits=8).")
        model = model_named(whole_form(population.model).name)
        unit = (leading[0].weight_scale if leading else 1.0) / 2**weight_shift
        found = {
            one.name: rounded[one.quantity.rounding](population.parameters[one.name], unit)
            for one in model.parameters
        }
        found["bias"] = _with_exponent(population.bias / unit, bias_bits)
        numbers = {name: _int32(name, values, weight_shift) for name, values in found.items()}
        scalars = {**population.scalars, **shifts}
        return Population(population.name, model, numbers.pop("bias"), numbers, scalars)

    return table.map(population=whole)


def _with_exponent(values: Floats, bits: int | None) -> Floats:
    """The nearest whole numbers; with ``bits``, the nearest mantissa · 2^exponent."""
    values = values.astype(np.float64)
    if bits is None:
        return np.rint(values)
    most = 2 ** (bits - 1) - 1
    exponent = np.ceil(np.log2(np.maximum(np.abs(np.rint(values)) / most, 1)))
    return np.rint(values / 2**exponent) * 2**exponent


def _int32(name: str, values: Floats, weight_shift: int) -> NDArray[np.int32]:
    if values.size and not np.abs(values).max() < np.iinfo(np.int32).max:  # nan is not
        raise UsageError(
            f"{name} takes {np.abs(values).max():.3g} units, more than 32 bits hold. "
            f"Use a smaller weight_shift (now {weight_shift}) or fewer bits."
        )
    return values.astype(np.int32)
