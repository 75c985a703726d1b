"""A network's header as JSON: ``network.json``, and what NIR graphs carry as metadata."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from snn_delays.errors import UsageError, one_line
from snn_delays.table.formats.header import LayerHeader, NetworkHeader
from snn_delays.table.neuron_table import INTEGER_RESETS, RESETS
from snn_delays.table.require import require_version
from snn_delays.table.table import READOUTS

FORMAT = "snn-delays-network"
VERSION = 1
WEIGHT_TYPES = ("float32", "int8", "int16")
MAX_INTEGER = 2**53  # whole numbers that every JSON reader holds exactly


def to_json(header: NetworkHeader) -> str:
    """The header as JSON text; what does not apply is left out."""
    content: dict[str, Any] = {"format": FORMAT, "version": VERSION, **asdict(header)}
    content["layers"] = [
        {key: value for key, value in layer.items() if value is not None}
        for layer in content["layers"]
    ]
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def from_json(text: str) -> NetworkHeader:
    """Read the header; keys that version 1 does not name are ignored.

    Raises:
        UsageError: not JSON, another format, a newer version, a field missing or of wrong type.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not readable JSON: {one_line(error)}.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        got = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise UsageError(f"format must be {FORMAT!r}, got {got!r:.60}.")
    require_version(_integer(content, "version"), VERSION)
    layers = _field(content, "layers")
    if not isinstance(layers, list):
        raise UsageError(f"layers must be a list, got {layers!r:.60}.")
    dt_ms = _number(content, "dt_ms")
    if not dt_ms > 0:
        raise UsageError(f"dt_ms must be > 0 ms, got {dt_ms}.")
    return NetworkHeader(
        dt_ms=dt_ms,
        class_names=_names(content, "class_names"),
        readout=_member(content, "readout", READOUTS),
        tail_steps=_integer(content, "tail_steps"),
        input_channels=_integer(content, "input_channels"),
        created_by=_text(content, "created_by"),
        layers=tuple(_layer_from_json(index, layer) for index, layer in enumerate(layers)),
    )


def _layer_from_json(index: int, content: Any) -> LayerHeader:
    if not isinstance(content, dict):
        raise UsageError(f"layer {index} must be an object, got {content!r:.60}.")
    try:
        source = _field(content, "source")
        weight_type = _member(content, "weight_type", WEIGHT_TYPES)
        model = _member(content, "model", (*RESETS, *INTEGER_RESETS))
        integer = model in INTEGER_RESETS
        return LayerHeader(
            source="input" if source == "input" else _integer(content, "source"),
            target=_integer(content, "target"),
            n_pre=_integer(content, "n_pre"),
            n_post=_integer(content, "n_post"),
            min_delay=_integer(content, "min_delay"),
            max_delay=_integer(content, "max_delay"),
            weight_scale=_number(content, "weight_scale"),
            weight_type=weight_type,
            model=model,
            reset=_member(content, "reset", (RESETS | INTEGER_RESETS)[model]),
            decay_shift=_integer(content, "decay_shift") if integer else None,
            weight_shift=_integer(content, "weight_shift") if integer else None,
        )
    except UsageError as error:
        raise UsageError(f"layer {index}: {error}") from error


def _field(content: dict[str, Any], name: str) -> Any:
    if name not in content:
        raise UsageError(f"{name!r} is missing.")
    return content[name]


def _text(content: dict[str, Any], name: str) -> str:
    value = _field(content, name)
    if not _is_text(value):
        raise UsageError(f"{name!r} must be a string, got {value!r:.60}.")
    return value


def _member(content: dict[str, Any], name: str, expected: tuple[str, ...]) -> str:
    value = _text(content, name)
    if value not in expected:
        raise UsageError(f"{name} must be one of {', '.join(expected)}; got {value!r:.60}.")
    return value


def _integer(content: dict[str, Any], name: str) -> int:
    value = _field(content, name)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_INTEGER:
        raise UsageError(f"{name!r} must be an integer, got {value!r:.60}.")
    return value


def _number(content: dict[str, Any], name: str) -> float:
    value = _field(content, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UsageError(f"{name!r} must be a number, got {value!r:.60}.")
    if not (isinstance(value, float) or abs(value) <= MAX_INTEGER) or not math.isfinite(value):
        raise UsageError(f"{name!r} must be a finite number, got {value!r:.60}.")
    return float(value)


def _names(content: dict[str, Any], name: str) -> tuple[str, ...]:
    value = _field(content, name)
    if not (isinstance(value, list) and all(map(_is_text, value))):
        raise UsageError(f"{name!r} must be a list of strings, got {value!r:.60}.")
    return tuple(value)


def _is_text(value: Any) -> bool:
    # JSON can spell half a character, which no file can hold.
    return isinstance(value, str) and not any("\ud800" <= one <= "\udfff" for one in value)
