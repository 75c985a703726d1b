"""A network as text: a CSV per projection and per population, and ``network.json``.

``write_network`` and ``read_network`` serve every format of one file of rows per projection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table import schema
from snn_delays.table.formats.columns import Float64, parse_columns, read_text, valid, write_columns
from snn_delays.table.formats.network_json import (
    NetworkJson,
    header_last,
    read_header,
    whole_network,
)
from snn_delays.table.projection import COLUMNS, Projection
from snn_delays.table.table import DelayTable


def write_csv(table: DelayTable, folder: Path | str) -> list[Path]:
    """Write ``PROJECTION.csv``, ``neurons_POPULATION.csv`` and ``network.json``, and say where.

    Columns ``pre,post,delay,weight``: delay in steps, weight as the current that one spike adds
    (weight_scale included), with as many digits as reading it back exactly takes.

    Raises:
        UsageError: the folder cannot be written to.
    """
    return write_network(
        *(table, Path(folder), ".csv", ",".join(COLUMNS), ","),
        lambda one: list({**schema.arrays_of(one), "weight": one.current_weight}.values()),
    )


def read_csv(folder: Path | str) -> DelayTable:
    """Read what ``write_csv`` wrote: the same table, rows in the same order.

    Raises:
        UsageError: one line with the path of the file that is missing, damaged or out of range.
    """
    return read_network(
        *(Path(folder), ".csv", "CSV projection"),
        lambda first, body, _: parse_columns(body, split_names(first), COLUMNS, ","),
    )


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
    populations, projections = [], []
    for name in header.populations:
        path = _neuron_file(folder, name)
        first, _, body = read_text(path, "neuron file").partition("\n")
        with valid(path, "neuron file"):
            wanted = header.population_arrays(name)
            values = parse_columns(body, split_names(first), wanted, ",")
            populations.append(header.population(name, values))
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
