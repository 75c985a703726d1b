"""A delay table on disk: ``delays.h5``, format version 1 (docs/table-format.md)."""

from __future__ import annotations

import io
import json
from pathlib import Path

import h5py
import numpy as np

from snn_delays.atomic import write_atomically
from snn_delays.errors import HDF5_DAMAGE, UsageError, held_elsewhere, one_line
from snn_delays.hdf5.fields import (
    array,
    attribute,
    integer,
    number,
    subgroup,
    text,
    write_array,
    write_text,
)
from snn_delays.table.neuron_table import (
    INTEGER_RESETS,
    RESETS,
    IntegerNeuronTable,
    NeuronTable,
)
from snn_delays.table.require import require_member, require_version
from snn_delays.table.table import DelayTable, LayerTable, Source, SynapseTable

FORMAT = "snn-delays-table"
VERSION = 1


def write_table(table: DelayTable, path: Path | str) -> None:
    """Write the table, all or nothing; the same table always gives the same bytes.

    Raises:
        UsageError: the path cannot be written to.
    """
    buffer = io.BytesIO()
    # HDF5 1.10's layout: compact, and all of its metadata carry checksums.
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:
        write_text(file, "format", FORMAT)
        file.attrs["version"] = VERSION
        file.attrs["dt_ms"] = float(table.dt_ms)
        file.attrs["n_classes"] = len(table.class_names)
        write_text(file, "class_names", json.dumps(table.class_names))
        write_text(file, "readout", table.readout)
        file.attrs["tail_steps"] = table.tail_steps
        file.attrs["input_channels"] = table.input_channels
        write_text(file, "created_by", table.created_by)
        for index, layer in enumerate(table.layers):
            _write_layer(file.create_group(f"layers/{index}"), layer)
    write_atomically(Path(path), buffer.getvalue())


def _write_layer(group: h5py.Group, layer: LayerTable) -> None:
    if isinstance(layer.source, str):
        write_text(group, "source", layer.source)
    else:
        group.attrs["source"] = layer.source
    for name in ("n_pre", "n_post", "target", "min_delay", "max_delay"):
        group.attrs[name] = getattr(layer, name)
    group.attrs["weight_scale"] = float(layer.weight_scale)
    for name in ("pre", "post", "delay", "weight"):
        write_array(group, name, getattr(layer.synapses, name))
    write_array(group, "bias", layer.bias)
    neuron = group.create_group("neuron")
    write_text(neuron, "model", layer.neuron.model)
    write_text(neuron, "reset", layer.neuron.reset)
    if isinstance(layer.neuron, IntegerNeuronTable):
        neuron.attrs["decay_shift"] = layer.neuron.decay_shift
        neuron.attrs["weight_shift"] = layer.neuron.weight_shift
    for name in ("decay" if layer.integer else "beta", "v_threshold", "v_reset"):
        write_array(neuron, name, getattr(layer.neuron, name))


def read_table(path: Path | str) -> DelayTable:
    """Read and check a table; attributes and members that version 1 does not name are ignored.

    Raises:
        UsageError: one line with the path: no such file, not a delay table, a newer version,
            truncated or damaged, a field missing or out of range.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such delay table. Write one with snn-delays-export.")
    try:
        with h5py.File(path, "r") as file:
            return _read(file)
    except UsageError as error:
        raise UsageError(f"{path}: not a valid delay table: {one_line(error)}") from error
    except HDF5_DAMAGE as error:
        if held := held_elsewhere(error):
            raise UsageError(f"{path} {held}") from error
        raise UsageError(
            f"{path}: not a readable delay table (truncated, damaged or not HDF5): "
            f"{one_line(error)}. Export it again."
        ) from error


def _read(file: h5py.File) -> DelayTable:
    if text(file, "format") != FORMAT:
        raise UsageError(f"format must be {FORMAT!r}, got {text(file, 'format')!r}.")
    require_version(integer(file, "version"), VERSION)
    names = _class_names(file)
    if len(names) != integer(file, "n_classes"):
        raise UsageError(f"n_classes is {integer(file, 'n_classes')}, class_names {len(names)}.")
    layers = subgroup(file, "layers")
    if set(layers) != {str(index) for index in range(len(layers))}:
        raise UsageError(f"/layers must hold 0, 1, … without a gap, got {', '.join(layers)}.")
    return DelayTable(
        layers=tuple(_read_layer(subgroup(layers, str(index))) for index in range(len(layers))),
        dt_ms=number(file, "dt_ms"),
        class_names=names,
        readout=text(file, "readout"),
        tail_steps=integer(file, "tail_steps"),
        input_channels=integer(file, "input_channels"),
        created_by=text(file, "created_by"),
    )


def _read_layer(group: h5py.Group) -> LayerTable:
    try:
        return LayerTable(
            source=_source(group),
            target=integer(group, "target"),
            n_pre=integer(group, "n_pre"),
            n_post=integer(group, "n_post"),
            min_delay=integer(group, "min_delay"),
            max_delay=integer(group, "max_delay"),
            synapses=SynapseTable(
                *(array(group, name) for name in ("pre", "post", "delay", "weight"))
            ),
            bias=array(group, "bias"),
            neuron=_read_neurons(subgroup(group, "neuron")),
            weight_scale=number(group, "weight_scale"),
        )
    except UsageError as error:
        raise UsageError(f"{group.name}: {error}") from error


def _read_neurons(group: h5py.Group) -> NeuronTable | IntegerNeuronTable:
    model, reset = text(group, "model"), text(group, "reset")
    if model in INTEGER_RESETS:
        return IntegerNeuronTable(
            model,
            reset,
            *(array(group, name) for name in ("decay", "v_threshold", "v_reset")),
            decay_shift=integer(group, "decay_shift"),
            weight_shift=integer(group, "weight_shift"),
        )
    require_member("neuron model", model, (*RESETS, *INTEGER_RESETS))
    arrays = (array(group, name) for name in ("beta", "v_threshold", "v_reset"))
    return NeuronTable(model, reset, *arrays)


def _source(group: h5py.Group) -> Source:
    value = attribute(group, "source")
    if value == "input":
        return "input"
    if not isinstance(value, np.integer):
        raise UsageError(f"source must be 'input' or a layer's index, got {value!r}.")
    return int(value)


def _class_names(file: h5py.File) -> tuple[str, ...]:
    try:
        names = json.loads(text(file, "class_names"))
    except json.JSONDecodeError as error:
        raise UsageError(f"class_names must be a JSON list of strings: {error}.") from error
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise UsageError("class_names must be a JSON list of strings.")
    return tuple(names)
