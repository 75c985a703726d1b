"""From a trained network to the table that a chip runs, step by step.

    as trained → delays rounded → weights quantised → adapted to the chip

Every step is a network of its own, so that a report can say what each one costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from snn_delays.deploy.adapt import AdaptedDelays, adapt_delays
from snn_delays.deploy.fixed_point import Leak, fixed_point
from snn_delays.deploy.integer import integer_table
from snn_delays.deploy.quantise import BITS, Scale, activity, quantised, require_bits
from snn_delays.deploy.quantised_training import trained_bits, trained_scales
from snn_delays.deploy.table_network import TableNetwork
from snn_delays.errors import UsageError
from snn_delays.network import Block, DelaySNN
from snn_delays.table.chips.profile import ChipProfile
from snn_delays.table.chips.violations import violations, wrong_neurons
from snn_delays.table.table import DelayTable


@dataclass(frozen=True)
class DeploySettings:
    """What the deployed network is to look like.

    Args:
        bits: of the weights, 2 (ternary) … 16; None: those that the network was fine-tuned with,
            else the chip's, else float weights.
        scale: of the weights, per ``"layer"`` or ``"neuron"``; None: as the network was fine-tuned,
            else per neuron, but per layer for a chip, whose neurons may share one threshold.
        chip: whose limits to keep to.
        delays: what to do with delays beyond the chip's: ``refuse``, ``clip`` or ``rescale``.
        fixed_point: integer neurons. A chip whose neurons are integer ones has them anyway, with
            its own shifts.
        leak, decay_shift, weight_shift: see ``fixed_point``.
    """

    bits: int | None = None
    scale: Scale | None = None
    chip: ChipProfile | None = None
    delays: str = "refuse"
    fixed_point: bool = False
    leak: Leak = "multiplier"
    decay_shift: int = 12
    weight_shift: int = 6


@dataclass(frozen=True, eq=False)
class Stage:
    """The network after one step; ``network`` takes and gives what ``DelaySNN`` does."""

    name: str
    network: nn.Module
    synapses: int


@dataclass(frozen=True, eq=False)
class Deployment:
    """The table to write, the networks on the way to it, and how delays were made to fit."""

    table: DelayTable
    stages: tuple[Stage, ...]
    adapted: AdaptedDelays | None


def deploy(
    net: DelaySNN,
    settings: DeploySettings,
    *,
    dt_ms: float,
    class_names: Sequence[str],
    samples: Sequence[NDArray[np.generic]] = (),
    largest_count: int | None = None,
    graded: bool = False,
) -> Deployment:
    """Take a trained network to its table.

    Args:
        net: in evaluation mode; left as it is.
        dt_ms: duration of a step.
        class_names: one per neuron of the last layer.
        samples: recordings ``[T, input_channels]`` of the training split to calibrate scales and
            biases with, if weights are quantised.
        largest_count: most spikes that an input channel has in one step, where known.
        graded: the input is currents, not numbers of spikes.

    Raises:
        UsageError: a network that no table can hold, or a table that the chip cannot take: each
            reason with the number of synapses or neurons it concerns.
    """
    table = integer_table(net, dt_ms=dt_ms, class_names=class_names)
    contacts = _contacts(net)
    stages = [
        Stage("as trained (σ-kernels)", net, contacts),
        Stage("delays rounded", net.rounded(), _synapses(table)),
    ]
    if trained_bits(net) is not None:  # it rounds in training already
        stages = [Stage("as fine-tuned", net, contacts)]
    bits = _bits(net, settings)
    power = bool(settings.chip and settings.chip.weights.power_of_two)
    scales = trained_scales(net)
    others = bits != trained_bits(net) or power  # whose scales are searched for
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

    def whole(one: DelayTable) -> DelayTable:
        chip = settings.chip.membrane if settings.chip else None
        if chip and chip.arithmetic == "integer":
            return fixed_point(
                one,
                leak=settings.leak,
                decay_shift=_or(chip.decay_shift, settings.decay_shift),
                weight_shift=_or(chip.weight_shift, settings.weight_shift),
                threshold_shift=chip.threshold_shift or 0,
                threshold_offset=int(bool(chip.threshold_strict)),
                bias_bits=chip.bias_bits,
            )
        if settings.fixed_point:
            return fixed_point(
                one,
                leak=settings.leak,
                decay_shift=settings.decay_shift,
                weight_shift=settings.weight_shift,
            )
        return one

    adapted = None
    if settings.chip:
        if wrong := wrong_neurons(table, settings.chip):
            raise UsageError(
                f"{settings.chip.name} cannot take this network: {'; '.join(wrong)}. No setting of "
                "an export changes that: choose another chip, or train other neurons."
            )
        adapted = adapt_delays(table, settings.chip, settings.delays)
    final = small(table)
    if bits is not None:
        stages.append(_stage(f"{_bit_words(bits)} weights", final))
    if settings.chip and adapted:
        final = whole(small(adapted.table))
        _require_fit(final, settings.chip, largest_count, graded)
        stages.append(_stage(f"adapted to {settings.chip.name}", final))
    elif settings.fixed_point:
        final = whole(final)
        stages.append(_stage("integer neurons", final))
    if graded and final.layers[0].integer:
        raise UsageError(
            "integer neurons take whole numbers of spikes, and this data set gives currents. Train "
            "with an encoder that makes spikes (dataset.encoder=…), or export float neurons."
        )
    return Deployment(final, tuple(stages), adapted)


def _contacts(net: DelaySNN) -> int:
    """Synapses as they are trained; of a pair without one there may be a weight all the same."""
    count = 0
    for block in net.blocks:
        assert isinstance(block, Block)
        weight, present = block.synapses.weight, getattr(block.synapses, "present", None)
        assert isinstance(weight, Tensor)
        count += weight.numel() if present is None else int(present.sum())
    return count


def _stage(name: str, table: DelayTable) -> Stage:
    return Stage(name, TableNetwork(table), _synapses(table))


def _synapses(table: DelayTable) -> int:
    return sum(len(layer.synapses) for layer in table.layers)


def _bits(net: DelaySNN, settings: DeploySettings) -> int | None:
    """Bits of the weights, from whoever has a say in them."""
    trained = trained_bits(net)
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
    trained: Sequence[NDArray[np.float64]] | None, settings: DeploySettings, *, free: bool
) -> Scale:
    """One scale per layer or per neuron, from whoever has a say in it.

    Args:
        trained: the scales that the network was fine-tuned with, if it was.
        free: they cannot be kept, so that another kind may be chosen as well.
    """
    if trained is not None and not (free and settings.scale):
        known: Scale = "neuron" if any(one.size > 1 for one in trained) else "layer"
        if settings.scale not in (None, known):
            raise UsageError(
                f"scale={settings.scale}: the network was fine-tuned with one scale per {known}. "
                f"Leave scale out, or fine-tune with finetune.scale={settings.scale}."
            )
        return known
    return settings.scale or ("neuron" if settings.chip is None else "layer")


def _require_fit(
    table: DelayTable, chip: ChipProfile, largest_count: int | None, graded: bool
) -> None:
    found = violations(table, chip, largest_count, graded=graded)
    if found:
        raise UsageError(
            f"{chip.name} cannot take this network: {'; '.join(found)}. Train one within these "
            "limits, or choose another chip."
        )


def _bit_words(bits: int) -> str:
    return "ternary" if bits == 2 else f"{bits}-bit"


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value
