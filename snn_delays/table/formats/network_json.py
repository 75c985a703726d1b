"""What a network is apart from its arrays, as JSON: ``network.json``, and NIR graphs' metadata.

The header of ``table/schema``, and of every projection its ``weight_type`` too, since files of
other programs hold numbers of one kind, which become the table's again here; and how many
``synapses`` it has, since a file of text that was cut short reads as well as a whole one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.arguments import choice
from snn_delays.errors import UsageError, one_line
from snn_delays.files.atomic import write_atomically, writing
from snn_delays.table import schema
from snn_delays.table.models import model_named
from snn_delays.table.models.constants import single
from snn_delays.table.population import Population
from snn_delays.table.projection import WEIGHT_TYPES, Projection
from snn_delays.table.require import naming, require_within
from snn_delays.table.schema import VERSION, Header
from snn_delays.table.table import INPUT, DelayTable

HEADER_FILE = "network.json"
FORMAT = "snn-delays-network"
_WEIGHT_TYPES: dict[str, type[Any]] = {np.dtype(kind).name: kind for kind in WEIGHT_TYPES}

Float64 = NDArray[np.float64]
Values = Mapping[str, Float64]


def to_json(table: DelayTable) -> str:
    """A table without its arrays, as JSON text."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        **schema.network_header(table),
        "populations": {one.name: schema.header_of(table, one) for one in table.populations},
        "projections": {
            one.name: {
                **schema.header_of(table, one),
                "weight_type": one.weight.dtype.name,
                "synapses": len(one),
            }
            for one in table.projections
        },
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def from_json(text: str) -> Header:
    """Read what ``to_json`` gave; keys that version 2 does not name are ignored."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not readable JSON: {one_line(error)}.") from error
    if not isinstance(content, dict):
        raise UsageError(f"it must be a JSON object, got {type(content).__name__}.")
    header = schema.checked(content, FORMAT, weight_type="text", synapses="whole")
    for name, one in header["projections"].items():
        with naming(f"projection {name}"):
            choice("weight_type", one["weight_type"], tuple(_WEIGHT_TYPES))
    return header


def neuron_arrays(header: Header, name: str) -> tuple[str, ...]:
    """Names of the arrays that ``population`` takes."""
    return schema.population_arrays(model_named(header["populations"][name]["model"]))


def population(header: Header, name: str, values: Values) -> Population:
    """A population, from numbers of any kind."""
    integer = model_named(header["populations"][name]["model"]).integer
    kind = whole if integer else single
    return schema.population(header, name, lambda key: kind(key, values[key]))


def projection(header: Header, name: str, columns: Values) -> Projection:
    """A projection, from numbers of any kind.

    Args:
        columns: pre, post, delay in steps or ``delay_ms``, and as weight what one spike adds to
            the current, weight_scale included.
    """
    own = header["projections"][name]

    def array(key: str) -> Any:
        if key == "delay" and "delay_ms" in columns:
            steps = multiples("delay (ms)", columns["delay_ms"], "dt_ms", header["dt_ms"])
            return whole(key, steps)
        dtype = _WEIGHT_TYPES[own["weight_type"]]
        if key != "weight":
            return whole(key, columns[key])
        if dtype is np.float32:
            return single(key, columns[key])
        units = multiples(key, columns[key], "weight_scale", own["weight_scale"])
        return whole("weight / weight_scale", units, dtype)

    found = schema.projection(header, name, array)
    # As the table will, but of the file that the numbers are from.
    sizes = {key: one["size"] for key, one in header["populations"].items()}
    sizes[INPUT] = header["input_channels"]
    for key, end in (("pre", found.source), ("post", found.target)):
        most = sizes.get(end, schema.MAX_INTEGER) - 1
        require_within(f"projection {name}: {key}", getattr(found, key), 0, most)
    return found


@contextmanager
def header_last(table: DelayTable, folder: Path) -> Iterator[Path]:
    """Take an older ``network.json`` away first, and write the table's last; gives its path.

    A folder without it is not a network, so that a writer who is interrupted never leaves a
    mixture of two.
    """
    path = folder / HEADER_FILE
    with writing(path):
        path.unlink(missing_ok=True)
    yield path
    write_atomically(path, to_json(table).encode("utf-8"))


def read_text(path: Path, what: str) -> str:
    """The content of a text file."""
    try:
        if not path.is_file():
            raise UsageError(f"{path}: no such {what}. Export the network again.")
        return path.read_bytes().decode("utf-8-sig")  # as spreadsheets save it
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a readable {what}: {one_line(error)}.") from error


def read_network(
    folder: Path,
    populations: Callable[[Header, str], Population],
    projections: Callable[[Header, str], Projection],
) -> DelayTable:
    """The network of ``network.json`` and of parts that are read by header and name."""
    path, what = folder / HEADER_FILE, "network header"
    text = read_text(path, what)
    with valid(path, what):
        header = from_json(text)
    parts = (
        [populations(header, name) for name in header["populations"]],
        [projections(header, name) for name in header["projections"]],
    )
    with valid(path, what):
        for one in parts[1]:
            said = header["projections"][one.name]["synapses"]
            if len(one) != said:
                raise UsageError(
                    f"projection {one.name}: synapses is {said}, but there are {len(one)}. Export "
                    "the network again, or correct the number if you changed them."
                )
        return schema.network(header, *parts)


def valid(path: Path, what: str) -> Any:
    """Put the path of the file in front of what is wrong with it."""
    return naming(f"{path}: not a valid {what}")


def whole(name: str, values: Float64, dtype: type[np.integer] = np.int32) -> NDArray[Any]:
    """The values as integers."""
    limits = np.iinfo(dtype)
    with np.errstate(invalid="ignore"):
        bad = ~((values >= limits.min) & (values <= limits.max) & (values == np.rint(values)))
    if bad.any():
        raise UsageError(
            f"{name} must be whole numbers within {limits.min} … {limits.max}, "
            f"got {values[bad][0]} in row {int(bad.argmax())}."
        )
    return values.astype(dtype)


def multiples(name: str, values: Float64, unit_name: str, unit: float) -> Float64:
    """How many units each value is, as whole numbers.

    Numbers in single precision are still recognised up to 80,000 units.
    """
    with np.errstate(all="ignore"):
        units = values / unit
        nearest = np.rint(units)
        far = ~(np.abs(units - nearest) <= 5e-3)
    if far.any():
        row = int(far.argmax())
        raise UsageError(
            f"{name} must be a whole multiple of {unit_name} = {unit}, got {values[row]} "
            f"in row {row}."
        )
    return nearest
