"""A network for PyNN: one list of connections per layer, as its ``FromFileConnector`` reads.

    Projection(pre, post, FromFileConnector("layer_0.txt"), StaticSynapse())

Columns ``i j weight delay``: i is the index in the presynaptic population, j in the postsynaptic
one, the delay is in ms.

Reference:
    PyNN 0.13, ``pyNN.connectors.FromFileConnector``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from snn_delays.errors import UsageError
from snn_delays.table.formats.columns import (
    multiples,
    naming,
    parse_columns,
    read_text,
    write_columns,
)
from snn_delays.table.formats.sidecar import (
    read_header,
    read_neurons,
    remove_header,
    whole_network,
    write_header,
    write_neurons,
)
from snn_delays.table.table import DelayTable, LayerTable

COLUMNS = ("i", "j", "weight", "delay")
HEADER = '# columns = ["i", "j", "weight", "delay"]'
_HEADER = re.compile(r"#\s*columns\s*=\s*[\[(](.*)[\])]\s*")


def write_pynn(table: DelayTable, folder: Path | str) -> list[Path]:
    """Write ``layer_0.txt``, …, ``neurons_0.csv``, … and ``network.json``; return their paths.

    Raises:
        UsageError: the folder cannot be written to.
    """
    folder = Path(folder)
    remove_header(folder)
    paths = [folder / f"layer_{index}.txt" for index in range(len(table.layers))]
    for path, layer in zip(paths, table.layers, strict=True):
        rows = layer.synapses
        delay_ms = rows.delay.astype(np.float64) * table.dt_ms
        write_columns(path, HEADER, (rows.pre, rows.post, layer.current_weight, delay_ms), "\t")
    return [*paths, *write_neurons(table, folder), write_header(table, folder)]


def read_pynn(folder: Path | str) -> DelayTable:
    """Read what ``write_pynn`` wrote: the same table, rows in the same order.

    Raises:
        UsageError: one line with the path of the file that is missing, damaged or out of range,
            or whose delays are not whole multiples of dt_ms.
    """
    folder = Path(folder)
    header = read_header(folder)
    layers: list[LayerTable] = []
    for index, layer in enumerate(header.layers):
        bias, neuron = read_neurons(folder, index, layer)
        path = folder / f"layer_{index}.txt"
        first, _, body = read_text(path, "PyNN layer").partition("\n")
        with naming(path, "PyNN layer"):
            columns = parse_columns(body, _names(first), COLUMNS, None)
            delay = multiples("delay (ms)", columns["delay"], "dt_ms", header.dt_ms)
            synapses = layer.synapses(columns["i"], columns["j"], delay, columns["weight"])
            layers.append(layer.layer(synapses, bias, neuron))
    return whole_network(header, layers, folder)


def _names(line: str) -> list[str]:
    found = _HEADER.fullmatch(line.strip())
    if found is None:
        raise UsageError(f"the first line must be {HEADER}, got {line[:60]!r}.")
    return [name.strip().strip("\"'") for name in found[1].split(",")]
