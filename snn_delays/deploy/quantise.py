"""Weights as small integers: from one delay table to another, after training.

    weight ≈ scale · n,    n = clamp(round(weight / scale), −L, L),    L = 2^(bits − 1) − 1

The scale, one per population that the synapses lead into or one per neuron of it, makes the least
squared error of the input currents that calibration samples cause, as far as their sources fire
independently: an error ε of a synapse counts ε² · var(x[pre]). Its mean ε · mean(x[pre]) goes into
the bias.

Per neuron, the scale needs no place in the file: a spiking neuron acts the same when weights,
bias and every parameter in their unit (thresholds, reset) are all divided by one number, so these
take it up. Potentials that are read out are compared with one another and always share one scale.

Reference:
    Nagel et al., "A white paper on neural network quantization" (2021, arXiv:2106.08295), for
    the search of the range and the correction of the bias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn_delays.arguments import choice
from snn_delays.errors import UsageError
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection
from snn_delays.table.simulator import Simulator
from snn_delays.table.table import INPUT, DelayTable

Float64 = NDArray[np.float64]
Scale = Literal["population", "neuron"]
SCALES: tuple[str, ...] = ("population", "neuron")
BITS = range(2, 17)  # 2 bits are ternary: −1, 0, 1
_SELDOM = 1e-3  # least variance of a source, as a share of its population's mean
_CANDIDATES = 96  # ranges tried, equally spaced up to the largest weight


class Activity(NamedTuple):
    """What one source, the input or a population, sends per step, over calibration samples.

    Shape:
        mean, variance: float64 ``[size]``.
    """

    mean: Float64
    variance: Float64


def activity(table: DelayTable, samples: Sequence[NDArray[np.generic]]) -> dict[str, Activity]:
    """Mean and variance of what every source sends, by its name, tail included.

    Args:
        samples: some recordings ``[T, input_channels]`` that are neither validated nor tested on.

    Raises:
        UsageError: no samples, or samples of another width.
    """
    if not len(samples):
        raise UsageError("calibration needs at least 1 sample, got 0.")
    simulator, steps = Simulator(table), 0
    sources = [INPUT, *(one.name for one in table.populations if one.spiking)]
    sums = {name: np.zeros((2, table.size(name))) for name in sources}
    for counts in samples:
        steps += len(counts) + table.tail_steps
        for name, x in ({INPUT: counts} | simulator.run(counts).spikes).items():
            sums[name] += np.stack([x.sum(0), (x.astype(np.float64) ** 2).sum(0)])
    means = {name: total / max(steps, 1) for name, total in sums.items()}
    return {name: Activity(mean, square - mean**2) for name, (mean, square) in means.items()}


def quantised(
    table: DelayTable,
    bits: int,
    *,
    scale: Scale = "population",
    calibration: Mapping[str, Activity] | None = None,
    scales: Mapping[str, Float64] | None = None,
    power_of_two: bool = False,
) -> DelayTable:
    """The table with weights of ``bits`` bits; what becomes zero is left out.

    Args:
        bits: 2 (ternary) … 16, sign included; symmetric, the most negative number is not used.
        scale: ``"population"`` or ``"neuron"``; see above.
        calibration: ``activity(table, samples)``. Without it all sources count alike and biases
            stay.
        scales: by population, scales ``[1]`` or ``[size]`` to use instead of searching: those that
            the network was trained with. Biases then stay as well, and no weight is cut off: the
            sum of a pair's synapses that share a step becomes as many synapses as it takes.
        power_of_two: take scales that are powers of two only.

    Raises:
        UsageError: a table that has integer weights already, bits or scale out of range.
    """
    require_bits(bits)
    choice("scale", scale, SCALES)
    if any(one.integer for one in table.projections):
        raise UsageError("the table's weights are integers already. Export again from the run.")
    levels = 2 ** (bits - 1) - 1
    sent = None if scales is not None else calibration
    populations, projections = [], []
    for population in table.populations:
        leading = table.into(population.name)
        if scales is not None:
            step = scales[population.name]
        else:
            by_neuron = scale == "neuron" and population.spiking
            step = _best_scale(population, leading, levels, sent, by_neuron, power_of_two)
        step = np.broadcast_to(step, (population.size,))
        weight_scale = float(np.median(step))
        bias = population.bias.astype(np.float64)
        for one in leading:
            number = np.rint(one.weight.astype(np.float64) / step[one.post])
            if scales is None:
                number = np.clip(number, -levels, levels)
            if sent is not None:
                lost = (one.weight - number * step[one.post]) * sent[one.source].mean[one.pre]
                bias += np.bincount(one.post, lost, minlength=population.size)
            projections.append(_with_numbers(one, number, levels, weight_scale))
        populations.append(_scaled(population, bias, weight_scale / step))
    return replace(table, populations=tuple(populations), projections=tuple(projections))


def require_bits(bits: object) -> None:
    """Raise a UsageError unless ``bits`` is a width that weights can have."""
    if type(bits) is not int or bits not in BITS:
        raise UsageError(f"bits must be a whole number from 2 (ternary) to 16, got {bits!r}.")


def _with_numbers(
    projection: Projection, number: Float64, levels: int, weight_scale: float
) -> Projection:
    """The projection with these whole numbers; one beyond the levels becomes several synapses."""
    # 0 rows for a weight of 0, one within the levels, ⌈|n| / L⌉ beyond: L, L, …, the rest.
    copies = np.ceil(np.abs(number) / levels).astype(np.int64)
    row = np.repeat(np.arange(len(projection)), copies)
    nth = np.arange(len(row)) - np.repeat(copies.cumsum() - copies, copies)
    part = np.minimum(np.abs(number[row]) - levels * nth, levels) * np.sign(number[row])
    kind = np.int8 if levels <= np.iinfo(np.int8).max else np.int16
    return replace(
        projection,
        pre=projection.pre[row],
        post=projection.post[row],
        delay=projection.delay[row],
        weight=part.astype(kind),
        weight_scale=weight_scale,
    )


def _scaled(population: Population, bias: Float64, factor: Float64) -> Population:
    """The population with ``bias`` and all that scales with the weights times ``factor``."""
    parameters = dict(population.parameters)
    for one in population.model.parameters:
        if one.quantity.scales:
            parameters[one.name] = (parameters[one.name] * factor).astype(np.float32)
    return replace(population, bias=(bias * factor).astype(np.float32), parameters=parameters)


def _best_scale(
    population: Population,
    leading: Sequence[Projection],
    levels: int,
    sent: Mapping[str, Activity] | None,
    by_neuron: bool,
    power_of_two: bool,
) -> Float64:
    """The scale of least error, ``[size]`` or ``[1]``, of all synapses into a population."""
    nothing = np.zeros(0)
    weight = np.concatenate([nothing, *(one.weight for one in leading)])
    importance = np.ones_like(weight)
    if sent is not None:
        # A source that was silent in these recordings may still fire in others.
        variances = [(sent[one.source].variance, one.pre) for one in leading]
        importance = np.concatenate(
            [nothing, *((v + _SELDOM * v.mean())[pre] for v, pre in variances)]
        )
    group = np.concatenate([nothing.astype(np.int64), *(one.post for one in leading)])
    if not by_neuron:
        group[:] = 0
    groups = population.size if by_neuron else 1
    return _search(weight, importance, group, groups, levels, power_of_two)


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
