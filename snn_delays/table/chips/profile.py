"""What a chip can take, as data: ``*.toml`` in this folder, every number with its source.

A value is a number, ``"none"`` (there is no such limit, or the chip computes in floating point)
or ``"unknown"`` (we found no public source). Both of the latter are ``None`` in a profile;
``ChipProfile.unknown`` lists which are merely unknown. A user's own file has the same keys.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from snn_delays.arguments import Rule, choice, real, require, whole
from snn_delays.errors import UsageError, one_line
from snn_delays.table.models import MODELS
from snn_delays.table.models.model import MAX_SHIFT
from snn_delays.table.require import naming

CHIPS = ("loihi1", "loihi2", "spinnaker1", "spinnaker2", "truenorth", "nest", "generic")
FOLDER = Path(__file__).parent
FAMILIES = dict.fromkeys(model.family for model in MODELS.values())
RESETS = dict.fromkeys(
    way
    for model in MODELS.values()
    for one in model.scalars
    if one.name == "reset"
    for way in one.choices
)
MAX_STEPS = 1 << 24


def _text(name: str, value: Any) -> str:
    require(isinstance(value, str) and value, name, "be text", value)
    return value


def _one_of(*known: Any) -> Rule:
    return lambda name, value: choice(name, value, known)


def _some_of(*known: str) -> Rule:
    """A list of such words; of any, and possibly none, where there are no such words."""
    words = " or ".join(f'"{one}"' for one in known)
    must = f"be a list of {words}" if known else "be a list of texts, or []"

    def check(name: str, value: Any) -> tuple[str, ...]:
        fits = isinstance(value, list) and not (known and value == [])
        fits = fits and all(one in known if known else isinstance(one, str) for one in value)
        require(fits, name, must, value)
        return tuple(value)

    return check


def _key(rule: Rule, *, open: bool = True) -> Any:
    """A field of a profile, and what it can hold; if open, ``none`` and ``unknown`` too."""
    return field(metadata={"rule": rule, "open": open})


_STEPS, _COUNT, _BITS = whole(0, MAX_STEPS), whole(1, 2**31 - 1), whole(2, 64)
_SHIFT, _SIGNED, _SWITCH = whole(0, MAX_SHIFT), whole(-(2**31), 2**31 - 1), _one_of(True, False)


@dataclass(frozen=True)
class DelayLimits:
    """Steps.

    ``native_max``: what needs no extra cores; ``granularity``: synapse, axon or none;
    ``transport``: what every connection takes on top of its delay, latency and nothing else.
    """

    min: int = _key(_STEPS, open=False)
    max: int | None = _key(_STEPS)
    native_max: int | None = _key(_STEPS)
    granularity: str = _key(_one_of("synapse", "axon", "none"), open=False)
    transport: int | None = _key(_STEPS)
    source: str = _key(_text, open=False)

    @property
    def text(self) -> str:
        """The range in words: ``1 … 15 steps``."""
        return f"{self.min} … {'any' if self.max is None else self.max} steps"


@dataclass(frozen=True)
class WeightLimits:
    """Signed integers ``low`` … ``high``; ``distinct_per_neuron``: different values into one.

    ``power_of_two``: whether the scale must be a power of two.
    """

    bits: int | None = _key(_BITS)
    low: int | None = _key(_SIGNED)
    high: int | None = _key(_SIGNED)
    distinct_per_neuron: int | None = _key(_COUNT)
    power_of_two: bool | None = _key(_SWITCH)
    source: str = _key(_text, open=False)


@dataclass(frozen=True)
class FanLimits:
    """Different sources into one neuron, and different targets of one."""

    fan_in: int | None = _key(_COUNT)
    fan_out: int | None = _key(_COUNT)
    source: str = _key(_text, open=False)


@dataclass(frozen=True)
class NeuronLimits:
    """Families of models (LIF stands for IntLIF too) and resets by the table's names.

    ``leak``: exponential (a share of v is kept) or linear (a constant is taken away);
    ``reset_to_zero``: a hard reset leads to 0 only; ``multiple_input_spikes``: an input may carry
    more than one spike per step; ``dt_ms``: the chip's tick, where it is fixed.
    """

    models: tuple[str, ...] = _key(_some_of(*FAMILIES), open=False)
    resets: tuple[str, ...] = _key(_some_of(*RESETS), open=False)
    reset_to_zero: bool | None = _key(_SWITCH)
    leak: str | None = _key(_one_of("exponential", "linear"))
    multiple_input_spikes: bool | None = _key(_SWITCH)
    dt_ms: float | None = _key(real(above=0))
    source: str = _key(_text, open=False)


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

    arithmetic: str | None = _key(_one_of("integer", "fixed", "float"))
    bits: int | None = _key(_BITS)
    beta_shift: int | None = _key(_SHIFT)
    weight_shift: int | None = _key(_SHIFT)
    bias_bits: int | None = _key(_BITS)
    bias_exponent_max: int | None = _key(_SHIFT)
    threshold_bits: int | None = _key(whole(1, 64))
    threshold_shift: int | None = _key(_SHIFT)
    threshold_strict: bool | None = _key(_SWITCH)
    source: str = _key(_text, open=False)


@dataclass(frozen=True, kw_only=True)
class ChipProfile:
    """What a chip can take.

    ``unknown``: names like ``membrane.bits`` that nobody has told us; ``not_simulated``: known
    traits of the chip that neither the table nor its simulation has, for a report to say.
    """

    name: str = _key(_text, open=False)
    description: str = _key(_text, open=False)
    not_simulated: tuple[str, ...] = _key(_some_of(), open=False)
    delay: DelayLimits
    weights: WeightLimits
    fan: FanLimits
    neuron: NeuronLimits
    membrane: MembraneLimits
    unknown: tuple[str, ...]


_SECTIONS: dict[str, type[Any]] = {
    "delay": DelayLimits,
    "weights": WeightLimits,
    "fan": FanLimits,
    "neuron": NeuronLimits,
    "membrane": MembraneLimits,
}


def load_chip(name_or_path: str | Path) -> ChipProfile:
    """A profile of ``CHIPS`` by name, or the one in a user's TOML file.

    Raises:
        UsageError: neither a known name nor a file, or a file that is damaged, lacks a key, has
            an unknown one, or holds a value that its key cannot.
    """
    path = FOLDER / f"{name_or_path}.toml" if name_or_path in CHIPS else Path(name_or_path)
    if not path.is_file():
        raise UsageError(
            f"chip must be one of {', '.join(CHIPS)} or the path of a TOML profile, "
            f"got {str(name_or_path)!r}, and there is no such file."
        )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f"{path}: not readable as TOML: {one_line(error)}. Mend that line."
        ) from error
    with naming(f"{path}: not a chip profile"):
        return _profile(content)


def _profile(content: dict[str, Any]) -> ChipProfile:
    own, unknown = _read(ChipProfile, "", content, *_SECTIONS)
    for name, kind in _SECTIONS.items():
        if not isinstance(content[name], dict):
            raise UsageError(f"[{name}] must be a section, got {content[name]!r}.")
        values, more = _read(kind, f"{name}.", content[name])
        own[name], unknown = kind(**values), unknown + more
    delay, weights = own["delay"], own["weights"]
    for name, values in (
        ("delay", (delay.min, delay.native_max, delay.max)),
        ("weights", (weights.low, weights.high)),
    ):
        known = [value for value in values if value is not None]
        if known != sorted(known):
            raise UsageError(
                f"{name} must not decrease from its lowest to its highest, got {known}."
            )
    return ChipProfile(**own, unknown=tuple(unknown))


def _read(
    kind: type[Any], prefix: str, content: dict[str, Any], *sections: str
) -> tuple[dict[str, Any], list[str]]:
    """The values of a dataclass's keys, and which of them are unknown."""
    keys = {one.name: one.metadata for one in fields(kind) if one.metadata}
    known = [*keys, *sections]
    for name in content:
        if name not in known:
            (nearest,) = get_close_matches(name, known, n=1, cutoff=0)
            raise UsageError(f"unknown key {prefix}{name}; did you mean {prefix}{nearest}?")
    if missing := [name for name in known if name not in content]:
        open_too = any(name in keys and keys[name]["open"] for name in missing)
        hint = 'what nobody knows is "unknown"' if open_too else "it must be said"
        names = ", ".join(prefix + name for name in missing)
        raise UsageError(f"missing {names}; {hint}.")
    values = {name: _value(prefix + name, key, content[name]) for name, key in keys.items()}
    unknown = [
        prefix + name for name, one in values.items() if one is None and content[name] == "unknown"
    ]
    return values, unknown


def _value(name: str, key: Mapping[str, Any], value: Any) -> Any:
    if key["open"] and value in ("none", "unknown"):
        return None
    try:
        return key["rule"](name, value)
    except UsageError as error:
        more = ' It may be "none" or "unknown" too.' if key["open"] else ""
        raise UsageError(f"{error}{more}") from error
