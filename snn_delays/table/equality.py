"""Are two delay tables the same network? Order of synapses does not matter, every digit does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

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
    other = _parts(b)
    differing = (_difference(name, mine, other.get(name)) for name, mine in _parts(a).items())
    return next(filter(None, differing), None)


def _parts(table: DelayTable) -> dict[str, Any]:
    """All that a network is, by what a line about a difference calls it."""
    found = schema.network_header(table) | {"created_by": ""}
    for kind in ("populations", "projections"):
        parts = {one.name: one for one in getattr(table, kind)}
        found[kind] = dict.fromkeys(parts)  # equal in any order
        for name, one in parts.items():
            arrays = schema.arrays_of(canonical(one) if isinstance(one, Projection) else one)
            members = {**schema.header_of(table, one), **arrays}
            found |= {f"{kind[:-1]} {name}: {key}": value for key, value in members.items()}
    return found


def _difference(name: str, a: Any, b: Any) -> str:
    if isinstance(a, dict):
        return "" if a == b else f"{name}: {', '.join(a)} and {', '.join(b)}"
    if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
        return "" if a is b or np.all(a == b) else f"{name}: {a!r} and {b!r}"
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return f"{name}: {a.dtype} of shape {a.shape} and {b.dtype} of shape {b.shape}"
    if not (unequal := np.flatnonzero(a != b)).size:
        return ""
    first = int(unequal[0])
    return f"{name}: {unequal.size} of {a.size} differ, first {a[first]} and {b[first]} at {first}"
