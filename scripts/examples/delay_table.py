"""delays.h5 as plain numbers and arrays; what they mean is in docs/table-format.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from reference import refuse


def read(path: Path) -> dict[str, Any]:
    """dt_ms, class_names, readout, tail_steps, input_channels and the list ``layers``.

    A layer has n_pre, n_post, model, reset, the synapses' pre, post, delay (steps) and weight
    (float64, weight_scale included), and per neuron bias, beta, v_threshold and v_reset.
    """
    if not h5py.is_hdf5(path):
        refuse(f"{path} is not HDF5. Give the delays.h5 that snn-delays-export writes.")
    with h5py.File(path, "r") as file:
        return _network(file)


def _network(file: Any) -> dict[str, Any]:
    table = _attributes(file)
    table["class_names"] = json.loads(table["class_names"])
    table["layers"] = [
        _layer(index, file[f"layers/{index}"]) for index in range(len(file["layers"]))
    ]
    return table


def _attributes(group: Any) -> dict[str, Any]:
    return {
        name: value.decode() if isinstance(value, bytes) else value.item()
        for name, value in group.attrs.items()
    }


def _layer(index: int, group: Any) -> dict[str, Any]:
    neuron = group["neuron"]
    layer = _attributes(group) | _attributes(neuron)
    if layer["model"] not in ("LIF", "LI"):
        refuse(f"layer {index}: {layer['model']} neurons are for chips; export float neurons.")
    layer |= {name: group[name][:].astype(np.int64) for name in ("pre", "post", "delay")}
    layer["weight"] = group["weight"][:].astype(float) * layer["weight_scale"]
    layer["bias"] = group["bias"][:].astype(float)
    for name in ("beta", "v_threshold", "v_reset"):
        layer[name] = neuron[name][:].astype(float)
    return layer
