"""A network as text: one CSV of synapses and one of neurons per layer, and ``network.json``."""

from __future__ import annotations

from pathlib import Path

from snn_delays.table.formats.columns import naming, parse_columns, read_text, write_columns
from snn_delays.table.formats.sidecar import (
    read_header,
    read_neurons,
    remove_header,
    whole_network,
    write_header,
    write_neurons,
)
from snn_delays.table.table import DelayTable, LayerTable

COLUMNS = ("pre", "post", "delay", "weight")
HEADER = ",".join(COLUMNS)


def write_csv(table: DelayTable, folder: Path | str) -> list[Path]:
    """Write ``layer_0.csv``, …, ``neurons_0.csv``, … and ``network.json``; return their paths.

    Columns ``pre,post,delay,weight``: delay in steps, weight as the current that one spike adds
    (weight_scale included), with as many digits as reading it back exactly takes.

    Raises:
        UsageError: the folder cannot be written to.
    """
    folder = Path(folder)
    remove_header(folder)
    paths = [folder / f"layer_{index}.csv" for index in range(len(table.layers))]
    for path, layer in zip(paths, table.layers, strict=True):
        rows = layer.synapses
        write_columns(path, HEADER, (rows.pre, rows.post, rows.delay, layer.current_weight), ",")
    return [*paths, *write_neurons(table, folder), write_header(table, folder)]


def read_csv(folder: Path | str) -> DelayTable:
    """Read what ``write_csv`` wrote: the same table, rows in the same order.

    Raises:
        UsageError: one line with the path of the file that is missing, damaged or out of range.
    """
    folder = Path(folder)
    header = read_header(folder)
    layers: list[LayerTable] = []
    for index, layer in enumerate(header.layers):
        bias, neuron = read_neurons(folder, index, layer)
        path = folder / f"layer_{index}.csv"
        first, _, body = read_text(path, "CSV layer").partition("\n")
        with naming(path, "CSV layer"):
            names = [name.strip() for name in first.split(",")]
            columns = parse_columns(body, names, COLUMNS, ",")
            synapses = layer.synapses(*(columns[name] for name in COLUMNS))
            layers.append(layer.layer(synapses, bias, neuron))
    return whole_network(header, layers, folder)
