"""What a chip can take, as data: ``*.toml`` in this folder, every number with its source.

A value is a number, ``"none"`` (there is no such limit, or the chip computes in floating point)
or ``"unknown"`` (we found no public source). Both of the latter are ``None`` in a profile;
``ChipProfile.unknown`` lists which are merely unknown. A user's own file has the same keys.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from snn_delays.errors import UsageError, one_line
from snn_delays.table.chips.limits import (
    DelayLimits,
    FanLimits,
    MembraneLimits,
    NeuronLimits,
    WeightLimits,
)
from snn_delays.table.neuron_table import MAX_SHIFT

CHIPS = ("loihi1", "loihi2", "spinnaker1", "spinnaker2", "truenorth", "nest", "generic")
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ChipProfile:
    """What a chip can take.

    ``unknown``: names like ``membrane.bits`` that nobody has told us; ``not_simulated``: known
    traits of the chip that neither the table nor its simulation has, for a report to say.
    """

    name: str
    description: str
    not_simulated: tuple[str, ...]
    delay: DelayLimits
    weights: WeightLimits
    fan: FanLimits
    neuron: NeuronLimits
    membrane: MembraneLimits
    unknown: tuple[str, ...]


class _Key(NamedTuple):
    """What a key may hold: a kind, and for words the choice; ``open``: none and unknown too."""

    kind: str
    choice: tuple[str, ...] = ()
    open: bool = True
    least: int = 0
    most: int = 2**31 - 1

    @property
    def expected(self) -> str:
        words = {
            "whole": f"a whole number >= {self.least}",
            "signed": "a whole number",
            "number": "a number > 0",
            "switch": "true or false",
            "text": "text",
            "word": " or ".join(f'"{word}"' for word in self.choice),
            "words": "a list of " + ", ".join(f'"{word}"' for word in self.choice),
            "texts": "a list of texts, or []",
        }[self.kind]
        return words + (', "none" or "unknown"' if self.open else "")

    def accepts(self, value: Any) -> bool:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return {
            "whole": whole and self.least <= value <= self.most,
            "signed": whole,
            "number": (whole or isinstance(value, float)) and 0 < value < float("inf"),
            "switch": isinstance(value, bool),
            "text": isinstance(value, str) and bool(value),
            "word": isinstance(value, str) and value in self.choice,
            "words": isinstance(value, list)
            and bool(value)
            and all(isinstance(word, str) and word in self.choice for word in value),
            "texts": isinstance(value, list) and all(isinstance(one, str) for one in value),
        }[self.kind]


_TEXT = _Key("text", open=False)
_COUNT = _Key("whole", least=1)
_STEPS = _Key("whole", most=1 << 24)
_SHIFT = _Key("whole", most=MAX_SHIFT)
_SWITCH = _Key("switch")
_BITS = _Key("whole", least=2, most=64)
_SECTIONS: dict[str, tuple[type, dict[str, _Key]]] = {
    "delay": (
        DelayLimits,
        {
            "min": _STEPS._replace(open=False),
            "max": _STEPS,
            "native_max": _STEPS,
            "granularity": _Key("word", ("synapse", "axon", "none"), open=False),
            "transport": _STEPS,
            "source": _TEXT,
        },
    ),
    "weights": (
        WeightLimits,
        {
            "bits": _BITS,
            "low": _Key("signed"),
            "high": _Key("signed"),
            "distinct_per_neuron": _COUNT,
            "power_of_two": _SWITCH,
            "source": _TEXT,
        },
    ),
    "fan": (FanLimits, {"fan_in": _COUNT, "fan_out": _COUNT, "source": _TEXT}),
    "neuron": (
        NeuronLimits,
        {
            "models": _Key("words", ("LIF", "LI"), open=False),
            "resets": _Key("words", ("hard", "soft"), open=False),
            "reset_to_zero": _SWITCH,
            "leak": _Key("word", ("exponential", "linear")),
            "multiple_input_spikes": _SWITCH,
            "dt_ms": _Key("number"),
            "source": _TEXT,
        },
    ),
    "membrane": (
        MembraneLimits,
        {
            "arithmetic": _Key("word", ("integer", "fixed", "float")),
            "bits": _BITS,
            "decay_shift": _SHIFT,
            "weight_shift": _SHIFT,
            "bias_bits": _BITS,
            "bias_exponent_max": _SHIFT,
            "threshold_bits": _BITS._replace(least=1),
            "threshold_shift": _SHIFT,
            "threshold_strict": _SWITCH,
            "source": _TEXT,
        },
    ),
}


def load_chip(name_or_path: str | Path) -> ChipProfile:
    """A profile of ``CHIPS`` by name, or the one in a user's TOML file.

    Raises:
        UsageError: neither a known name nor a file, or a file that is damaged, lacks a key, has
            an unknown one, or holds a value that its key cannot.
    """
    if name_or_path in CHIPS:
        return _read(FOLDER / f"{name_or_path}.toml")
    path = Path(name_or_path)
    if not path.is_file():
        raise UsageError(
            f"chip must be one of {', '.join(CHIPS)} or the path of a TOML profile, "
            f"got {str(name_or_path)!r}, and there is no such file."
        )
    return _read(path)


def _read(path: Path) -> ChipProfile:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f"{path}: not readable as TOML: {one_line(error)}. Mend that line."
        ) from error
    try:
        return _profile(content)
    except UsageError as error:
        raise UsageError(f"{path}: not a chip profile: {error}") from error


def _profile(content: dict[str, Any]) -> ChipProfile:
    own = {"name": _TEXT, "description": _TEXT, "not_simulated": _Key("texts", open=False)}
    _require_keys("", content, own | dict.fromkeys(_SECTIONS, _TEXT))
    for name, expected in own.items():
        _require_value(name, content[name], expected)
    unknown: list[str] = []
    limits = {name: _section(name, content[name], unknown) for name in _SECTIONS}
    profile = ChipProfile(
        name=content["name"],
        description=content["description"],
        not_simulated=tuple(content["not_simulated"]),
        **limits,
        unknown=tuple(unknown),
    )
    _require_order("delay", profile.delay.min, profile.delay.native_max, profile.delay.max)
    _require_order("weights", profile.weights.low, profile.weights.high)
    return profile


def _section(name: str, content: Any, unknown: list[str]) -> Any:
    kind, keys = _SECTIONS[name]
    if not isinstance(content, dict):
        raise UsageError(f"[{name}] must be a section, got {content!r}.")
    _require_keys(f"{name}.", content, keys)
    values = {}
    for key, expected in keys.items():
        value = content[key]
        if expected.open and value in ("none", "unknown"):
            if value == "unknown":
                unknown.append(f"{name}.{key}")
            value = None
        else:
            _require_value(f"{name}.{key}", value, expected)
        values[key] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def _require_keys(prefix: str, content: dict[str, Any], keys: dict[str, _Key]) -> None:
    for key in content:
        if key not in keys:
            (nearest,) = get_close_matches(key, list(keys), n=1, cutoff=0)
            raise UsageError(f"unknown key {prefix}{key}; did you mean {prefix}{nearest}?")
    missing = [prefix + key for key in keys if key not in content]
    if missing:
        open_too = any(expected.open for key, expected in keys.items() if key not in content)
        hint = 'what nobody knows is "unknown"' if open_too else "it must be said"
        raise UsageError(f"missing {', '.join(missing)}; {hint}.")


def _require_value(name: str, value: Any, expected: _Key) -> None:
    if expected.kind == "whole" and isinstance(value, int) and value > expected.most:
        raise UsageError(f"{name} must be at most {expected.most}, got {value!r}.")
    if not expected.accepts(value):
        raise UsageError(f"{name} must be {expected.expected}, got {value!r}.")


def _require_order(name: str, *values: int | None) -> None:
    known = [value for value in values if value is not None]
    if known != sorted(known):
        raise UsageError(f"{name} must not decrease from its lowest to its highest, got {known}.")
