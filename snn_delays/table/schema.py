"""What a delay table consists of, said once: files, JSON and equality all follow from here.

A table is taken apart into a header of plain values and arrays:

    {NETWORK…, "populations": {name: {POPULATION…, scalars}}, "projections": {name: {PROJECTION…}}}
    "populations/NAME/bias", "populations/NAME/PARAMETER", "projections/NAME/COLUMN"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.models import Model, model_named
from snn_delays.table.population import Population
from snn_delays.table.projection import COLUMNS, Projection
from snn_delays.table.table import DelayTable

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
# field(name, kind) → the value of a header's field; refuses one that is missing or of other kind.
Field = Callable[[str, str], Any]
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
    return {name: _plain(getattr(table, name)) for name in NETWORK}


def header_of(table: DelayTable, part: Population | Projection) -> Header:
    """The values of ``PROJECTION``, or of ``POPULATION`` and the model's scalars."""
    if isinstance(part, Projection):
        return {name: _plain(getattr(part, name)) for name in PROJECTION}
    own = {"model": part.model.name, "size": part.size, "order": table.order[part.name]}
    return own | {name: _plain(part.scalars[name]) for name in scalar_kinds(part.model)}


def arrays_of(part: Population | Projection) -> Arrays:
    """The arrays of a population or of a projection, by name."""
    if isinstance(part, Projection):
        return {name: getattr(part, name) for name in COLUMNS}
    arrays = {"bias": part.bias, **part.parameters}
    return {name: arrays[name] for name in population_arrays(part.model)}


def population_fields(field: Field) -> Header:
    """A population's header, from whatever holds it."""
    kinds = POPULATION | scalar_kinds(model_named(field("model", "text")))
    return {name: field(name, kind) for name, kind in kinds.items()}


def projection_fields(field: Field) -> Header:
    """A projection's header, from whatever holds it."""
    return {name: field(name, kind) for name, kind in PROJECTION.items()}


def read_population(name: str, header: Header, array: Array) -> tuple[int, Population]:
    """A population and its order."""
    model = model_named(header["model"])
    found = {key: array(key) for key in population_arrays(model)}
    bias, scalars = found.pop("bias"), {key: header[key] for key in scalar_kinds(model)}
    population = Population(name, model, bias, found, scalars)
    if population.size != header["size"]:
        raise UsageError(
            f"population {name}: size is {header['size']}, but there are {population.size} values."
        )
    return header["order"], population


def read_projection(name: str, header: Header, array: Array) -> Projection:
    """A projection."""
    fields: dict[str, Any] = {key: header[key] for key in PROJECTION}
    fields |= {key: array(key) for key in COLUMNS}
    return Projection(name=name, **fields)


def read_network(
    field: Field, populations: Sequence[tuple[int, Population]], projections: Sequence[Projection]
) -> DelayTable:
    """The table of these parts."""
    places = sorted(order for order, _ in populations)
    if places != list(range(len(places))):
        raise UsageError(f"the order of populations must be 0, 1, … once each, got {places}.")
    network = {name: field(name, kind) for name, kind in NETWORK.items()}
    return DelayTable(
        populations=tuple(one for _, one in sorted(populations, key=lambda pair: pair[0])),
        projections=tuple(projections),
        **network,
    )


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's."""
    return value.item() if hasattr(value, "item") else value
