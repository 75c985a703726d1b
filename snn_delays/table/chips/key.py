"""What a key of a chip's profile may hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from snn_delays.errors import UsageError


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
