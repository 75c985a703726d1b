"""A network for PyNN: one list of connections per projection, as its ``FromFileConnector`` reads.

    Projection(pre, post, FromFileConnector("input_to_hidden0.txt"), StaticSynapse())

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
from snn_delays.table.formats.columns import Float64, multiples, parse_columns
from snn_delays.table.formats.csv import read_network, split_names, write_network
from snn_delays.table.formats.network_json import NetworkJson
from snn_delays.table.table import DelayTable

COLUMNS = ("i", "j", "weight", "delay")
HEADER = '# columns = ["i", "j", "weight", "delay"]'
_HEADER = re.compile(r"#\s*columns\s*=\s*[\[(](.*)[\])]\s*")


def write_pynn(table: DelayTable, folder: Path | str) -> list[Path]:
    """Write ``PROJECTION.txt``, ``neurons_POPULATION.csv`` and ``network.json``, and say where.

    Raises:
        UsageError: the folder cannot be written to.
    """
    return write_network(
        *(table, Path(folder), ".txt", HEADER, "\t"),
        lambda one: (
            *(one.pre, one.post, one.current_weight),
            one.delay.astype(np.float64) * table.dt_ms,
        ),
    )


def read_pynn(folder: Path | str) -> DelayTable:
    """Read what ``write_pynn`` wrote: the same table, rows in the same order.

    Raises:
        UsageError: one line with the path of the file that is missing, damaged or out of range,
            or whose delays are not whole multiples of dt_ms.
    """
    return read_network(Path(folder), ".txt", "PyNN projection", _columns)


def _columns(first: str, body: str, header: NetworkJson) -> dict[str, Float64]:
    found = _HEADER.fullmatch(first.strip())
    if found is None:
        raise UsageError(f"the first line must be {HEADER}, got {first[:60]!r}.")
    names = [name.strip("\"'") for name in split_names(found[1])]
    pre, post, weight, delay_ms = parse_columns(body, names, COLUMNS, None).values()
    delay = multiples("delay (ms)", delay_ms, "dt_ms", header.network["dt_ms"])
    return {"pre": pre, "post": post, "delay": delay, "weight": weight}
