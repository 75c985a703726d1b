"""Weights as small integers: from one delay table to another, after training.

    weight ≈ scale · n,    n = clamp(round(weight / scale), −L, L),    L = 2^(bits − 1) − 1

The scale, one per layer or one per neuron, makes the least squared error of the input currents
that calibration samples cause, as far as their sources fire independently: an error ε of a
synapse counts ε² · var(x[pre]). Its mean ε · mean(x[pre]) goes into the bias.

Per neuron, the scale needs no place in the file: a spiking neuron acts the same when weights,
bias, threshold and reset are all divided by one number, so thresholds take it up. The readout's
potentials are compared with one another and always share one scale.

Reference:
    Nagel et al., "A white paper on neural network quantization" (2021, arXiv:2106.08295), for
    the search of the range and the correction of the bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.neuron_table import NeuronTable
from snn_delays.table.simulator import Simulator
from snn_delays.table.table import DelayTable, LayerTable

Float64 = NDArray[np.float64]
Scale = Literal["layer", "neuron"]
SCALES: tuple[str, ...] = ("layer", "neuron")
BITS = range(2, 17)  # 2 bits are ternary: −1, 0, 1
_SELDOM = 1e-3  # least variance of a source, as a share of the layer's mean
_CANDIDATES = 96  # ranges tried, equally spaced up to the largest weight


class Activity(NamedTuple):
    """What the sources of one layer send per step, over calibration samples.

    Shape:
        mean, variance: float64 ``[n_pre]``.
    """

    mean: Float64
    variance: Float64


def activity(table: DelayTable, samples: Sequence[NDArray[np.generic]]) -> tuple[Activity, ...]:
    """Mean and variance of what each layer is sent, tail included.

    Args:
        samples: some recordings ``[T, input_channels]`` that are neither validated nor tested on.

    Raises:
        UsageError: no samples, or samples of another width.
    """
    if not len(samples):
        raise UsageError("calibration needs at least 1 sample, got 0.")
    simulator, steps = Simulator(table), 0
    sums = [np.zeros((2, layer.n_pre)) for layer in table.layers]
    for counts in samples:
        sent = [counts, *simulator.run(counts).spikes]
        steps += len(counts) + table.tail_steps
        for total, x in zip(sums, sent, strict=True):
            total += np.stack([x.sum(0), (x.astype(np.float64) ** 2).sum(0)])
    means = [total / max(steps, 1) for total in sums]
    return tuple(Activity(mean, square - mean**2) for mean, square in means)


def quantised(
    table: DelayTable,
    bits: int,
    *,
    scale: Scale = "layer",
    calibration: Sequence[Activity] | None = None,
    scales: Sequence[Float64] | None = None,
    power_of_two: bool = False,
) -> DelayTable:
    """The table with weights of ``bits`` bits; what becomes zero is left out.

    Args:
        bits: 2 (ternary) … 16, sign included; symmetric, the most negative number is not used.
        scale: ``"layer"`` or ``"neuron"``; see above.
        calibration: ``activity(table, samples)``. Without it all sources count alike and biases
            stay.
        scales: per layer, scales ``[1]`` or ``[n_post]`` to use instead of searching: those that
            the network was trained with. Biases then stay as well, and no weight is cut off: the
            sum of contacts that share a step becomes as many synapses as it takes.
        power_of_two: take scales that are powers of two only.

    Raises:
        UsageError: a table that has integer weights already, bits or scale out of range.
    """
    require_bits(bits)
    if scale not in SCALES:
        raise UsageError(f"scale must be one of {', '.join(SCALES)}, got {scale!r}.")
    if any(layer.synapses.weight.dtype != np.float32 for layer in table.layers):
        raise UsageError("the table's weights are integers already. Export again from the run.")
    levels = 2 ** (bits - 1) - 1
    layers = []
    for index, layer in enumerate(table.layers):
        sent = None if calibration is None or scales is not None else calibration[index]
        if scales is not None:
            step = scales[index]
        else:
            by_neuron = scale == "neuron" and layer.neuron.spiking
            step = _best_scale(layer, levels, sent, by_neuron, power_of_two)
        layers.append(_quantised_layer(layer, levels, step, sent, cut=scales is None))
    return replace(table, layers=tuple(layers))


def require_bits(bits: object) -> None:
    """Raise a UsageError unless ``bits`` is a width that weights can have."""
    if type(bits) is not int or bits not in BITS:
        raise UsageError(f"bits must be a whole number from 2 (ternary) to 16, got {bits!r}.")


def _quantised_layer(
    layer: LayerTable, levels: int, step: Float64, sent: Activity | None, *, cut: bool
) -> LayerTable:
    """The layer with weights step · n; ``step`` is ``[1]`` or ``[n_post]``.

    What is beyond the levels is cut off, or spread over several synapses.
    """
    rows, neuron = layer.synapses, layer.neuron
    assert isinstance(neuron, NeuronTable)
    step = np.broadcast_to(step, (layer.n_post,))
    weight = rows.weight.astype(np.float64)
    number = np.rint(weight / step[rows.post])
    if cut:
        number = np.clip(number, -levels, levels)
    bias = layer.bias.astype(np.float64)
    if sent is not None:
        lost = (weight - number * step[rows.post]) * sent.mean[rows.pre]
        bias += np.bincount(rows.post, lost, minlength=layer.n_post)
    weight_scale = float(np.median(step))
    unit = weight_scale / step
    # 0 rows for a weight of 0, one within the levels, ⌈|n| / L⌉ beyond: L, L, …, the rest.
    copies = np.ceil(np.abs(number) / levels).astype(np.int64)
    row = np.repeat(np.arange(len(rows)), copies)
    nth = np.arange(len(row)) - np.repeat(copies.cumsum() - copies, copies)
    part = np.minimum(np.abs(number[row]) - levels * nth, levels) * np.sign(number[row])
    kind = np.int8 if levels <= np.iinfo(np.int8).max else np.int16
    return replace(
        layer,
        synapses=replace(
            rows,
            pre=rows.pre[row],
            post=rows.post[row],
            delay=rows.delay[row],
            weight=part.astype(kind),
        ),
        bias=(bias * unit).astype(np.float32),
        neuron=replace(
            neuron,
            v_threshold=(neuron.v_threshold * unit).astype(np.float32),
            v_reset=(neuron.v_reset * unit).astype(np.float32),
        ),
        weight_scale=weight_scale,
    )


def _best_scale(
    layer: LayerTable, levels: int, sent: Activity | None, by_neuron: bool, power_of_two: bool
) -> Float64:
    """The scale of least error, ``[n_post]`` or ``[1]``."""
    rows = layer.synapses
    importance = np.ones(len(rows))
    if sent is not None:
        # A source that was silent in these recordings may still fire in others.
        importance = (sent.variance + _SELDOM * sent.variance.mean())[rows.pre]
    group = rows.post if by_neuron else np.zeros_like(rows.post)
    groups = layer.n_post if by_neuron else 1
    return _search(rows.weight.astype(np.float64), importance, group, groups, levels, power_of_two)


def least_error_scale(weight: Float64, levels: int) -> Float64:
    """Per row of ``weight [rows, n]``, the scale of least squared error ``[rows]``."""
    group = np.repeat(np.arange(len(weight)), weight.shape[1])
    flat = weight.ravel()
    return _search(flat, np.ones_like(flat), group, len(weight), levels, power_of_two=False)


def _search(
    weight: Float64,
    importance: Float64,
    group: NDArray[np.integer],
    groups: int,
    levels: int,
    power_of_two: bool,
) -> Float64:
    """Per group, the scale of least squared error, ``[groups]``."""
    largest = np.zeros(groups)
    np.maximum.at(largest, group, np.abs(weight))
    # A neuron without synapses keeps its own unit.
    largest[largest == 0] = levels
    best, least = largest / levels, np.full(groups, np.inf)
    for step in _candidates(largest / levels, power_of_two):
        number = np.clip(np.rint(weight / step[group]), -levels, levels)
        wrong = importance * (weight - number * step[group]) ** 2
        error = np.bincount(group, wrong, minlength=groups)
        better = error < least
        best[better], least[better] = step[better], error[better]
    return best


def _candidates(whole: Float64, power_of_two: bool) -> list[Float64]:
    """Scales to try, from the one that cuts no weight off (``whole``) downwards."""
    if power_of_two:
        return [2.0 ** (np.ceil(np.log2(whole)) - down) for down in range(8)]
    return [whole * share for share in np.linspace(1, 0, _CANDIDATES, endpoint=False)]
