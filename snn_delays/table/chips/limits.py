"""The limits of a chip, section by section of its profile; None: no such limit, or unknown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DelayLimits:
    """Steps.

    ``native_max``: what needs no extra cores; ``granularity``: synapse, axon or none;
    ``transport``: what every connection takes on top of its delay, latency and nothing else.
    """

    min: int
    max: int | None
    native_max: int | None
    granularity: str
    transport: int | None
    source: str

    @property
    def text(self) -> str:
        """The range in words: ``1 … 15 steps``."""
        return f"{self.min} … {'any' if self.max is None else self.max} steps"


@dataclass(frozen=True)
class WeightLimits:
    """Signed integers ``low`` … ``high``; ``distinct_per_neuron``: different values into one.

    ``power_of_two``: whether the scale must be a power of two.
    """

    bits: int | None
    low: int | None
    high: int | None
    distinct_per_neuron: int | None
    power_of_two: bool | None
    source: str


@dataclass(frozen=True)
class FanLimits:
    """Different sources into one neuron, and different targets of one."""

    fan_in: int | None
    fan_out: int | None
    source: str


@dataclass(frozen=True)
class NeuronLimits:
    """Models and resets by the table's names (LIF stands for IntLIF too).

    ``leak``: exponential (a share of v is kept) or linear (a constant is taken away);
    ``reset_to_zero``: a hard reset leads to 0 only; ``multiple_input_spikes``: an input may carry
    more than one spike per step; ``dt_ms``: the chip's tick, where it is fixed.
    """

    models: tuple[str, ...]
    resets: tuple[str, ...]
    reset_to_zero: bool | None
    leak: str | None
    multiple_input_spikes: bool | None
    dt_ms: float | None
    source: str


@dataclass(frozen=True)
class MembraneLimits:
    """How v is computed: ``arithmetic`` is integer, fixed (fixed point) or float.

    Args:
        bits: width of v, sign included.
        decay_shift, weight_shift: as in ``IntegerNeuronTable``.
        bias_bits, bias_exponent_max: bias = signed mantissa · 2^(0 … exponent).
        threshold_bits, threshold_shift: threshold = unsigned mantissa · 2^shift.
        threshold_strict: fires above the threshold, not at it.
    """

    arithmetic: str | None
    bits: int | None
    decay_shift: int | None
    weight_shift: int | None
    bias_bits: int | None
    bias_exponent_max: int | None
    threshold_bits: int | None
    threshold_shift: int | None
    threshold_strict: bool | None
    source: str
