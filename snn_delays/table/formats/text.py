"""A network as text: a file per projection, CSV or PyNN's, one per population, ``network.json``.

    Projection(pre, post, FromFileConnector("input_to_hidden0.txt"), StaticSynapse())

PyNN's columns ``i j weight delay``: i is the index in the presynaptic population, j in the
postsynaptic one, the delay is in ms.

Reference:
    PyNN 0.13, ``pyNN.connectors.FromFileConnector``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.files.atomic import write_atomically
from snn_delays.table import schema
from snn_delays.table.formats.network_json import (
    Values,
    header_last,
    neuron_arrays,
    population,
    projection,
    read_network,
    read_text,
    valid,
)
from snn_delays.table.population import Population
from snn_delays.table.projection import COLUMNS, Projection
from snn_delays.table.table import DelayTable

_PYNN = '# columns = ["i", "j", "weight", "delay"]'


def write_csv(table: DelayTable, folder: Path | str) -> list[Path]:
    """Write ``PROJECTION.csv``, ``neurons_POPULATION.csv`` and ``network.json``, and say where.

    Columns ``pre,post,delay,weight``: delay in steps, weight as the current that one spike adds
    (weight_scale included), with as many digits as reading it back exactly takes.

    Raises:
        UsageError: the folder cannot be written to.
    """

    def columns(one: Projection) -> Sequence[NDArray[Any]]:
        return one.pre, one.post, one.delay, one.current_weight

    return _write(table, Path(folder), ".csv", ",".join(COLUMNS), ",", columns)


def write_pynn(table: DelayTable, folder: Path | str) -> list[Path]:
    """Write ``PROJECTION.txt``, ``neurons_POPULATION.csv`` and ``network.json``, and say where.

    Raises:
        UsageError: the folder cannot be written to.
    """

    def columns(one: Projection) -> Sequence[NDArray[Any]]:
        return one.pre, one.post, one.current_weight, one.delay.astype(np.float64) * table.dt_ms

    return _write(table, Path(folder), ".txt", _PYNN, "\t", columns)


def read_csv(folder: Path | str) -> DelayTable:
    """Read what ``write_csv`` wrote: the same table, rows in the same order.

    Raises:
        UsageError: one line with the path of the file that is missing, damaged or out of range.
    """
    return _read(Path(folder), ".csv", "CSV projection")


def read_pynn(folder: Path | str) -> DelayTable:
    """Read what ``write_pynn`` wrote: the same table, rows in the same order.

    Raises:
        UsageError: one line with the path of the file that is missing, damaged or out of range,
            or whose delays are not whole multiples of dt_ms.
    """
    return _read(Path(folder), ".txt", "PyNN projection")


def _write(
    table: DelayTable, folder: Path, suffix: str, header: str, separator: str, columns: Any
) -> list[Path]:
    files = {f"{one.name}{suffix}": one for one in table.projections}
    neurons = {f"neurons_{one.name}.csv": one for one in table.populations}
    names = [name.lower() for name in (*files, *neurons)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"{folder}: two files would be called {twice[0]}. Rename the projection.")
    with header_last(table, folder) as last:
        for name, one in files.items():
            _write_columns(folder / name, header, columns(one), separator)
        for name, one in neurons.items():
            arrays = schema.arrays_of(one)
            _write_columns(folder / name, ",".join(arrays), list(arrays.values()), ",")
    return [*(folder / name for name in (*files, *neurons)), last]


def _write_columns(
    path: Path, header: str, columns: Sequence[NDArray[Any]], separator: str
) -> None:
    # str() of a NumPy float is the shortest decimal that reads back as the same float.
    texts = (
        map(str, one.tolist()) if one.dtype.kind == "i" else one.astype(str).tolist()
        for one in columns
    )
    rows = map(separator.join, zip(*texts, strict=True))
    write_atomically(path, "\n".join([header, *rows, ""]).encode("ascii"))


def _read(folder: Path, suffix: str, what: str) -> DelayTable:
    def neurons(header: schema.Header, name: str) -> Population:
        path = folder / f"neurons_{name}.csv"
        first, _, body = read_text(path, "neuron file").partition("\n")
        with valid(path, "neuron file"):
            values = _columns(body, first.split(","), neuron_arrays(header, name), ",")
            return population(header, name, values)

    def synapses(header: schema.Header, name: str) -> Projection:
        path = folder / f"{name}{suffix}"
        first, _, body = read_text(path, what).partition("\n")
        with valid(path, what):
            if suffix == ".csv":
                columns = _columns(body, first.split(","), COLUMNS, ",")
            else:
                columns = _pynn_columns(first.strip(), body)
            return projection(header, name, columns)

    return read_network(folder, neurons, synapses)


def _pynn_columns(first: str, body: str) -> Values:
    found = re.fullmatch(r"#\s*columns\s*=\s*[\[(](.*)[\])]", first)
    if found is None:
        raise UsageError(f"the first line must be {_PYNN}, got {first[:60]!r}.")
    names = [name.strip(" \t\"'") for name in found[1].split(",")]
    columns = _columns(body, names, ("i", "j", "delay", "weight"), None)
    return dict(zip(("pre", "post", "delay_ms", "weight"), columns.values(), strict=True))


def _columns(
    body: str, names: Sequence[str], expected: Sequence[str], separator: str | None
) -> Values:
    """The expected columns, float64 ``[rows]`` each; columns of other names are ignored.

    Args:
        body: the lines below the one with ``names``.
        separator: None for any run of blanks.
    """
    names = [name.strip() for name in names]
    if not set(expected) <= set(names) or len(set(names)) != len(names):
        raise UsageError(f"columns must be {', '.join(expected)}; got {','.join(names)[:60]!r}.")
    rows = []
    for number, line in enumerate(body.split("\n"), start=2):
        fields = line.split(separator)
        try:
            # Python's numbers may have _ between digits, those of files may not.
            if len(fields) != len(names) or "_" in line:
                raise ValueError
            rows.append([float(field) for field in fields])
        except ValueError as error:
            if line.strip():
                raise UsageError(
                    f"line {number} must be {len(names)} numbers, got {line[:60]!r}."
                ) from error
    values = np.array(rows, np.float64).reshape(len(rows), len(names))
    return {name: values[:, names.index(name)].copy() for name in expected}
