"""Are two delay tables the same network? Order of synapses does not matter, every digit does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.table import schema
from snn_delays.table.projection import Projection
from snn_delays.table.table import DelayTable


def canonical(projection: Projection) -> Projection:
    """Its synapses sorted by pre, post, delay and weight, without those of weight zero.

    Rows that name the same pre, post and delay stay apart: their float weights may add up to
    something that float32 cannot hold.
    """
    used = np.flatnonzero(projection.weight)
    columns = (projection.weight, projection.delay, projection.post, projection.pre)
    order = used[np.lexsort([column[used] for column in columns])]
    arrays = schema.arrays_of(projection)
    return replace(projection, **{name: values[order] for name, values in arrays.items()})


def same_network(a: DelayTable, b: DelayTable) -> str | None:
    """The first difference between two networks in words, or None if there is none.

    Everything that a run depends on is compared exactly, types included; who created a table,
    the order of its synapses and synapses of weight zero are not part of the network.
    """
    return next(_differences(a, b), None)


def _differences(a: DelayTable, b: DelayTable) -> Iterator[str]:
    anyone = {"created_by": ""}
    yield from _unequal("", *(schema.network_header(table) | anyone for table in (a, b)))
    for kind in ("populations", "projections"):
        mine, theirs = ({part.name: part for part in getattr(t, kind)} for t in (a, b))
        if set(mine) != set(theirs):
            yield f"{kind}: {', '.join(mine)} and {', '.join(theirs)}"
            return
        for name, part in mine.items():
            where = f"{kind[:-1]} {name}: "
            other = theirs[name]
            yield from _unequal(where, schema.header_of(a, part), schema.header_of(b, other))
            both = (canonical(x) if isinstance(x, Projection) else x for x in (part, other))
            yield from _unequal(where, *map(schema.arrays_of, both))


def _unequal(where: str, a: dict[str, Any], b: dict[str, Any]) -> Iterator[str]:
    """What differs; of two models whose fields are unlike, the model comes first."""
    for name, value in a.items():
        other = b.get(name)
        if isinstance(value, np.ndarray) and isinstance(other, np.ndarray):
            found = _different_arrays(value, other)
        else:
            found = None if value == other else f"{value!r} and {other!r}"
        if found:
            yield f"{where}{name}: {found}"


def _different_arrays(a: NDArray[Any], b: NDArray[Any]) -> str | None:
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return f"{a.dtype} of shape {a.shape} and {b.dtype} of shape {b.shape}"
    unequal = np.flatnonzero(a != b)
    if not unequal.size:
        return None
    first = int(unequal[0])
    return f"{unequal.size} of {a.size} differ, first {a[first]} and {b[first]} at {first}"
