"""A delay table on disk: ``delays.h5``, format version 2 (docs/table-format.md)."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import h5py

from snn_delays.arguments import require
from snn_delays.files.atomic import write_atomically
from snn_delays.files.hdf5 import (
    array,
    attributes,
    created,
    opened,
    subgroup,
    write_array,
    write_text,
)
from snn_delays.table import schema
from snn_delays.table.schema import VERSION
from snn_delays.table.table import DelayTable

FORMAT = "snn-delays-table"


def write_table(table: DelayTable, path: Path | str) -> None:
    """Write the table, all or nothing; the same table always gives the same bytes.

    Raises:
        UsageError: the path cannot be written to.
    """

    def fill(file: h5py.File) -> None:
        header = {"format": FORMAT, "version": VERSION, **schema.network_header(table)}
        _write(file, header, {})
        for kind in ("populations", "projections"):
            group = file.create_group(kind)
            for one in getattr(table, kind):
                header, arrays = schema.header_of(table, one), schema.arrays_of(one)
                _write(group.create_group(one.name), header, arrays)

    write_atomically(Path(path), created(fill))


def _write(group: h5py.Group, header: schema.Header, arrays: schema.Arrays) -> None:
    for name, value in header.items():
        if isinstance(value, int | float):
            group.attrs[name] = value
        else:
            write_text(group, name, value if isinstance(value, str) else json.dumps(value))
    for name, values in arrays.items():
        write_array(group, name, values)


def read_table(path: Path | str) -> DelayTable:
    """Read and check a table; attributes and members that version 2 does not name are ignored.

    Raises:
        UsageError: one line with the path: no such file, not a delay table, another version,
            truncated or damaged, a field missing or out of range.
    """
    require(isinstance(path, str | os.PathLike), "read_table: path", "be a path", path)
    with opened(Path(path), "delay table", "Write one with snn-delays-export.") as file:
        content: dict[str, Any] = attributes(file)
        if isinstance(names := content.get("class_names"), str):
            content["class_names"] = _from_json(names)
        parts = {}
        for kind in ("populations", "projections"):
            group = subgroup(file, kind)
            parts[kind] = {name: subgroup(group, name) for name in map(str, group)}
            content[kind] = {name: attributes(one) for name, one in parts[kind].items()}
        header = schema.checked(content, FORMAT)
        return schema.network(
            header,
            [schema.population(header, name, partial(array, one))
             for name, one in parts["populations"].items()],
            [schema.projection(header, name, partial(array, one))
             for name, one in parts["projections"].items()],
        )  # fmt: skip


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text  # which is no list, and refused as such
