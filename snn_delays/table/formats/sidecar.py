"""A network as a folder of text: a file of rows per projection, and what travels beside it.

``network.json``, which SONATA has too, and one ``neurons_NAME.csv`` per population.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from snn_delays.atomic import write_atomically
from snn_delays.errors import UsageError
from snn_delays.table import schema
from snn_delays.table.formats.columns import Float64, parse_columns, read_text, valid, write_columns
from snn_delays.table.formats.network_json import NetworkJson, from_json, to_json
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection
from snn_delays.table.table import DelayTable

HEADER_FILE = "network.json"


def write_network(
    table: DelayTable,
    folder: Path,
    suffix: str,
    header: str,
    separator: str,
    columns: Callable[[Projection], Sequence[NDArray[Any]]],
) -> list[Path]:
    """Write ``PROJECTION<suffix>``, ``neurons_POPULATION.csv`` and ``network.json``.

    Returns:
        Their paths, in this order.
    """
    files = {folder / f"{one.name}{suffix}": one for one in table.projections}
    neurons = {_neuron_file(folder, one.name): one for one in table.populations}
    names = [path.name.lower() for path in (*files, *neurons)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"{folder}: two files would be called {twice[0]}. Rename the projection.")
    with header_last(table, folder) as last:
        for path, projection in files.items():
            write_columns(path, header, columns(projection), separator)
        for path, population in neurons.items():
            arrays = schema.arrays_of(population)
            write_columns(path, ",".join(arrays), list(arrays.values()), ",")
    return [*files, *neurons, last]


def read_network(
    folder: Path,
    suffix: str,
    what: str,
    columns: Callable[[str, str, NetworkJson], dict[str, Float64]],
) -> DelayTable:
    """Read what ``write_network`` wrote.

    Args:
        what: the kind of file, for messages.
        columns: makes the columns of ``NetworkJson.projection`` of a file's first line, its other
            lines and the header.
    """
    header = read_header(folder)
    populations: list[tuple[int, Population]] = []
    for name in header.populations:
        path = _neuron_file(folder, name)
        first, _, body = read_text(path, "neuron file").partition("\n")
        with valid(path, "neuron file"):
            wanted = header.population_arrays(name)
            values = parse_columns(body, split_names(first), wanted, ",")
            populations.append(header.population(name, values))
    projections: list[Projection] = []
    for name in header.projections:
        path = folder / f"{name}{suffix}"
        first, _, body = read_text(path, what).partition("\n")
        with valid(path, what):
            projections.append(header.projection(name, columns(first, body, header)))
    return whole_network(header, populations, projections, folder)


def _neuron_file(folder: Path, name: str) -> Path:
    return folder / f"neurons_{name}.csv"


def split_names(line: str) -> list[str]:
    """The names in a line of them."""
    return [name.strip() for name in line.split(",")]


@contextmanager
def header_last(table: DelayTable, folder: Path) -> Iterator[Path]:
    """Take an older ``network.json`` away first, and write the table's last; gives its path.

    A folder without it is not a network, so that a writer who is interrupted never leaves a
    mixture of two.
    """
    path = folder / HEADER_FILE
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}. Choose a folder that can be written to."
        ) from error
    yield path
    write_atomically(path, to_json(table).encode("utf-8"))


def read_header(folder: Path) -> NetworkJson:
    """Read ``network.json``."""
    path = folder / HEADER_FILE
    text = read_text(path, "network header")
    with valid(path, "network header"):
        return from_json(text)


def whole_network(
    header: NetworkJson,
    populations: Sequence[tuple[int, Population]],
    projections: Sequence[Projection],
    folder: Path,
) -> DelayTable:
    """The table of these parts."""
    with valid(folder / HEADER_FILE, "network header"):
        return header.table(populations, projections)
