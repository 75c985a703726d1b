"""In which order a NIR graph's neurons take their steps, so that as few synapses as can be wait."""

from __future__ import annotations

from collections.abc import Iterable

from snn_delays.errors import UsageError
from snn_delays.table.formats.nir.walk import Edges, reached


def in_order(met: Iterable[str], output: str, edges: Edges, instant: Edges) -> list[str]:
    """In which order populations take their step, so that the least of it waits a step.

    Within a step a spike without delay reaches only those that come later. Who sends comes first,
    then, wherever that can be; a cycle in which every delay is at least one step needs no more. A
    cycle without any Delay is read as other programs run one (NIRTorch, and through it Norse and
    snnTorch): what leads back to neurons that have taken their step arrives in the next.

    Args:
        met: their names; of those that might be next the first is. The output comes last.
        edges: (source, target) of all projections between them.
        instant: of those that have a synapse with a delay of 0.
    """
    found: list[str] = []
    left = [name for name in met if name != output]
    while left:
        cycles = [_ahead(edges, left), _ahead(instant, left)]
        # Nothing leads there but what it leads to as well.
        free = (
            name
            for name in left
            if all(ahead[name] >= {one for one in left if name in ahead[one]} for ahead in cycles)
        )
        found.append(next(free))
        left.remove(found[-1])
    ahead = _ahead(instant, [*found, output])
    for source, target in sorted(instant):
        if source == output and source not in ahead[target]:
            raise UsageError(
                f"node {source!r} is read out and leads to {target!r} without a Delay, and must "
                "come before it; the last population of a table is read out. Put a Delay between."
            )
    return [*found, output]


def _ahead(edges: Edges, among: list[str]) -> dict[str, set[str]]:
    """Where each of some populations leads, by way of no others."""
    inner = [(a, b) for a, b in edges if a in among and b in among]
    return {name: reached(name, inner) for name in among}
