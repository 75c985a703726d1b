"""What a network is apart from its arrays, as JSON: ``network.json``, and NIR graphs' metadata.

The header of ``table/schema``, and of every projection its ``weight_type`` too: files of other
programs hold numbers of one kind, which become the table's again here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from snn_delays.atomic import write_atomically
from snn_delays.errors import UsageError, one_line
from snn_delays.table import schema
from snn_delays.table.formats.columns import Float64, multiples, read_text, single, valid, whole
from snn_delays.table.models import model_named
from snn_delays.table.population import NAME, Population
from snn_delays.table.projection import WEIGHT_TYPES, Projection
from snn_delays.table.require import naming, require_member, require_version, require_within
from snn_delays.table.table import INPUT, DelayTable

HEADER_FILE = "network.json"
FORMAT = "snn-delays-network"
VERSION = 2
MAX_INTEGER = 2**53  # whole numbers that every JSON reader holds exactly
_WEIGHT_TYPES: dict[str, type[Any]] = {np.dtype(kind).name: kind for kind in WEIGHT_TYPES}


@dataclass(frozen=True)
class NetworkJson:
    """A network without its arrays.

    Args:
        network: the fields of ``schema.NETWORK``.
        populations, projections: by name, the fields of ``schema`` of each.
    """

    network: schema.Header
    populations: dict[str, schema.Header]
    projections: dict[str, schema.Header]

    def population_arrays(self, name: str) -> tuple[str, ...]:
        """Names of the arrays that ``population`` takes."""
        return schema.population_arrays(model_named(self.populations[name]["model"]))

    def population(self, name: str, values: Mapping[str, Float64]) -> tuple[int, Population]:
        """A population and its order, from numbers of any kind."""
        header = self.populations[name]
        integer = model_named(header["model"]).integer

        def array(key: str) -> Any:
            return whole(key, values[key]) if integer else single(values[key])

        return schema.read_population(name, header, array)

    def projection(self, name: str, columns: Mapping[str, Float64]) -> Projection:
        """A projection, from numbers of any kind.

        Args:
            columns: pre, post, delay in steps, and as weight what one spike adds to the current,
                weight_scale included.
        """
        header = self.projections[name]

        def array(key: str) -> Any:
            return _weight(header, columns[key]) if key == "weight" else whole(key, columns[key])

        found = schema.read_projection(name, header, array)
        sizes = {INPUT: self.network["input_channels"]}
        sizes |= {key: one["size"] for key, one in self.populations.items()}
        # As the table will, but of the file that the numbers are from.
        for key, end in (("pre", found.source), ("post", found.target)):
            most = sizes.get(end, MAX_INTEGER) - 1
            require_within(f"projection {name}: {key}", getattr(found, key), 0, most)
        return found

    def table(
        self, populations: Sequence[tuple[int, Population]], projections: Sequence[Projection]
    ) -> DelayTable:
        """The whole network."""
        return schema.read_network(lambda name, _: self.network[name], populations, projections)


def to_json(table: DelayTable) -> str:
    """A table without its arrays, as JSON text."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        **schema.network_header(table),
        "populations": {one.name: schema.header_of(table, one) for one in table.populations},
        "projections": {
            one.name: {**schema.header_of(table, one), "weight_type": one.weight.dtype.name}
            for one in table.projections
        },
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def from_json(text: str) -> NetworkJson:
    """Read what ``to_json`` gave; keys that version 2 does not name are ignored."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not readable JSON: {one_line(error)}.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        got = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise UsageError(f"format must be {FORMAT!r}, got {got!r:.60}.")
    require_version(_value(content, "version", "whole"), VERSION)
    return NetworkJson(
        {name: _value(content, name, kind) for name, kind in schema.NETWORK.items()},
        _parts(content, "populations", schema.population_fields),
        _parts(content, "projections", _projection_fields),
    )


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


def _parts(content: dict[str, Any], kind: str, read: Any) -> dict[str, schema.Header]:
    found, members = {}, _value(content, kind, "object")
    for name in members:
        if not NAME.fullmatch(name):
            raise UsageError(f"names of {kind} must be letters, digits and _; got {name!r:.60}.")
        with naming(f"{kind[:-1]} {name:.60}"):
            found[name] = read(partial(_value, _value(members, name, "object")))
    return found


def _projection_fields(field: schema.Field) -> schema.Header:
    weight_type = field("weight_type", "text")
    require_member("weight_type", weight_type, tuple(_WEIGHT_TYPES))
    return {**schema.projection_fields(field), "weight_type": weight_type}


def _weight(header: schema.Header, current: Float64) -> Any:
    dtype = _WEIGHT_TYPES[header["weight_type"]]
    if dtype is np.float32:
        return single(current)
    units = multiples("weight", current, "weight_scale", header["weight_scale"])
    return whole("weight / weight_scale", units, dtype)


def _value(content: dict[str, Any], name: str, kind: str) -> Any:
    """A field of ``schema``'s kinds, or an ``"object"``."""
    if name not in content:
        raise UsageError(f"{name!r} is missing.")
    value = content[name]
    what, is_one = _KINDS[kind]
    if not is_one(value):
        raise UsageError(f"{name!r} must be {what}, got {value!r:.60}.")
    return {"number": float, "names": tuple}.get(kind, lambda same: same)(value)


def _is_text(value: Any) -> bool:
    # JSON can spell half a character, which no file can hold.
    return isinstance(value, str) and not any("\ud800" <= one <= "\udfff" for one in value)


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) <= MAX_INTEGER


_KINDS = {
    "text": ("a string", _is_text),
    "whole": ("an integer", _is_whole),
    "number": (
        "a finite number",
        lambda one: _is_whole(one) or (type(one) is float and math.isfinite(one)),
    ),
    "names": ("a list of strings", lambda one: isinstance(one, list) and all(map(_is_text, one))),
    "object": ("an object", lambda one: isinstance(one, dict)),
}
