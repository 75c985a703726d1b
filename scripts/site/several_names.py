"""An extension of griffe: docstrings that describe several arguments at once (``a, b: both``)."""

from __future__ import annotations

import re
from typing import Any

import griffe

_SEVERAL = re.compile(r"(?m)^    (\w+(?:, \w+)+): (.*(?:\n {8}.*)*)")


class SeveralNames(griffe.Extension):
    """Gives each of several arguments an entry of its own, so that it meets its type."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = _SEVERAL.sub(_each, obj.docstring.value)


def _each(found: re.Match[str]) -> str:
    names, text = found[1].split(", "), found[2]
    return "\n".join(f"    {name}: {text}" for name in names)
