"""What a key of a chip's profile may hold."""

from __future__ import annotations

import math
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

    @property
    def expected(self) -> str:
        """What it may hold, in words."""
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

    def require(self, name: str, value: Any) -> None:
        """Raise a UsageError unless it can hold the value."""
        if self.kind == "whole" and isinstance(value, int) and value > self.most:
            raise UsageError(f"{name} must be at most {self.most}, got {value!r}.")
        if not self._accepts(value):
            raise UsageError(f"{name} must be {self.expected}, got {value!r}.")

    def _accepts(self, value: Any) -> bool:
        number = type(value) in (int, float)
        match self.kind:
            case "whole":
                return type(value) is int and value >= self.least
            case "signed":
                return type(value) is int
            case "number":
                return number and 0 < value < math.inf
            case "switch":
                return type(value) is bool
            case "text":
                return isinstance(value, str) and bool(value)
            case "word":
                return value in self.choice
            case "words":
                known = isinstance(value, list) and all(one in self.choice for one in value)
                return known and bool(value)
            case _:  # texts
                return isinstance(value, list) and all(isinstance(one, str) for one in value)


def key(kind: str, choice: tuple[str, ...] = (), **limits: Any) -> Any:
    """A field of a section of a profile."""
    return field(metadata={"key": Key(kind, choice, **limits)})
