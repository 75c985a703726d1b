"""What a delay table consists of, said once: files, JSON and equality all follow from here.

A table is taken apart into a header of plain values and arrays:

    {NETWORK…, "populations": {name: {POPULATION…, scalars}}, "projections": {name: {PROJECTION…}}}
    "populations/NAME/bias", "populations/NAME/PARAMETER", "projections/NAME/COLUMN"
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.models import Model, model_named
from snn_delays.table.population import NAME, Population
from snn_delays.table.projection import COLUMNS, Projection
from snn_delays.table.require import naming
from snn_delays.table.table import DelayTable

VERSION = 2  # of the file format, with whatever holds it
MAX_INTEGER = 2**53  # whole numbers that every JSON reader holds exactly

# Name → kind of value: "text", "whole", "number" or "names" (a list of texts).
NETWORK = {
    "dt_ms": "number",
    "class_names": "names",
    "readout": "text",
    "tail_steps": "whole",
    "input_channels": "whole",
    "created_by": "text",
}
POPULATION = {"model": "text", "size": "whole", "order": "whole"}
PROJECTION = {
    "source": "text",
    "target": "text",
    "min_delay": "whole",
    "max_delay": "whole",
    "weight_scale": "number",
}

Header = dict[str, Any]
Arrays = dict[str, NDArray[Any]]
# array(name) → the array of that name; refuses one that is missing.
Array = Callable[[str], NDArray[Any]]


def scalar_kinds(model: Model) -> dict[str, str]:
    """The kinds of a model's scalars, by name."""
    return {one.name: "text" if one.choices else "whole" for one in model.scalars}


def population_arrays(model: Model) -> tuple[str, ...]:
    """Names of the arrays with one number per neuron."""
    return ("bias", *(one.name for one in model.parameters))


def network_header(table: DelayTable) -> Header:
    """The values of ``NETWORK``."""
    return {name: getattr(table, name) for name in NETWORK}


def header_of(table: DelayTable, part: Population | Projection) -> Header:
    """The values of ``PROJECTION``, or of ``POPULATION`` and the model's scalars."""
    if isinstance(part, Projection):
        return {name: getattr(part, name) for name in PROJECTION}
    own = {"model": part.model.name, "size": part.size, "order": table.order[part.name]}
    return own | {name: part.scalars[name] for name in scalar_kinds(part.model)}


def arrays_of(part: Population | Projection) -> Arrays:
    """The arrays of a population or of a projection, by name."""
    if isinstance(part, Projection):
        return {name: getattr(part, name) for name in COLUMNS}
    arrays = {"bias": part.bias, **part.parameters}
    return {name: arrays[name] for name in population_arrays(part.model)}


def checked(content: Mapping[str, Any], file_format: str, **more: str) -> Header:
    """The header that a file holds; what it holds besides is ignored.

    Args:
        more: further fields of projections, and their kinds.
    """
    if content.get("format") != file_format:
        raise UsageError(f"format must be {file_format!r}, got {content.get('format')!r:.60}.")
    version = _field(content, "version", "whole")
    if version > VERSION:
        raise UsageError(
            f"version {version} is newer than the {VERSION} this program reads. Update snn-delays."
        )
    if version < VERSION:
        raise UsageError(f"version must be {VERSION}, got {version}. Export the network again.")
    found: Header = {name: _field(content, name, kind) for name, kind in NETWORK.items()}
    for part in ("populations", "projections"):
        found[part], members = {}, _field(content, part, "object")
        for name in members:
            if not NAME.fullmatch(name):
                raise UsageError(
                    f"names of {part} must be letters, digits and _; got {name!r:.60}."
                )
            fields = _field(members, name, "object")
            with naming(f"{part[:-1]} {name:.60}"):
                kinds = PROJECTION | more
                if part == "populations":
                    model = model_named(_field(fields, "model", "text"))
                    kinds = POPULATION | scalar_kinds(model)
                found[part][name] = {key: _field(fields, key, kind) for key, kind in kinds.items()}
    return found


def population(header: Header, name: str, array: Array) -> Population:
    """A population of a header and its arrays."""
    with naming(f"population {name}"):
        own = header["populations"][name]
        model = model_named(own["model"])
        found = {key: array(key) for key in population_arrays(model)}
        bias, scalars = found.pop("bias"), {key: own[key] for key in scalar_kinds(model)}
        population = Population(name, model, bias, found, scalars)
        if population.size != own["size"]:
            raise UsageError(f"size is {own['size']}, but there are {population.size} values.")
        return population


def projection(header: Header, name: str, array: Array) -> Projection:
    """A projection of a header and its arrays."""
    with naming(f"projection {name}"):
        fields: dict[str, Any] = {key: header["projections"][name][key] for key in PROJECTION}
        fields |= {key: array(key) for key in COLUMNS}
        return Projection(name=name, **fields)


def network(
    header: Header, populations: Iterable[Population], projections: Iterable[Projection]
) -> DelayTable:
    """The table of a header and its parts."""
    order = {name: one["order"] for name, one in header["populations"].items()}
    if sorted(order.values()) != list(range(len(order))):
        raise UsageError(
            f"the order of populations must be 0, 1, … once each, got {sorted(order.values())}."
        )
    return DelayTable(
        populations=tuple(sorted(populations, key=lambda one: order[one.name])),
        projections=tuple(projections),
        **{name: header[name] for name in NETWORK},
    )


def _field(content: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in content:
        raise UsageError(f"{name!r} is missing.")
    value = content[name]
    what, fits = _KINDS[kind]
    if not fits(value):
        raise UsageError(f"{name!r} must be {what}, got {value!r:.60}.")
    return {"number": float, "names": tuple}.get(kind, lambda same: same)(value)


def _is_text(value: Any) -> bool:
    # JSON can spell half a character, which no file can hold.
    return isinstance(value, str) and not any("\ud800" <= one <= "\udfff" for one in value)


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) <= MAX_INTEGER


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (type(value) is float and math.isfinite(value))


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a string", _is_text),
    "whole": ("an integer", _is_whole),
    "number": ("a finite number", _is_number),
    "names": ("a list of strings", lambda one: isinstance(one, list) and all(map(_is_text, one))),
    "object": ("an object", lambda one: isinstance(one, dict)),
}
