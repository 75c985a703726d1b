"""What a chip can take, as data: ``*.toml`` in this folder, every number with its source.

A value is a number, ``"none"`` (there is no such limit, or the chip computes in floating point)
or ``"unknown"`` (we found no public source). Both of the latter are ``None`` in a profile;
``ChipProfile.unknown`` lists which are merely unknown. A user's own file has the same keys.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from snn_delays.errors import UsageError, one_line
from snn_delays.table.chips.limits import (
    DelayLimits,
    FanLimits,
    Key,
    MembraneLimits,
    NeuronLimits,
    WeightLimits,
    key,
)
from snn_delays.table.require import naming

CHIPS = ("loihi1", "loihi2", "spinnaker1", "spinnaker2", "truenorth", "nest", "generic")
FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class ChipProfile:
    """What a chip can take.

    ``unknown``: names like ``membrane.bits`` that nobody has told us; ``not_simulated``: known
    traits of the chip that neither the table nor its simulation has, for a report to say.
    """

    name: str = key("text", open=False)
    description: str = key("text", open=False)
    not_simulated: tuple[str, ...] = key("texts", open=False)
    delay: DelayLimits
    weights: WeightLimits
    fan: FanLimits
    neuron: NeuronLimits
    membrane: MembraneLimits
    unknown: tuple[str, ...]


_SECTIONS: dict[str, type[Any]] = {
    name: kind
    for name, kind in get_type_hints(ChipProfile).items()
    if isinstance(kind, type) and is_dataclass(kind)
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
    with naming(f"{path}: not a chip profile"):
        return _profile(content)


def _profile(content: dict[str, Any]) -> ChipProfile:
    unknown: list[str] = []
    own = _read_keys(ChipProfile, "", content, unknown, _SECTIONS)
    for name, kind in _SECTIONS.items():
        section = content[name]
        if not isinstance(section, dict):
            raise UsageError(f"[{name}] must be a section, got {section!r}.")
        own[name] = kind(**_read_keys(kind, f"{name}.", section, unknown))
    profile = ChipProfile(**own, unknown=tuple(unknown))
    _require_order("delay", profile.delay.min, profile.delay.native_max, profile.delay.max)
    _require_order("weights", profile.weights.low, profile.weights.high)
    return profile


def _read_keys(
    kind: type[Any],
    prefix: str,
    content: dict[str, Any],
    unknown: list[str],
    sections: Iterable[str] = (),
) -> dict[str, Any]:
    """The values of a dataclass's keys; ``unknown`` grows by what is unknown."""
    keys: dict[str, Key] = {
        one.name: one.metadata["key"] for one in fields(kind) if "key" in one.metadata
    }
    _require_keys(prefix, content, keys, sections)
    values = {}
    for name, expected in keys.items():
        value = content[name]
        if expected.open and value in ("none", "unknown"):
            if value == "unknown":
                unknown.append(prefix + name)
            value = None
        else:
            expected.require(prefix + name, value)
        values[name] = tuple(value) if isinstance(value, list) else value
    return values


def _require_keys(
    prefix: str, content: dict[str, Any], keys: dict[str, Key], sections: Iterable[str]
) -> None:
    known = [*keys, *sections]
    for name in content:
        if name not in known:
            (nearest,) = get_close_matches(name, known, n=1, cutoff=0)
            raise UsageError(f"unknown key {prefix}{name}; did you mean {prefix}{nearest}?")
    if missing := [name for name in known if name not in content]:
        open_too = any(name in keys and keys[name].open for name in missing)
        hint = 'what nobody knows is "unknown"' if open_too else "it must be said"
        names = ", ".join(prefix + name for name in missing)
        raise UsageError(f"missing {names}; {hint}.")


def _require_order(name: str, *values: int | None) -> None:
    known = [value for value in values if value is not None]
    if known != sorted(known):
        raise UsageError(f"{name} must not decrease from its lowest to its highest, got {known}.")
