"""A delay table on disk: ``delays.h5``, format version 2 (docs/table-format.md)."""

from __future__ import annotations

import io
import json
from pathlib import Path

import h5py

from snn_delays.atomic import write_atomically
from snn_delays.errors import UsageError
from snn_delays.hdf5.fields import (
    array,
    integer,
    number,
    subgroup,
    text,
    write_array,
    write_text,
)
from snn_delays.hdf5.opened import created, naming_group, opened
from snn_delays.table import schema
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection
from snn_delays.table.require import require_version
from snn_delays.table.table import DelayTable

FORMAT = "snn-delays-table"
VERSION = 2


def write_table(table: DelayTable, path: Path | str) -> None:
    """Write the table, all or nothing; the same table always gives the same bytes.

    Raises:
        UsageError: the path cannot be written to.
    """
    buffer = io.BytesIO()
    with created(buffer) as file:
        write_text(file, "format", FORMAT)
        file.attrs["version"] = VERSION
        _write(file, schema.network_header(table), {})
        for kind, parts in (("populations", table.populations), ("projections", table.projections)):
            group = file.create_group(kind)
            for one in parts:
                members = group.create_group(one.name)
                _write(members, schema.header_of(table, one), schema.arrays_of(one))
    write_atomically(Path(path), buffer.getvalue())


def _write(group: h5py.Group, header: schema.Header, arrays: schema.Arrays) -> None:
    for name, value in header.items():
        if isinstance(value, str):
            write_text(group, name, value)
        elif isinstance(value, int | float):
            group.attrs[name] = value
        else:
            write_text(group, name, json.dumps(value))
    for name, values in arrays.items():
        write_array(group, name, values)


def read_table(path: Path | str) -> DelayTable:
    """Read and check a table; attributes and members that version 2 does not name are ignored.

    Raises:
        UsageError: one line with the path: no such file, not a delay table, another version,
            truncated or damaged, a field missing or out of range.
    """
    with opened(Path(path), "delay table", "Write one with snn-delays-export.") as file:
        return _read(file)


def _read(file: h5py.File) -> DelayTable:
    if text(file, "format") != FORMAT:
        raise UsageError(f"format must be {FORMAT!r}, got {text(file, 'format')!r}.")
    require_version(integer(file, "version"), VERSION)
    populations, projections = subgroup(file, "populations"), subgroup(file, "projections")
    return schema.read_network(
        _fields(file),
        [_population(subgroup(populations, str(name))) for name in populations],
        [_projection(subgroup(projections, str(name))) for name in projections],
    )


def _population(group: h5py.Group) -> tuple[int, Population]:
    with naming_group(group):
        header = schema.population_fields(_fields(group))
        return schema.read_population(_own_name(group), header, lambda name: array(group, name))


def _projection(group: h5py.Group) -> Projection:
    with naming_group(group):
        header = schema.projection_fields(_fields(group))
        return schema.read_projection(_own_name(group), header, lambda name: array(group, name))


def _own_name(group: h5py.Group) -> str:
    return str(group.name).rpartition("/")[2]


def _fields(group: h5py.Group) -> schema.Field:
    readers = {"text": text, "whole": integer, "number": number, "names": _names}
    return lambda name, kind: readers[kind](group, name)


def _names(group: h5py.Group, name: str) -> tuple[str, ...]:
    try:
        names = json.loads(text(group, name))
    except json.JSONDecodeError as error:
        raise UsageError(f"{name} must be a JSON list of strings: {error}.") from error
    if not (isinstance(names, list) and all(isinstance(one, str) for one in names)):
        raise UsageError(f"{name} must be a JSON list of strings.")
    return tuple(names)
