"""Neurons in whole numbers: from a table with integer weights to one of integers only.

Everything counts in unit = weight_scale / 2^weight_shift. With u = v − v_reset

    float     v ← v_reset + beta · u + bias + Σ weight · x               fires at v ≥ v_threshold
    integer   v ← v_reset + trunc(u · decay / 2^decay_shift) + bias + Σ (weight << weight_shift) · x

A bias is rounded to the unit and the leak's fraction is dropped; weights, and the threshold
(rounded up: v takes whole values only), lose nothing where the chip has no coarser grid for it.
This is the arithmetic of Loihi's membranes (12 bits of decay, 6 of shift): Davies et al.,
"Loihi" (2018, IEEE Micro 38).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.neuron_table import MAX_SHIFT, NEVER, IntegerNeuronTable, NeuronTable
from snn_delays.table.table import DelayTable, LayerTable

Leak = Literal["multiplier", "shift"]
LEAKS: tuple[str, ...] = ("multiplier", "shift")


def fixed_point(
    table: DelayTable,
    *,
    leak: Leak = "multiplier",
    decay_shift: int = 12,
    weight_shift: int = 6,
    threshold_shift: int = 0,
    threshold_offset: int = 0,
    bias_bits: int | None = None,
) -> DelayTable:
    """The table in integer arithmetic only.

    Args:
        leak: ``"multiplier"`` rounds beta to decay_shift bits; ``"shift"`` takes the nearest
            share that needs no multiplier: v >> s, or v − (v >> s) as far as rounding goes.
        decay_shift, weight_shift: bits of beta, and of v below one weight.
        threshold_shift, threshold_offset: thresholds are multiples of 2^threshold_shift plus the
            offset, which is 1 where a chip fires above its threshold and not at it.
        bias_bits: biases are signed numbers of so many bits, times a power of two; None: free.

    Raises:
        UsageError: float weights, an unknown leak, shifts out of range, a number beyond 32 bits.
    """
    if leak not in LEAKS:
        raise UsageError(f"leak must be one of {', '.join(LEAKS)}, got {leak!r}.")
    shifts = {
        "decay_shift": decay_shift,
        "weight_shift": weight_shift,
        "threshold_shift": threshold_shift,
    }
    for name, shift in shifts.items():
        if not isinstance(shift, int) or not 0 <= shift <= MAX_SHIFT:
            raise UsageError(f"{name} must be a whole number from 0 to {MAX_SHIFT}, got {shift!r}.")
    layers = []
    for index, layer in enumerate(table.layers):
        try:
            layers.append(_integer_layer(layer, leak, bias_bits, threshold_offset, **shifts))
        except UsageError as error:
            raise UsageError(f"layer {index}: {error}") from error
    return replace(table, layers=tuple(layers))


def _integer_layer(
    layer: LayerTable,
    leak: str,
    bias_bits: int | None,
    threshold_offset: int,
    decay_shift: int,
    weight_shift: int,
    threshold_shift: int,
) -> LayerTable:
    neuron = layer.neuron
    if not isinstance(neuron, NeuronTable):
        raise UsageError("its neurons are integer ones already.")
    if layer.synapses.weight.dtype == np.float32:
        raise UsageError("integer neurons need integer weights. Quantise them first (bits=8).")
    beta = neuron.beta.astype(np.float64)
    if leak == "shift":
        beta = _nearest(beta, np.array(_shift_shares(decay_shift)))
    unit = layer.weight_scale / 2**weight_shift
    threshold = np.full(layer.n_post, NEVER, np.int32)
    if neuron.spiking:
        grid = 2**threshold_shift
        threshold = np.ceil(neuron.v_threshold / unit) - threshold_offset
        threshold = np.rint(threshold / grid) * grid + threshold_offset
        lost = (threshold <= threshold_offset) & (neuron.v_threshold > 0)
        if np.any(lost):
            raise UsageError(
                f"{np.count_nonzero(lost)} of {lost.size} thresholds round to nothing: they are "
                f"multiples of 2^{threshold_shift} units, with weight_shift {weight_shift}. Use "
                "more bits for weights, a larger weight_shift, or a smaller threshold_shift."
            )
        threshold = _int32("v_threshold", threshold, weight_shift)
    return replace(
        layer,
        bias=_int32("bias", _with_exponent(layer.bias / unit, bias_bits), weight_shift),
        neuron=IntegerNeuronTable(
            model=f"Int{neuron.model}",
            reset=neuron.reset,
            decay=np.rint(beta * 2**decay_shift).astype(np.int32),
            v_threshold=threshold,
            v_reset=_int32("v_reset", np.rint(neuron.v_reset / unit), weight_shift),
            decay_shift=decay_shift,
            weight_shift=weight_shift,
        ),
    )


def _with_exponent(values: NDArray[np.floating], bits: int | None) -> NDArray[np.float64]:
    """The nearest whole numbers; with ``bits``, the nearest mantissa · 2^exponent."""
    values = values.astype(np.float64)
    if bits is None:
        return np.rint(values)
    most = 2 ** (bits - 1) - 1
    exponent = np.ceil(np.log2(np.maximum(np.abs(np.rint(values)) / most, 1)))
    return np.rint(values / 2**exponent) * 2**exponent


def _shift_shares(decay_shift: int) -> list[float]:
    """Shares of v that one shift, and at most one subtraction, leave: 2^−s and 1 − 2^−s."""
    powers = [2.0**-s for s in range(decay_shift + 1)]
    return sorted({0.0, *powers, *(1 - power for power in powers)})


def _nearest(values: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.float64]:
    return grid[np.abs(values[:, None] - grid).argmin(axis=1)]


def _int32(name: str, values: NDArray[np.floating], weight_shift: int) -> NDArray[np.int32]:
    if values.size and np.abs(values).max() >= NEVER:
        raise UsageError(
            f"{name} takes {np.abs(values).max():.3g} units, more than 32 bits hold. "
            f"Use a smaller weight_shift (now {weight_shift}) or fewer bits."
        )
    return values.astype(np.int32)
