"""A network as text: a CSV per projection and per population, and ``network.json``."""

from __future__ import annotations

from pathlib import Path

from snn_delays.table import schema
from snn_delays.table.formats.columns import parse_columns
from snn_delays.table.formats.sidecar import read_network, split_names, write_network
from snn_delays.table.projection import COLUMNS
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
