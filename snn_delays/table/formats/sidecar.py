"""``network.json`` and ``neurons_0.csv``, …: what travels beside files that hold synapses only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from snn_delays.atomic import write_atomically
from snn_delays.errors import UsageError
from snn_delays.table.formats.columns import naming, parse_columns, read_text, write_columns
from snn_delays.table.formats.header import LayerHeader, NetworkHeader, header_of
from snn_delays.table.formats.header_json import from_json, to_json
from snn_delays.table.neuron_table import IntegerNeuronTable, NeuronTable
from snn_delays.table.table import DelayTable, LayerTable

HEADER_FILE = "network.json"


def remove_header(folder: Path) -> None:
    """Take an older network's header away before its other files are replaced.

    A folder without ``network.json`` is not a network, so that a writer who is interrupted
    never leaves a mixture of two.

    Raises:
        UsageError: the file system refuses.
    """
    try:
        (folder / HEADER_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot write {folder / HEADER_FILE}: {error.strerror}. "
            "Choose a folder that can be written to."
        ) from error


def write_header(table: DelayTable, folder: Path) -> Path:
    """Write ``network.json``, last of all files, and return its path.

    Raises:
        UsageError: the folder cannot be written to.
    """
    path = folder / HEADER_FILE
    write_atomically(path, to_json(header_of(table)).encode("utf-8"))
    return path


def read_header(folder: Path) -> NetworkHeader:
    """Read ``network.json``.

    Raises:
        UsageError: no such file, or not a header.
    """
    path = folder / HEADER_FILE
    text = read_text(path, "network header")
    with naming(path, "network header"):
        return from_json(text)


def write_neurons(table: DelayTable, folder: Path) -> list[Path]:
    """Write ``neurons_0.csv``, …, one row per neuron, and return their paths.

    Raises:
        UsageError: the folder cannot be written to.
    """
    paths = []
    for index, (header, layer) in enumerate(
        zip(header_of(table).layers, table.layers, strict=True)
    ):
        arrays = header.neuron_arrays(layer)
        paths.append(folder / f"neurons_{index}.csv")
        write_columns(paths[-1], ",".join(arrays), list(arrays.values()), ",")
    return paths


def read_neurons(
    folder: Path, index: int, header: LayerHeader
) -> tuple[NDArray[Any], NeuronTable | IntegerNeuronTable]:
    """Bias and neurons of a layer from ``neurons_<index>.csv``.

    Raises:
        UsageError: one line with the path: no such file, not numbers, out of range.
    """
    path = folder / f"neurons_{index}.csv"
    first, _, body = read_text(path, "neuron file").partition("\n")
    with naming(path, "neuron file"):
        names = [name.strip() for name in first.split(",")]
        return header.neurons(parse_columns(body, names, header.neuron_columns, ","))


def whole_network(header: NetworkHeader, layers: list[LayerTable], folder: Path) -> DelayTable:
    """The table of these layers.

    Raises:
        UsageError: layers that do not follow one another, with the header's path.
    """
    with naming(folder / HEADER_FILE, "network header"):
        return header.table(layers)
