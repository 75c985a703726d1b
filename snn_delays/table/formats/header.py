"""What a network is apart from its arrays, and how arrays of any number type become its layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.formats.columns import multiples, single, whole
from snn_delays.table.neuron_table import INTEGER_RESETS, IntegerNeuronTable, NeuronTable
from snn_delays.table.table import DelayTable, LayerTable, Source, SynapseTable

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class LayerHeader:
    """A layer without its arrays; the shifts are there for integer neurons only."""

    source: Source
    target: int
    n_pre: int
    n_post: int
    min_delay: int
    max_delay: int
    weight_scale: float
    weight_type: str
    model: str
    reset: str
    decay_shift: int | None = None
    weight_shift: int | None = None

    @property
    def integer(self) -> bool:
        return self.model in INTEGER_RESETS

    @property
    def neuron_columns(self) -> tuple[str, ...]:
        """Names of the arrays with one number per neuron."""
        return ("bias", "decay" if self.integer else "beta", "v_threshold", "v_reset")

    def neuron_arrays(self, layer: LayerTable) -> dict[str, NDArray[np.generic]]:
        """The arrays of these names."""
        first, *others = self.neuron_columns
        return {first: layer.bias, **{name: getattr(layer.neuron, name) for name in others}}

    def synapses(
        self, pre: Float64, post: Float64, delay: Float64, current_weight: Float64
    ) -> SynapseTable:
        """The synapses, from numbers of any kind.

        Args:
            delay: in steps.
            current_weight: what one spike adds to the current, weight_scale included.

        Raises:
            UsageError: columns of unequal length, not whole where it must be, out of range.
        """
        weight = self._stored(current_weight)
        columns = (("pre", pre), ("post", post), ("delay", delay))
        return SynapseTable(*(whole(name, values) for name, values in columns), weight=weight)

    def neurons(
        self, values: dict[str, Float64]
    ) -> tuple[NDArray[Any], NeuronTable | IntegerNeuronTable]:
        """Bias and neurons, from the arrays of ``neuron_columns``.

        Raises:
            UsageError: a wrong length, not whole where it must be, or out of range.
        """
        for name in self.neuron_columns:
            if values[name].shape != (self.n_post,):
                raise UsageError(
                    f"{name} must have one number for each of {self.n_post} neurons, "
                    f"got shape {values[name].shape}."
                )
        first, *names = self.neuron_columns
        if not self.integer:
            return single(values[first]), NeuronTable(
                self.model, self.reset, *(single(values[name]) for name in names)
            )
        if self.decay_shift is None or self.weight_shift is None:
            raise UsageError(f"{self.model} neurons need decay_shift and weight_shift.")
        return whole(first, values[first]), IntegerNeuronTable(
            self.model,
            self.reset,
            *(whole(name, values[name]) for name in names),
            decay_shift=self.decay_shift,
            weight_shift=self.weight_shift,
        )

    def layer(
        self,
        synapses: SynapseTable,
        bias: NDArray[Any],
        neuron: NeuronTable | IntegerNeuronTable,
    ) -> LayerTable:
        """The whole layer.

        Raises:
            UsageError: sizes that do not fit together, or a value out of range.
        """
        return LayerTable(
            source=self.source,
            target=self.target,
            n_pre=self.n_pre,
            n_post=self.n_post,
            min_delay=self.min_delay,
            max_delay=self.max_delay,
            synapses=synapses,
            bias=bias,
            neuron=neuron,
            weight_scale=self.weight_scale,
        )

    def _stored(self, current_weight: Float64) -> NDArray[np.generic]:
        if self.weight_type == "float32":
            return single(current_weight)
        units = multiples("weight", current_weight, "weight_scale", self.weight_scale)
        return whole(
            "weight / weight_scale", units, np.int8 if self.weight_type == "int8" else np.int16
        )


@dataclass(frozen=True)
class NetworkHeader:
    """A network without its arrays."""

    dt_ms: float
    class_names: tuple[str, ...]
    readout: str
    tail_steps: int
    input_channels: int
    created_by: str
    layers: tuple[LayerHeader, ...]

    def table(self, layers: list[LayerTable]) -> DelayTable:
        """The whole network.

        Raises:
            UsageError: layers that do not follow one another, or a value out of range.
        """
        return DelayTable(
            layers=tuple(layers),
            dt_ms=self.dt_ms,
            class_names=self.class_names,
            readout=self.readout,
            tail_steps=self.tail_steps,
            input_channels=self.input_channels,
            created_by=self.created_by,
        )


def header_of(table: DelayTable) -> NetworkHeader:
    """The header of a table."""
    return NetworkHeader(
        dt_ms=float(table.dt_ms),
        class_names=table.class_names,
        readout=table.readout,
        tail_steps=int(table.tail_steps),
        input_channels=int(table.input_channels),
        created_by=table.created_by,
        layers=tuple(map(_layer_header, table.layers)),
    )


def _layer_header(layer: LayerTable) -> LayerHeader:
    neuron = layer.neuron
    integer = isinstance(neuron, IntegerNeuronTable)
    return LayerHeader(
        source=layer.source if isinstance(layer.source, str) else int(layer.source),
        target=int(layer.target),
        n_pre=int(layer.n_pre),
        n_post=int(layer.n_post),
        min_delay=int(layer.min_delay),
        max_delay=int(layer.max_delay),
        weight_scale=float(layer.weight_scale),
        weight_type=layer.synapses.weight.dtype.name,
        model=neuron.model,
        reset=neuron.reset,
        decay_shift=int(neuron.decay_shift) if integer else None,
        weight_shift=int(neuron.weight_shift) if integer else None,
    )
