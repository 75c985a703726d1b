"""A population: neurons of one model that share a name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.models import Model, model_named
from snn_delays.table.require import naming, require_vector, require_within

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons of one model.

    Args:
        name: letters, digits and _; not ``input``.
        model: their description (``table/models``).
        bias: added to the input current at every step.
        parameters: by name, one number per neuron each.
        scalars: by name, the model's settings.

    Shape:
        bias and every parameter ``[size]``: float32, or int32 for models in whole numbers.

    Raises:
        UsageError: a name that is none, a parameter missing, unknown, of wrong type or length, or
            out of range.
    """

    name: str
    model: Model
    bias: NDArray[Any]
    parameters: Mapping[str, NDArray[Any]]
    scalars: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or self.name == "input":
            raise UsageError(
                "a population's name must be letters, digits and _, and not 'input'; "
                f"got {self.name!r:.60}."
            )
        with naming(f"population {self.name}"):
            self._check()

    def _check(self) -> None:
        model, dtype = self.model, (self.model.dtype,)
        require_vector("bias", self.bias, dtype)
        if not self.size:
            raise UsageError("it must have at least 1 neuron, got 0.")
        for kind, known, got in (
            ("parameters", model.parameters, self.parameters),
            ("scalars", model.scalars, self.scalars),
        ):
            names = [one.name for one in known]
            if set(names) != set(got):
                raise UsageError(
                    f"{model.name} neurons have the {kind} {', '.join(names) or 'none'}; "
                    f"got {', '.join(got) or 'none'}."
                )
        scalars = {
            one.name: one.settled(model.name, self.scalars[one.name]) for one in model.scalars
        }
        object.__setattr__(self, "scalars", scalars)
        for parameter in model.parameters:
            values, quantity = self.parameters[parameter.name], parameter.quantity
            require_vector(parameter.name, values, dtype, self.size)
            whole = model.integer and quantity.rounding == "share"
            high = quantity.high * (1 << self.scalars["beta_shift"] if whole else 1)
            require_within(parameter.name, values, quantity.low, high)
        if model.check is not None:
            model.check(self.parameters, self.scalars)

    @classmethod
    def of(cls, name: str, model: str, size: int, *, bias: Any = 0.0, **values: Any) -> Population:
        """A population from numbers, or arrays, by name: ``Population.of("hidden0", "LIF", 3,
        beta=0.9, v_threshold=1.0, v_reset=0.0, reset="hard")``.

        Raises:
            UsageError: as the class.
        """
        described = model_named(model)
        known = {scalar.name for scalar in described.scalars}
        arrays = {
            key: np.broadcast_to(np.asarray(value, described.dtype), (size,)).copy()
            for key, value in {"bias": bias, **values}.items()
            if key not in known
        }
        scalars = {key: value for key, value in values.items() if key in known}
        return cls(name, described, arrays.pop("bias"), arrays, scalars)

    @property
    def size(self) -> int:
        return len(self.bias)

    @property
    def spiking(self) -> bool:
        return self.model.spiking

    @property
    def integer(self) -> bool:
        return self.model.integer

    def step_values(self) -> tuple[NDArray[Any], NDArray[Any], list[int]]:
        """What a step takes, in the description's order: parameters ``[rows, size]``, scalars last;
        between them what the state starts with ``[rows, size]``."""
        model, zero = self.model, np.zeros_like(self.bias)
        parameters = [self.parameters[one.name] for one in model.parameters]
        rest = [zero if one is None else self.parameters[one] for one in model.state.values()]
        scalars = [one.index(self.scalars[one.name]) for one in model.scalars]
        return np.array(parameters).reshape(-1, self.size), np.array(rest), scalars

    def float_values(self, unit: float) -> tuple[NDArray[np.float64], dict[str, NDArray[Any]]]:
        """Bias and parameters as float64 in the network's own unit, of whole numbers too.

        Args:
            unit: what 1 of v is worth (``DelayTable.unit``).
        """
        found = {}
        for parameter in self.model.parameters:
            values = self.parameters[parameter.name].astype(np.float64)
            if self.integer and parameter.quantity.rounding == "share":
                values = values / float(1 << self.scalars["beta_shift"])
            elif parameter.quantity.scales:
                values = values * unit
            found[parameter.name] = values
        return self.bias.astype(np.float64) * unit, found
