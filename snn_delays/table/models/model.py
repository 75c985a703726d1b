"""What a neuron model is: its parameters, its state, and one step of it.

Everything that reads, checks, writes, simulates, rescales or quantises neurons loops over such a
description. A new model is a file beside this one, a torch node in ``snn_delays/neurons``, and its
name in the list of ``models/__init__.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.arguments import choice, whole_number
from snn_delays.errors import UsageError

try:
    from numba import extending
except ImportError:  # steps then run in Python alone
    extending = None

MAX_SHIFT = 24

# step(*state, current, *parameters, *scalars) → (*state, whether it spikes): a step of one neuron,
# its arguments named as in the description and in this order, float64 (of a choice its index).
# Plain Python that numba can compile, of numbers only.
Step = Callable[..., tuple[Any, ...]]
Values = Mapping[str, NDArray[Any]]
Scalars = Mapping[str, Any]


@dataclass(frozen=True)
class Quantity:
    """What kind of number a parameter is.

    Args:
        unit: ``"v"`` for what is compared with the membrane potential, ``"1"`` for a factor.
        low, high: its range, ends included; infinite ends are excluded.
        scales: grows with the weights, when these are given in another unit.
        rounding: how it becomes a whole number: a ``"share"`` in 1 / 2^beta_shift; else in units
            of v, to the ``"nearest"`` or ``"up"``, as v takes whole values only.
    """

    unit: str
    low: float
    high: float
    scales: bool
    rounding: str


SHARE = Quantity("1", 0.0, 1.0, scales=False, rounding="share")
FACTOR = Quantity("1", -np.inf, np.inf, scales=False, rounding="share")
POTENTIAL = Quantity("v", -np.inf, np.inf, scales=True, rounding="nearest")
THRESHOLD = Quantity("v", -np.inf, np.inf, scales=True, rounding="up")


@dataclass(frozen=True)
class Parameter:
    """One number per neuron; ``text`` says what it is."""

    name: str
    quantity: Quantity
    text: str


@dataclass(frozen=True)
class Scalar:
    """One setting for a whole population: one of ``choices``, or a whole number 0 … ``most``."""

    name: str
    text: str
    choices: tuple[str, ...] = ()
    most: int = 0

    def index(self, value: Any) -> int:
        """The number that a step is given for it."""
        return self.choices.index(value) if self.choices else int(value)

    def settled(self, owner: str, value: Any) -> Any:
        """The value as Python's own; refuses one that it cannot be."""
        name = f"{self.name} of {owner} neurons"
        if self.choices:
            return choice(name, value, self.choices)
        return whole_number(name, value, 0, self.most)


@dataclass(frozen=True)
class NestNeurons:
    """What stands for a population in NEST: a model, and by its names what to set.

    Among the parameters must be V_th, in the state V_m.

    Shape:
        parameters, state: float64 ``[size]`` or one number; ``state`` is what rest is.
    """

    model: str
    parameters: dict[str, Any]
    state: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Model:
    """A neuron model.

    Args:
        name: in files.
        text: what it is, in one line.
        equation: of one step, with I the current, for people.
        parameters: one number per neuron each, beside ``bias``, which every model has.
        scalars: settings of the population.
        state: its variables, the membrane potential v first, and what each starts with and
            returns to: a parameter's name, or None for 0.
        step: one step of one neuron.
        spiking: whether it ever spikes.
        check: raises a UsageError for values that do not go together.
        whole_step: the step of its form in whole numbers, if there is one.
        to_nir: a node of the package nir from parameters in the network's own unit (float64),
            scalars and dt in seconds.
        nir_types: names of nir's nodes that ``from_nir`` reads.
        from_nir: parameters (float64), scalars, what currents are multiplied by, and what is
            added to them in every step, by forward Euler, from a node's fields ``[size]`` and dt.
        nest: the same population in NEST, from parameters (float64) and scalars.

    What a model does not have is None, and asking for it is one clear error.
    """

    name: str
    text: str
    equation: str
    parameters: tuple[Parameter, ...]
    state: Mapping[str, str | None]
    step: Step
    scalars: tuple[Scalar, ...] = ()
    spiking: bool = True
    check: Callable[[Values, Scalars], None] | None = None
    whole_step: Step | None = None
    to_nir: Callable[[Values, Scalars, float], Any] | None = None
    nir_types: tuple[str, ...] = ()
    from_nir: Callable[[Any, float], tuple[Values, Scalars, Any, Any]] | None = None
    nest: Callable[[Values, Scalars], NestNeurons] | None = None
    # Filled in by ``whole_form``: of which float model it is the form in whole numbers.
    of: Model | None = field(default=None, repr=False)

    @property
    def integer(self) -> bool:
        """Whether everything is whole numbers, in units of weight_scale / 2^weight_shift."""
        return self.of is not None

    @property
    def dtype(self) -> type[np.generic]:
        """Of parameters and bias."""
        return np.int32 if self.integer else np.float32

    @property
    def family(self) -> str:
        """The float model's name, of both forms."""
        return self.name if self.of is None else self.of.name

    def require(self, owner: str, member: str) -> Any:
        """A member that may be absent.

        Raises:
            UsageError: it is, for ``owner``, who asks.
        """
        found = getattr(self, member)
        if found is None:
            raise UsageError(f"{owner} has no equal of {self.name} neurons.")
        return found


def whole_form(model: Model) -> Model:
    """The model in whole numbers, as chips compute it: shares in 1 / 2^beta_shift, all else in
    units of weight_scale / 2^weight_shift.

    Raises:
        UsageError: it has none.
    """
    if model.whole_step is None:
        raise UsageError(f"{model.name} neurons have no form in whole numbers.")
    shifts = (
        Scalar("beta_shift", "shares are beta / 2^beta_shift", most=MAX_SHIFT),
        Scalar("weight_shift", "v counts in weight_scale / 2^weight_shift", most=MAX_SHIFT),
    )
    return replace(
        model,
        name=f"Int{model.name}",
        text=f"{model.text}, in whole numbers",
        scalars=(*model.scalars, *shifts),
        step=model.whole_step,
        whole_step=None,
        nir_types=(),
        from_nir=None,
        nest=None,
        of=model,
    )


def inlined(function: Any) -> Any:
    """A function that steps may call, compiled with them."""
    return function if extending is None else extending.register_jitable(function)


@inlined
def kept(v: float, beta: float, shift: float) -> float:
    """v · beta / 2^shift, its fraction dropped towards zero.

    In two parts, whose products fit into 64 bits.
    """
    m, b, s = np.int64(abs(v)), np.int64(abs(beta)), np.int64(shift)
    high = m >> s
    whole = np.float64(high * b + (((m - (high << s)) * b) >> s))
    return whole if (v >= 0) == (beta >= 0) else -whole
