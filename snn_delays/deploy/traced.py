"""What a trace finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from torch import fx

from snn_delays.table.population import Population
from snn_delays.table.projection import Projection
from snn_delays.table.table import DelayTable


@dataclass(frozen=True, eq=False)
class Traced:
    """A network as a table has it.

    Args:
        populations, projections: in the table's words.
        nodes: of each population the name of its neuron node in the network; none for a readout
            that has none, as of a network that ends with weights.
        gains: of each population what its node multiplies currents by; the weights have it.
        input_channels: size of the input.
        readout: as the network's own output suggests.
        graph: of its forward, up to the output over time.
    """

    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    nodes: dict[str, str]
    gains: dict[str, float]
    input_channels: int
    readout: str
    graph: fx.Graph

    def table(
        self, *, dt_ms: float, class_names: Sequence[str] | None, readout: str, tail_steps: int
    ) -> DelayTable:
        """The delay table; classes are numbered unless they have names."""
        numbered = map(str, range(self.populations[-1].size))
        names: Any = numbered if class_names is None else class_names
        return DelayTable(
            populations=self.populations,
            projections=self.projections,
            dt_ms=float(dt_ms),
            class_names=names,
            readout=readout,
            tail_steps=tail_steps,
            input_channels=self.input_channels,
            created_by=_created_by(),
        )


def _created_by() -> str:
    try:
        return f"snn-delays {version('snn-delays')}"
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "snn-delays"
