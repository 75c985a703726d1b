"""The delay table: a trained network as plain arrays, everything a chip or simulator needs.

At every step, for every layer in order, with x its source's spikes (or the input counts):

    I[post] = bias[post] + Σ weight · weight_scale · x[t − delay, pre]
    v ← beta · v + I                          (reset "soft" and "none")
    v ← v_reset + beta · (v − v_reset) + I    (reset "hard")
    LIF: spike where v ≥ v_threshold, then v ← v_reset ("hard") or v ← v − v_threshold ("soft")
    LI:  never spikes; v is what the readout sees

Integer layers (``IntegerNeuronTable``) hold whole numbers only, in units of
weight_scale / 2^weight_shift, and ``⌊…⌋₀`` drops the fraction towards zero:

    I[post] = bias[post] + Σ weight · 2^weight_shift · x[t − delay, pre]
    v ← v_reset + ⌊(v − v_reset) · decay / 2^decay_shift⌋₀ + I

v starts at v_reset. The same format on disk is described in docs/table-format.md. Whatever
changes a network on its way to a chip is a function from one ``DelayTable`` to another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.neuron_table import (
    INTEGER_RESETS,
    MAX_SHIFT,
    NEVER,
    RESETS,
    Floats,
    IntegerNeuronTable,
    Ints,
    NeuronTable,
)
from snn_delays.table.require import (
    require_finite,
    require_member,
    require_vector,
    require_within,
)

__all__ = [
    "INTEGER_RESETS",
    "MAX_SHIFT",
    "NEVER",
    "READOUTS",
    "RESETS",
    "WEIGHT_TYPES",
    "DelayTable",
    "Floats",
    "IntegerNeuronTable",
    "Ints",
    "LayerTable",
    "NeuronTable",
    "Source",
    "SynapseTable",
]

READOUTS = ("sum_softmax", "max", "mean")
WEIGHT_TYPES = (np.float32, np.int8, np.int16)

Source = int | Literal["input"]


@dataclass(frozen=True, eq=False)
class SynapseTable:
    """One row per synapse; rows with the same pre, post and delay add up.

    Shape:
        pre, post, delay: int32 ``[S]``; delay in steps, 0 = arrives in the same step.
        weight: float32, int8 or int16 ``[S]``.

    Raises:
        UsageError: columns of unequal length or wrong type, a weight that is not finite.
    """

    pre: Ints
    post: Ints
    delay: Ints
    weight: NDArray[np.generic]

    def __post_init__(self) -> None:
        require_vector("synapse pre", self.pre, (np.int32,))
        require_vector("synapse post", self.post, (np.int32,), self.pre.size)
        require_vector("synapse delay", self.delay, (np.int32,), self.pre.size)
        require_vector("synapse weight", self.weight, WEIGHT_TYPES, self.pre.size)
        require_finite("synapse weight", self.weight)

    def __len__(self) -> int:
        return self.pre.size


@dataclass(frozen=True, eq=False)
class LayerTable:
    """The synapses into one layer, and its neurons.

    Args:
        source: where spikes come from: ``"input"`` or a layer's index.
        target: the layer's own index.
        bias: float32 ``[n_post]`` (int32 for integer neurons), added to the input current at
            every step.
        min_delay, max_delay: steps; the range that the layer's delays may use.
        weight_scale: what integer weights are multiplied by; 1 for float weights.

    Raises:
        UsageError: an index or delay out of range, or sizes that do not fit together.
    """

    source: Source
    target: int
    n_pre: int
    n_post: int
    min_delay: int
    max_delay: int
    synapses: SynapseTable
    bias: Floats | Ints
    neuron: NeuronTable | IntegerNeuronTable
    weight_scale: float = 1.0

    def __post_init__(self) -> None:
        for name, size in (("n_pre", self.n_pre), ("n_post", self.n_post)):
            if size < 1:
                raise UsageError(f"{name} must be >= 1 neuron, got {size}.")
        if not 0 <= self.min_delay <= self.max_delay:
            raise UsageError(
                "delays must satisfy 0 <= min_delay <= max_delay, "
                f"got min_delay {self.min_delay} and max_delay {self.max_delay} steps."
            )
        require_vector("bias", self.bias, (np.int32 if self.integer else np.float32,), self.n_post)
        require_finite("bias", self.bias)
        if isinstance(self.neuron, IntegerNeuronTable):
            require_vector("neuron decay", self.neuron.decay, (np.int32,), self.n_post)
        else:
            require_vector("neuron beta", self.neuron.beta, (np.float32,), self.n_post)
        require_within("synapse pre", self.synapses.pre, 0, self.n_pre - 1)
        require_within("synapse post", self.synapses.post, 0, self.n_post - 1)
        require_within("synapse delay", self.synapses.delay, self.min_delay, self.max_delay)
        if not (math.isfinite(self.weight_scale) and self.weight_scale > 0):
            raise UsageError(f"weight_scale must be finite and > 0, got {self.weight_scale}.")
        if self.synapses.weight.dtype == np.float32 and self.weight_scale != 1:
            raise UsageError(f"weight_scale of float weights must be 1, got {self.weight_scale}.")
        if self.integer and self.synapses.weight.dtype == np.float32:
            raise UsageError(f"{self.neuron.model} neurons need integer weights, got float32.")

    @property
    def integer(self) -> bool:
        """Whether the layer is whole numbers only."""
        return isinstance(self.neuron, IntegerNeuronTable)

    @property
    def unit(self) -> float:
        """What 1 of v, bias and v_threshold is worth: 1 but in integer layers."""
        if isinstance(self.neuron, IntegerNeuronTable):
            return self.weight_scale / (1 << self.neuron.weight_shift)
        return 1.0

    @property
    def current_weight(self) -> NDArray[np.floating]:
        """What one spike adds to the current: float32 weights as stored, integers times scale."""
        if self.synapses.weight.dtype == np.float32:
            return self.synapses.weight.astype(np.float32, copy=False)
        return self.synapses.weight.astype(np.float64) * self.weight_scale


@dataclass(frozen=True, eq=False)
class DelayTable:
    """A whole network: hidden spiking layers in a chain, then one layer that is read out.

    Args:
        dt_ms: duration of a step.
        readout: how the last layer's v becomes scores: ``sum_softmax``, ``max`` or ``mean``.
        tail_steps: steps of silence that follow a sample's own, so that late spikes arrive.
        input_channels: size of the input.
        created_by: program and version, for people.

    Raises:
        UsageError: layers that do not follow one another, or a value out of range.
    """

    layers: tuple[LayerTable, ...]
    dt_ms: float
    class_names: tuple[str, ...]
    readout: str
    tail_steps: int
    input_channels: int
    created_by: str

    def __post_init__(self) -> None:
        if not self.layers:
            raise UsageError("a delay table needs at least one layer, got none.")
        if not (math.isfinite(self.dt_ms) and self.dt_ms > 0):
            raise UsageError(f"dt_ms must be a finite time > 0 ms, got {self.dt_ms}.")
        if self.tail_steps < 0:
            raise UsageError(f"tail_steps must be >= 0, got {self.tail_steps}.")
        require_member("readout", self.readout, READOUTS)
        source, size = "input", self.input_channels
        for index, layer in enumerate(self.layers):
            _require_place(index, layer, source, size)
            last = index == len(self.layers) - 1
            if layer.neuron.spiking == last:
                expected = "LI or IntLI" if last else "LIF or IntLIF"
                raise UsageError(
                    f"layer {index} of {len(self.layers)} must have {expected} neurons "
                    f"(the last layer is the readout), got {layer.neuron.model}."
                )
            source, size = index, layer.n_post
        if len(self.class_names) != size:
            raise UsageError(
                f"class_names must name the {size} neurons of the last layer, "
                f"got {len(self.class_names)} names."
            )


def _require_place(index: int, layer: LayerTable, source: Source, size: int) -> None:
    if (layer.source, layer.target) != (source, index):
        raise UsageError(
            f"layer {index} must lead from {source!r} to {index} (feed-forward chain), got "
            f"{layer.source!r} to {layer.target!r}; recurrent groups need a later version."
        )
    if layer.n_pre != size:
        raise UsageError(
            f"layer {index} must have n_pre = {size}, the size of its source {source!r}, "
            f"got {layer.n_pre}."
        )
