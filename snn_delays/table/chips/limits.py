"""The limits of a chip, section by section of its profile; None: no such limit, or unknown."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from snn_delays.errors import UsageError
from snn_delays.table.models import MODELS
from snn_delays.table.models.model import MAX_SHIFT

FAMILIES = tuple(dict.fromkeys(model.family for model in MODELS.values()))
RESETS = tuple(
    dict.fromkeys(
        choice
        for model in MODELS.values()
        for scalar in model.scalars
        if scalar.name == "reset"
        for choice in scalar.choices
    )
)
MAX_STEPS = 1 << 24


@dataclass(frozen=True)
class Key:
    """A kind of value, and for words the choice; ``open``: ``none`` and ``unknown`` too."""

    kind: str
    choice: tuple[str, ...] = ()
    open: bool = True
    least: int = 0
    most: int = 2**31 - 1

    def require(self, name: str, value: Any) -> None:
        """Raise a UsageError unless it can hold the value."""
        if self.kind == "whole" and isinstance(value, int) and value > self.most:
            raise UsageError(f"{name} must be at most {self.most}, got {value!r}.")
        if not self._accepts(value):
            words = " or ".join(f'"{word}"' for word in self.choice)
            expected = _KINDS[self.kind].format(least=self.least, words=words)
            more = ', "none" or "unknown"' if self.open else ""
            raise UsageError(f"{name} must be {expected}{more}, got {value!r}.")

    def _accepts(self, value: Any) -> bool:
        whole = type(value) is int
        return {
            "whole": whole and value >= self.least,
            "signed": whole,
            "number": (whole or isinstance(value, float)) and 0 < value < math.inf,
            "switch": isinstance(value, bool),
            "text": isinstance(value, str) and bool(value),
            "word": value in self.choice,
            "words": value != [] and _is_list(value, lambda one: one in self.choice),
            "texts": _is_list(value, lambda one: isinstance(one, str)),
        }[self.kind]


_KINDS = {
    "whole": "a whole number >= {least}",
    "signed": "a whole number",
    "number": "a number > 0",
    "switch": "true or false",
    "text": "text",
    "word": "{words}",
    "words": "a list of {words}",
    "texts": "a list of texts, or []",
}


def _is_list(value: Any, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(holds, value))


def key(kind: str, choice: tuple[str, ...] = (), **limits: Any) -> Any:
    """A field of a section of a profile."""
    return field(metadata={"key": Key(kind, choice, **limits)})


@dataclass(frozen=True)
class DelayLimits:
    """Steps.

    ``native_max``: what needs no extra cores; ``granularity``: synapse, axon or none;
    ``transport``: what every connection takes on top of its delay, latency and nothing else.
    """

    min: int = key("whole", open=False, most=MAX_STEPS)
    max: int | None = key("whole", most=MAX_STEPS)
    native_max: int | None = key("whole", most=MAX_STEPS)
    granularity: str = key("word", ("synapse", "axon", "none"), open=False)
    transport: int | None = key("whole", most=MAX_STEPS)
    source: str = key("text", open=False)

    @property
    def text(self) -> str:
        """The range in words: ``1 … 15 steps``."""
        return f"{self.min} … {'any' if self.max is None else self.max} steps"


@dataclass(frozen=True)
class WeightLimits:
    """Signed integers ``low`` … ``high``; ``distinct_per_neuron``: different values into one.

    ``power_of_two``: whether the scale must be a power of two.
    """

    bits: int | None = key("whole", least=2, most=64)
    low: int | None = key("signed")
    high: int | None = key("signed")
    distinct_per_neuron: int | None = key("whole", least=1)
    power_of_two: bool | None = key("switch")
    source: str = key("text", open=False)


@dataclass(frozen=True)
class FanLimits:
    """Different sources into one neuron, and different targets of one."""

    fan_in: int | None = key("whole", least=1)
    fan_out: int | None = key("whole", least=1)
    source: str = key("text", open=False)


@dataclass(frozen=True)
class NeuronLimits:
    """Families of models (LIF stands for IntLIF too) and resets by the table's names.

    ``leak``: exponential (a share of v is kept) or linear (a constant is taken away);
    ``reset_to_zero``: a hard reset leads to 0 only; ``multiple_input_spikes``: an input may carry
    more than one spike per step; ``dt_ms``: the chip's tick, where it is fixed.
    """

    models: tuple[str, ...] = key("words", FAMILIES, open=False)
    resets: tuple[str, ...] = key("words", RESETS, open=False)
    reset_to_zero: bool | None = key("switch")
    leak: str | None = key("word", ("exponential", "linear"))
    multiple_input_spikes: bool | None = key("switch")
    dt_ms: float | None = key("number")
    source: str = key("text", open=False)


@dataclass(frozen=True)
class MembraneLimits:
    """How v is computed: ``arithmetic`` is integer, fixed (fixed point) or float.

    Args:
        bits: width of v, sign included.
        beta_shift, weight_shift: as in the table's populations.
        bias_bits, bias_exponent_max: bias = signed mantissa · 2^(0 … exponent).
        threshold_bits, threshold_shift: threshold = unsigned mantissa · 2^shift.
        threshold_strict: fires above the threshold, not at it.
    """

    arithmetic: str | None = key("word", ("integer", "fixed", "float"))
    bits: int | None = key("whole", least=2, most=64)
    beta_shift: int | None = key("whole", most=MAX_SHIFT)
    weight_shift: int | None = key("whole", most=MAX_SHIFT)
    bias_bits: int | None = key("whole", least=2, most=64)
    bias_exponent_max: int | None = key("whole", most=MAX_SHIFT)
    threshold_bits: int | None = key("whole", least=1, most=64)
    threshold_shift: int | None = key("whole", most=MAX_SHIFT)
    threshold_strict: bool | None = key("switch")
    source: str = key("text", open=False)
