"""delays.h5 as plain numbers and arrays; what they mean is in docs/table-format.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from reference import float_neurons, refuse


def read(path: Path) -> dict[str, Any]:
    """dt_ms, class_names, readout, tail_steps, input_channels, ``populations``, ``projections``.

    Both by name, populations in the order of a step. A population has model, size, per neuron bias
    and beta, and if it spikes reset, v_threshold and v_reset. A projection has source, target, and
    per synapse pre, post, delay (steps) and weight (float64, weight_scale included).
    """
    if not h5py.is_hdf5(path):
        refuse(f"{path} is not HDF5. Give the delays.h5 that snn-delays-export writes.")
    with h5py.File(path, "r") as file:
        table = _attributes(file)
        table["class_names"] = json.loads(table["class_names"])
        populations = [(name, _group(group)) for name, group in _members(file, "populations")]
        populations.sort(key=lambda one: one[1]["order"])
        table["populations"] = dict(populations)
        table["projections"] = {
            name: _group(group) for name, group in _members(file, "projections")
        }
    for one in table["projections"].values():
        one["weight"] = one["weight"] * one["weight_scale"]
    float_neurons(table)
    return table


def _members(file: Any, name: str) -> Any:
    return file[name].items()


def _group(group: Any) -> dict[str, Any]:
    arrays = {name: array[:] for name, array in group.items()}
    return _attributes(group) | {
        name: array.astype(np.int64 if name in ("pre", "post", "delay") else float)
        for name, array in arrays.items()
    }


def _attributes(group: Any) -> dict[str, Any]:
    return {
        name: value.decode() if isinstance(value, bytes) else value.item()
        for name, value in group.attrs.items()
    }
