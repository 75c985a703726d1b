"""By how many steps populations come later, where projections want them to."""

from __future__ import annotations

from collections.abc import Mapping

from snn_delays.table.projection import Projection
from snn_delays.table.table import INPUT, DelayTable


def lags(table: DelayTable, wanted: Mapping[str, int]) -> tuple[dict[str, int], list[Projection]]:
    """The least lags, by source, and no loop; else a loop in which they would grow for ever.

    lag[target] ≥ lag[source] + wanted[projection] for the projections in ``wanted``, lag ≥ 0.
    """
    lag = dict.fromkeys([INPUT, *table.order], 0)
    by: dict[str, Projection] = {}  # what makes a population lag as it does
    name, leading = "", [one for one in table.projections if one.name in wanted]
    for _ in lag:
        name = ""
        for one in leading:
            needed = lag[one.source] + wanted[one.name]
            if needed > lag[one.target]:
                lag[one.target], by[one.target], name = needed, one, one.target
        if not name:
            return lag, []
    # Lags that never settle are raised in a circle: far enough back from any of them is the loop.
    for _ in lag:
        name = by[name].source
    loop = [by[name]]
    while loop[-1].source != name:
        loop.append(by[loop[-1].source])
    return lag, loop
