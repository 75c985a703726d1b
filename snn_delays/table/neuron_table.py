"""The neurons of one layer of a delay table, in floating point or in whole numbers.

Their equations are in ``export/table.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import UsageError
from snn_delays.table.require import (
    require_finite,
    require_member,
    require_vector,
    require_within,
    value_range,
)

RESETS = {"LIF": ("hard", "soft"), "LI": ("none",)}
INTEGER_RESETS = {f"Int{model}": resets for model, resets in RESETS.items()}
NEVER = np.iinfo(np.int32).max  # the threshold of integer neurons that never spike
MAX_SHIFT = 24

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class NeuronTable:
    """The neurons of one layer.

    Shape:
        beta, v_threshold, v_reset: float32 ``[n_post]``; beta is the share of v kept per step.

    A value that the model does not use has one agreed filling: v_reset is 0 unless the reset is
    hard, and an LI neuron's v_threshold is +inf, so that the common equation still holds.

    Raises:
        UsageError: unknown model or reset, wrong shape or type, a value out of range.
    """

    model: str
    reset: str
    beta: Floats
    v_threshold: Floats
    v_reset: Floats

    def __post_init__(self) -> None:
        require_member("neuron model", self.model, tuple(RESETS))
        require_member(f"reset of {self.model} neurons", self.reset, RESETS[self.model])
        require_vector("neuron beta", self.beta, (np.float32,))
        for name, values in (("v_threshold", self.v_threshold), ("v_reset", self.v_reset)):
            require_vector(f"neuron {name}", values, (np.float32,), self.beta.size)
        require_finite("neuron v_reset", self.v_reset)
        if not np.all((self.beta >= 0) & (self.beta <= 1)):
            raise UsageError(
                "neuron beta must be within 0 … 1; got " + value_range(self.beta) + "."
            )
        _require_filling(self.reset, self.v_reset)
        if self.model == "LI" and not np.all(np.isposinf(self.v_threshold)):
            raise UsageError("neuron v_threshold of LI neurons must be +inf: they never spike.")
        if self.model == "LIF":
            require_finite("neuron v_threshold", self.v_threshold)

    @property
    def spiking(self) -> bool:
        return self.model == "LIF"


@dataclass(frozen=True, eq=False)
class IntegerNeuronTable:
    """The neurons of one layer in integer arithmetic, as chips have them.

    Args:
        model: ``IntLIF``, or ``IntLI``, which never spikes.
        decay: the share of v kept per step is decay / 2^decay_shift, 0 … 1.
        weight_shift: v counts in weight_scale / 2^weight_shift, finer than weights by these bits.

    Shape:
        decay, v_threshold, v_reset: int32 ``[n_post]``.

    A value that the model does not use has one agreed filling: v_reset is 0 unless the reset is
    hard, and an IntLI neuron's v_threshold is 2³¹ − 1.

    Raises:
        UsageError: unknown model or reset, wrong shape or type, a value out of range.
    """

    model: str
    reset: str
    decay: Ints
    v_threshold: Ints
    v_reset: Ints
    decay_shift: int
    weight_shift: int

    def __post_init__(self) -> None:
        require_member("neuron model", self.model, tuple(INTEGER_RESETS))
        require_member(f"reset of {self.model} neurons", self.reset, INTEGER_RESETS[self.model])
        for name, shift in (("decay", self.decay_shift), ("weight", self.weight_shift)):
            if not 0 <= shift <= MAX_SHIFT:
                raise UsageError(
                    f"neuron {name}_shift must be within 0 … {MAX_SHIFT}, got {shift}."
                )
        require_vector("neuron decay", self.decay, (np.int32,))
        for name, values in (("v_threshold", self.v_threshold), ("v_reset", self.v_reset)):
            require_vector(f"neuron {name}", values, (np.int32,), self.decay.size)
        require_within("neuron decay", self.decay, 0, 1 << self.decay_shift)
        _require_filling(self.reset, self.v_reset)
        if self.model == "IntLI" and np.any(self.v_threshold != NEVER):
            raise UsageError(
                f"neuron v_threshold of IntLI neurons must be {NEVER}: they never spike."
            )

    @property
    def beta(self) -> NDArray[np.float64]:
        """float64 ``[n_post]``: the share of v kept per step."""
        return self.decay / float(1 << self.decay_shift)

    @property
    def spiking(self) -> bool:
        return self.model == "IntLIF"


def _require_filling(reset: str, v_reset: Floats | Ints) -> None:
    """Only a hard reset uses v_reset; else it is 0."""
    if reset != "hard" and np.any(v_reset != 0):
        raise UsageError(
            f"neuron v_reset must be 0 when reset is {reset!r}; got {value_range(v_reset)}."
        )
