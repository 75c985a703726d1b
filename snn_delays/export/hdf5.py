"""A delay table on disk: ``delays.h5``, format version 1 (docs/table-format.md)."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snn_delays.atomic import write_atomically
from snn_delays.errors import UsageError
from snn_delays.export.table import (
    INTEGER_RESETS,
    DelayTable,
    IntegerNeuronTable,
    LayerTable,
    NeuronTable,
    Source,
    SynapseTable,
)

FORMAT = "snn-delays-table"
VERSION = 1

# What h5py raises, depending on which byte of a file is damaged.
_DAMAGE = (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, MemoryError)


def write_table(table: DelayTable, path: Path | str) -> None:
    """Write the table, all or nothing; the same table always gives the same bytes.

    Raises:
        UsageError: the path cannot be written to.
    """
    buffer = io.BytesIO()
    # HDF5 1.10's layout: compact, and all of its metadata carry checksums.
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:
        _write_text(file, "format", FORMAT)
        file.attrs["version"] = VERSION
        file.attrs["dt_ms"] = float(table.dt_ms)
        file.attrs["n_classes"] = len(table.class_names)
        _write_text(file, "class_names", json.dumps(table.class_names))
        _write_text(file, "readout", table.readout)
        file.attrs["tail_steps"] = table.tail_steps
        file.attrs["input_channels"] = table.input_channels
        _write_text(file, "created_by", table.created_by)
        for index, layer in enumerate(table.layers):
            _write_layer(file.create_group(f"layers/{index}"), layer)
    write_atomically(Path(path), buffer.getvalue())


def _write_layer(group: h5py.Group, layer: LayerTable) -> None:
    if isinstance(layer.source, str):
        _write_text(group, "source", layer.source)
    else:
        group.attrs["source"] = layer.source
    for name in ("n_pre", "n_post", "target", "min_delay", "max_delay"):
        group.attrs[name] = getattr(layer, name)
    group.attrs["weight_scale"] = float(layer.weight_scale)
    for name in ("pre", "post", "delay", "weight"):
        _write_array(group, name, getattr(layer.synapses, name))
    _write_array(group, "bias", layer.bias)
    neuron = group.create_group("neuron")
    _write_text(neuron, "model", layer.neuron.model)
    _write_text(neuron, "reset", layer.neuron.reset)
    if isinstance(layer.neuron, IntegerNeuronTable):
        neuron.attrs["decay_shift"] = layer.neuron.decay_shift
        neuron.attrs["weight_shift"] = layer.neuron.weight_shift
    for name in ("decay" if layer.integer else "beta", "v_threshold", "v_reset"):
        _write_array(neuron, name, getattr(layer.neuron, name))


def _write_text(group: h5py.Group, name: str, text: str) -> None:
    # Fixed length: HDF5 keeps strings of variable length in a heap without checksums, and may
    # search a damaged one for ever.
    content = text.encode("utf-8")
    group.attrs.create(name, content, dtype=h5py.string_dtype("utf-8", max(len(content), 1)))


def _write_array(group: h5py.Group, name: str, values: NDArray[np.generic]) -> None:
    if values.size == 0:  # HDF5 has no chunks of size 0, hence no filters either
        group.create_dataset(name, data=values)
        return
    group.create_dataset(name, data=values, compression="gzip", shuffle=True, fletcher32=True)


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
        raise UsageError(f"{path}: not a valid delay table: {_one_line(error)}") from error
    except _DAMAGE as error:
        raise UsageError(
            f"{path}: not a readable delay table (truncated, damaged or not HDF5): "
            f"{_one_line(error)}. Export it again."
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _read(file: h5py.File) -> DelayTable:
    if _text(file, "format") != FORMAT:
        raise UsageError(f"format must be {FORMAT!r}, got {_text(file, 'format')!r}.")
    version = _integer(file, "version")
    if version > VERSION:
        raise UsageError(
            f"version {version} is newer than the {VERSION} this program reads. Update snn-delays."
        )
    if version < 1:
        raise UsageError(f"version must be >= 1, got {version}.")
    names = _class_names(file)
    if len(names) != _integer(file, "n_classes"):
        raise UsageError(f"n_classes is {_integer(file, 'n_classes')}, class_names {len(names)}.")
    layers = _group(file, "layers")
    if set(layers) != {str(index) for index in range(len(layers))}:
        raise UsageError(f"/layers must hold 0, 1, … without a gap, got {', '.join(layers)}.")
    return DelayTable(
        layers=tuple(_read_layer(_group(layers, str(index))) for index in range(len(layers))),
        dt_ms=_number(file, "dt_ms"),
        class_names=names,
        readout=_text(file, "readout"),
        tail_steps=_integer(file, "tail_steps"),
        input_channels=_integer(file, "input_channels"),
        created_by=_text(file, "created_by"),
    )


def _read_layer(group: h5py.Group) -> LayerTable:
    try:
        return LayerTable(
            source=_source(group),
            target=_integer(group, "target"),
            n_pre=_integer(group, "n_pre"),
            n_post=_integer(group, "n_post"),
            min_delay=_integer(group, "min_delay"),
            max_delay=_integer(group, "max_delay"),
            synapses=SynapseTable(
                *(_array(group, name) for name in ("pre", "post", "delay", "weight"))
            ),
            bias=_array(group, "bias"),
            neuron=_read_neurons(_group(group, "neuron")),
            weight_scale=_number(group, "weight_scale"),
        )
    except UsageError as error:
        raise UsageError(f"{group.name}: {error}") from error


def _read_neurons(group: h5py.Group) -> NeuronTable | IntegerNeuronTable:
    model, reset = _text(group, "model"), _text(group, "reset")
    if model in INTEGER_RESETS:
        return IntegerNeuronTable(
            model,
            reset,
            *(_array(group, name) for name in ("decay", "v_threshold", "v_reset")),
            decay_shift=_integer(group, "decay_shift"),
            weight_shift=_integer(group, "weight_shift"),
        )
    arrays = (_array(group, name) for name in ("beta", "v_threshold", "v_reset"))
    return NeuronTable(model, reset, *arrays)


def _source(group: h5py.Group) -> Source:
    value = _attribute(group, "source")
    if value == "input":
        return "input"
    if not isinstance(value, np.integer):
        raise UsageError(f"source must be 'input' or a layer's index, got {value!r}.")
    return int(value)


def _class_names(file: h5py.File) -> tuple[str, ...]:
    try:
        names = json.loads(_text(file, "class_names"))
    except json.JSONDecodeError as error:
        raise UsageError(f"class_names must be a JSON list of strings: {error}.") from error
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise UsageError("class_names must be a JSON list of strings.")
    return tuple(names)


def _attribute(group: h5py.Group, name: str) -> Any:
    if name not in group.attrs:
        raise UsageError(f"attribute {name!r} is missing.")
    value = group.attrs[name]
    # Fixed-length strings come as bytes, those of variable length as str.
    return value.decode("utf-8") if isinstance(value, bytes) else value


def _text(group: h5py.Group, name: str) -> str:
    value = _attribute(group, name)
    if not isinstance(value, str):
        raise UsageError(f"attribute {name!r} must be a string, got {value!r}.")
    return value


def _integer(group: h5py.Group, name: str) -> int:
    value = _attribute(group, name)
    if not isinstance(value, np.integer):
        raise UsageError(f"attribute {name!r} must be an integer, got {value!r}.")
    return int(value)


def _number(group: h5py.Group, name: str) -> float:
    value = _attribute(group, name)
    if not isinstance(value, (np.integer, np.floating)):
        raise UsageError(f"attribute {name!r} must be a number, got {value!r}.")
    return float(value)


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    if name not in parent:
        raise UsageError(f"group {name!r} is missing.")
    member = parent[name]
    if not isinstance(member, h5py.Group):
        raise UsageError(f"{name!r} must be a group, got an array.")
    return member


def _array(group: h5py.Group, name: str) -> NDArray[Any]:
    if name not in group:
        raise UsageError(f"array {name!r} is missing.")
    member = group[name]
    if not isinstance(member, h5py.Dataset):
        raise UsageError(f"{name!r} must be an array, got a group.")
    if member.ndim != 1:
        raise UsageError(f"array {name!r} must be a vector, got shape {member.shape}.")
    values = member[()]
    # Another program may have written the other byte order; the numbers are the same.
    return values.astype(values.dtype.newbyteorder("="), copy=False)
