"""The delay table: a trained network as plain arrays, everything a chip or simulator needs.

At every step each population, in order, is sent the current

    I[post] = bias[post] + Σ_projections weight_scale · Σ_synapses weight · x[t − delay, pre]

x being the source's spikes (or the input's counts), and takes one step of its model
(``table/models``). A delay of 0 is possible from the input and from a population that comes before
in this order. Models in whole numbers count in units of weight_scale / 2^weight_shift:

    I[post] = bias[post] + Σ weight · 2^weight_shift · x[t − delay, pre]

The last population is the output. The same on disk: docs/table-format.md. Whatever changes a
network on its way to a chip is a function from one ``DelayTable`` to another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from snn_delays.arguments import choice, real, require, settle, whole
from snn_delays.errors import UsageError
from snn_delays.table.population import Population
from snn_delays.table.projection import Projection
from snn_delays.table.require import naming, require_within

# How the output's potentials, or spikes, over time become one score per class.
READOUTS = ("sum_softmax", "max", "mean", "spike_count")
INPUT = "input"


@dataclass(frozen=True, eq=False)
class DelayTable:
    """A whole network.

    Args:
        populations: in the order in which they are updated within a step; the last is read out,
            all others spike.
        projections: the synapses, kept sorted by target, source and name; several may lead into one
            population, and one may lead from a population to itself or back to an earlier one, with
            delays of 1 step or more.
        dt_ms: duration of a step.
        readout: how the output becomes scores: of potentials ``sum_softmax``, ``max`` or ``mean``;
            of spikes ``spike_count``.
        tail_steps: steps of silence that follow a sample's own, so that late spikes arrive.
        input_channels: size of the input.
        created_by: program and version, for people.

    Raises:
        UsageError: parts that do not fit together, or a value out of range.
    """

    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    dt_ms: float
    class_names: tuple[str, ...]
    readout: str
    tail_steps: int
    input_channels: int
    created_by: str

    def __post_init__(self) -> None:
        if not self.populations:
            raise UsageError("a delay table needs at least one population, got none.")
        settle(
            self,
            dt_ms=real(above=0, unit="ms"),
            readout=lambda name, value: choice(name, value, READOUTS),
            tail_steps=whole(0, unit="steps"),
            input_channels=whole(1),
            class_names=_names,
        )
        for kind in ("populations", "projections"):
            names = [one.name for one in getattr(self, kind)]
            if len(set(names)) < len(names):
                raise UsageError(f"{kind} must have different names, got {', '.join(names)}.")
        order = {INPUT: -1, **self.order}
        for projection in self.projections:
            with naming(f"projection {projection.name}"):
                self._check(projection)
        # One order for all, in which currents into one population add up.
        ordered = sorted(
            self.projections, key=lambda one: (order[one.target], order[one.source], one.name)
        )
        object.__setattr__(self, "projections", tuple(ordered))
        for population in self.populations:
            self._check_neurons(population)
        self._check_output()

    def _check(self, projection: Projection) -> None:
        source, target = projection.source, projection.target
        order = self.order
        for end, known in ((source, (INPUT, *order)), (target, tuple(order))):
            if end not in known:
                raise UsageError(f"leads from or to {end!r:.60}; there is {', '.join(known)}.")
        require_within("pre", projection.pre, 0, self.size(source) - 1)
        require_within("post", projection.post, 0, self.size(target) - 1)
        if source != INPUT and not self[source].spiking:
            raise UsageError(f"{source} has {self[source].model.name} neurons, which never spike.")
        if self.leads_back(projection) and projection.min_delay < 1:
            raise UsageError(
                f"from {source} back to {target} delays must be >= 1 step, got min_delay "
                f"{projection.min_delay}."
            )

    def _check_neurons(self, population: Population) -> None:
        leading, neurons = self.into(population.name), f"{population.model.name} neurons"
        if population.integer and (floats := [one.name for one in leading if not one.integer]):
            raise UsageError(
                f"projection {floats[0]}: {neurons} need integer weights, got float32."
            )
        scales = sorted({one.weight_scale for one in leading})
        if population.integer and len(scales) > 1:
            raise UsageError(
                f"population {population.name}: projections to {neurons} must have one "
                f"weight_scale, got {', '.join(map(str, scales))}."
            )
        if not population.spiking and population is not self.output:
            raise UsageError(
                f"population {population.name} is not the last, but its {neurons} never spike."
            )

    def _check_output(self) -> None:
        last = self.output
        if last.spiking != (self.readout == "spike_count"):
            raise UsageError(
                f"readout {self.readout} does not go with the {last.model.name} neurons of "
                f"{last.name}: spike_count is for neurons that spike, the others for potentials."
            )
        if len(self.class_names) != last.size:
            raise UsageError(
                f"class_names must name the {last.size} neurons of {last.name}, "
                f"got {len(self.class_names)} names."
            )

    def __getitem__(self, name: str) -> Population:
        return self.populations[self.order[name]]

    @property
    def order(self) -> dict[str, int]:
        """The place of every population within a step, by name."""
        return {one.name: index for index, one in enumerate(self.populations)}

    @property
    def output(self) -> Population:
        """The population that is read out."""
        return self.populations[-1]

    @property
    def synapses(self) -> int:
        """How many there are in all."""
        return sum(map(len, self.projections))

    def size(self, source: str) -> int:
        """Neurons of a population, or channels of the ``"input"``."""
        return self.input_channels if source == INPUT else self[source].size

    def into(self, name: str) -> tuple[Projection, ...]:
        """The projections into a population, in the table's order."""
        return tuple(one for one in self.projections if one.target == name)

    def leads_back(self, projection: Projection) -> bool:
        """Whether it leads to the same population or to an earlier one."""
        order = self.order
        return projection.source != INPUT and order[projection.source] >= order[projection.target]

    @property
    def recurrent(self) -> bool:
        """Whether any projection leads back."""
        return any(map(self.leads_back, self.projections))

    def unit(self, population: Population) -> float:
        """What 1 of v, bias and thresholds is worth: 1 but for models in whole numbers."""
        if not population.integer:
            return 1.0
        leading = self.into(population.name)
        scale = leading[0].weight_scale if leading else 1.0
        return scale / (1 << population.scalars["weight_shift"])

    def lags(self, wanted: Mapping[str, int]) -> tuple[dict[str, int], list[Projection]]:
        """By how many steps populations come later, where projections want them to.

        lag[target] ≥ lag[source] + wanted[projection] for the projections in ``wanted``, lag ≥ 0.

        Returns:
            The least lags, by source, and no loop; else a loop in which they would grow for ever.
        """
        lag = dict.fromkeys([INPUT, *self.order], 0)
        by: dict[str, Projection] = {}  # what makes a population lag as it does
        name, leading = "", [one for one in self.projections if one.name in wanted]
        for _ in lag:
            name = ""
            for one in leading:
                needed = lag[one.source] + wanted[one.name]
                if needed > lag[one.target]:
                    lag[one.target], by[one.target], name = needed, one, one.target
            if not name:
                return lag, []
        # Lags that never settle are raised in a circle: far enough back from any is the loop.
        for _ in lag:
            name = by[name].source
        loop = [by[name]]
        while loop[-1].source != name:
            loop.append(by[loop[-1].source])
        return lag, loop

    def map(
        self,
        *,
        population: Callable[[Population], Population] = lambda one: one,
        projection: Callable[[Projection], Projection] = lambda one: one,
    ) -> DelayTable:
        """The table with every population and every projection changed by a function."""
        parts: dict[str, Any] = {"populations": [], "projections": []}
        for kind, change in zip(parts, (population, projection), strict=True):
            for one in getattr(self, kind):
                with naming(f"{kind[:-1]} {one.name}"):
                    parts[kind].append(change(one))
        return replace(self, **{kind: tuple(changed) for kind, changed in parts.items()})


def _names(name: str, given: Any) -> tuple[str, ...]:
    several = isinstance(given, Iterable) and not isinstance(given, str)
    names = list(given) if several else [None]
    fits = all(isinstance(one, str) for one in names)
    require(fits, name, "be names, such as ('yes', 'no')", given)
    return tuple(map(str, names))
