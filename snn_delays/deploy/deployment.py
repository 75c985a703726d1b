"""From a trained network to the table that a chip runs, step by step.

    as trained → delays rounded → weights quantised → adapted to the chip

Every step is a network of its own, so that a report can say what each one costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from snn_delays.data import Split
from snn_delays.deploy.adapt import AdaptedDelays, adapt_delays
from snn_delays.deploy.connections import connections
from snn_delays.deploy.fixed_point import Leak, fixed_point
from snn_delays.deploy.integer import integer_table, recorded
from snn_delays.deploy.quantise import BITS, Scale, activity, quantised, require_bits
from snn_delays.deploy.quantised_training import trained_bits, trained_scales
from snn_delays.deploy.table_network import TableNetwork
from snn_delays.errors import UsageError
from snn_delays.layers import rounded
from snn_delays.table.chips import ChipProfile, violations, wrong_neurons
from snn_delays.table.simulator.bounds import takes_input
from snn_delays.table.table import DelayTable


@dataclass(frozen=True)
class DeploySettings:
    """What the deployed network is to look like.

    Args:
        bits: of the weights, 2 (ternary) … 16; None: those that the network was fine-tuned with,
            else the chip's, else float weights.
        scale: of the weights, per ``"population"`` or ``"neuron"``; None: as the network was
            fine-tuned, else per neuron, but per population for a chip, whose neurons may share one
            threshold.
        chip: whose limits to keep to.
        delays: what to do with delays beyond the chip's: ``refuse``, ``clip`` or ``rescale``.
        fixed_point: integer neurons. A chip whose neurons are integer ones has them anyway, with
            its own shifts.
        leak, beta_shift, weight_shift: see ``fixed_point``.
    """

    bits: int | None = None
    scale: Scale | None = None
    chip: ChipProfile | None = None
    delays: str = "refuse"
    fixed_point: bool = False
    leak: Leak = "multiplier"
    beta_shift: int = 12
    weight_shift: int = 6


@dataclass(frozen=True, eq=False)
class Stage:
    """The network after one step; ``network`` gives its output over time."""

    name: str
    network: nn.Module
    synapses: int


@dataclass(frozen=True, eq=False)
class Deployment:
    """The table to write, the networks on the way to it, and how delays were made to fit."""

    table: DelayTable
    stages: tuple[Stage, ...]
    adapted: AdaptedDelays | None


def calibration_samples(training: Split, count: int) -> list[NDArray[np.float32]]:
    """So many recordings ``[T, input_channels]``, evenly spread over the training split."""
    last = len(training) - 1
    chosen = np.unique(np.linspace(0, last, min(count, len(training))).astype(np.int64))
    return [training.collate([at]).spikes[:, 0].flatten(1).numpy() for at in chosen.tolist()]


def deploy(
    net: nn.Module,
    settings: DeploySettings,
    *,
    dt_ms: float,
    class_names: Sequence[str] | None = None,
    samples: Sequence[NDArray[np.generic]] = (),
    largest_count: int | None = None,
    graded: bool = False,
    **about: Any,
) -> Deployment:
    """Take a trained network to its table.

    Args:
        net: ``DelaySNN``, or any network that ``trace`` takes, in evaluation mode; left as it is.
        dt_ms: duration of a step.
        class_names: one per neuron of the output; numbers unless given.
        samples: recordings ``[T, input_channels]`` of the training split to calibrate scales and
            biases with, if weights are quantised.
        largest_count: most spikes that an input channel has in one step, where known.
        graded: the input is currents, not numbers of spikes.
        about: ``example``, ``readout``, ``tail_steps`` as for ``integer_table``.

    Raises:
        UsageError: a network that no table can hold, or a table that the chip cannot take: each
            reason with the number of synapses or neurons it concerns.
    """
    table = integer_table(net, dt_ms=dt_ms, class_names=class_names, **about)
    trained, chip = trained_bits(net), settings.chip
    found = [Stage("as trained (σ-kernels)", recorded(net, **about), _trained_synapses(net))]
    if trained is None:
        found.append(Stage("delays rounded", recorded(rounded(net), **about), table.synapses))
    else:  # it rounds in training already
        found = [replace(found[0], name="as fine-tuned")]
    bits = _bits(trained, settings)
    power = bool(chip and chip.weights.power_of_two)
    scales = trained_scales(net)
    others = bits != trained or power  # whose scales are searched for
    scale = _scale(scales, settings, free=others)
    if others:
        scales = None

    def small(one: DelayTable) -> DelayTable:
        if bits is None:
            return one
        calibration = activity(one, samples) if samples and scales is None else None
        return quantised(
            one, bits, scale=scale, calibration=calibration, scales=scales, power_of_two=power
        )

    adapted = None
    if chip:
        if wrong := wrong_neurons(table, chip):
            raise UsageError(
                f"{chip.name} cannot take this network: {'; '.join(wrong)}. No setting of an "
                "export changes that: choose another chip, or train other neurons."
            )
        adapted = adapt_delays(table, chip, settings.delays)
    final = small(table)
    if bits is not None:
        found.append(_stage(f"{'ternary' if bits == 2 else f'{bits}-bit'} weights", final))
    if chip and adapted:
        final = _whole(small(adapted.table), settings)
        if wrong := violations(final, chip, largest_count, graded=graded):
            raise UsageError(
                f"{chip.name} cannot take this network: {'; '.join(wrong)}. Train one within these "
                "limits, or choose another chip."
            )
        found.append(_stage(f"adapted to {chip.name}", final))
    elif settings.fixed_point:
        final = _whole(final, settings)
        found.append(_stage("integer neurons", final))
    if graded and any(one.integer and takes_input(final, one) for one in final.populations):
        raise UsageError(
            "integer neurons take whole numbers of spikes, and this data set gives currents. Train "
            "with an encoder that makes spikes (dataset.encoder=…), or export float neurons."
        )
    return Deployment(final, tuple(found), adapted)


def _whole(table: DelayTable, settings: DeploySettings) -> DelayTable:
    """The table with integer neurons, if they are asked for or the chip has them."""
    shifts = {"beta_shift": settings.beta_shift, "weight_shift": settings.weight_shift}
    membrane = settings.chip.membrane if settings.chip else None
    if membrane and membrane.arithmetic == "integer":
        own = {name: getattr(membrane, name) for name in shifts}
        return fixed_point(
            table,
            leak=settings.leak,
            **(shifts | {name: shift for name, shift in own.items() if shift is not None}),
            threshold_shift=membrane.threshold_shift or 0,
            threshold_offset=int(bool(membrane.threshold_strict)),
            bias_bits=membrane.bias_bits,
        )
    return fixed_point(table, leak=settings.leak, **shifts) if settings.fixed_point else table


def _trained_synapses(net: nn.Module) -> int:
    """Synapses as they are trained; of a pair without one there may be a weight all the same."""
    count = 0
    for one in connections(net):
        layer = net.get_submodule(one.synapses)
        weight, mask = layer.weight, getattr(layer, "mask", None)
        assert isinstance(weight, Tensor)
        count += weight.numel() if mask is None else int(mask.sum())
    return count


def _stage(name: str, table: DelayTable) -> Stage:
    return Stage(name, TableNetwork(table), table.synapses)


def _bits(trained: int | None, settings: DeploySettings) -> int | None:
    """Bits of the weights, from whoever has a say in them."""
    chip = settings.chip.weights.bits if settings.chip else None
    if chip is not None:
        chip = min(chip, BITS[-1])
    if settings.bits is not None:
        require_bits(settings.bits)
        for name, limit in (("the network was fine-tuned for", trained), ("the chip has", chip)):
            if limit is not None and settings.bits > limit:
                raise UsageError(f"bits={settings.bits}: {name} {limit}. Leave bits out.")
        return settings.bits
    if trained is not None and chip is not None:
        return min(trained, chip)
    bits = trained or chip
    if bits is None and settings.fixed_point:
        raise UsageError("fixed_point=true needs integer weights: give bits=8, or fewer.")
    return bits


def _scale(
    trained: Mapping[str, NDArray[np.float64]] | None, settings: DeploySettings, *, free: bool
) -> Scale:
    """One scale per population or per neuron, from whoever has a say in it.

    Args:
        trained: the scales that the network was fine-tuned with, if it was.
        free: they cannot be kept, so that another kind may be chosen as well.
    """
    if trained is not None and not (free and settings.scale):
        many = any(one.size > 1 for one in trained.values())
        known: Scale = "neuron" if many else "population"
        if settings.scale not in (None, known):
            raise UsageError(
                f"scale={settings.scale}: the network was fine-tuned with one scale per {known}. "
                f"Leave scale out, or fine-tune with finetune.scale={settings.scale}."
            )
        return known
    return settings.scale or ("neuron" if settings.chip is None else "population")
