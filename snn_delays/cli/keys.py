"""The arguments that an error names, as the keys that the user has typed."""

from __future__ import annotations

import re
from functools import cache

from omegaconf import DictConfig, OmegaConf

from snn_delays.cli.settings import CONF


def in_keys(line: str) -> str:
    """``fit: epochs must …`` as ``trainer.epochs must …``; other lines as they are.

    A line begins with what was called. Of its words those that are names in the section of
    ``conf/`` that it stands for become keys, if it is clear that they are meant: they have an
    underscore, or stand before "must" or "=".
    """
    called, colon, text = line.partition(": ")
    if not colon or called not in _sections():
        return line
    section, keys = _sections()[called]

    def key(found: re.Match[str]) -> str:
        name = found[0] if found[0] in keys else f"{found[0]}_ms"
        meant = "_" in found[0] or re.match(r" must\b|=", text[found.end() :])
        return f"{section}.{name}" if name in keys and meant else found[0]

    return re.sub(r"(?<![\w.])\w+", key, text)


@cache
def _sections() -> dict[str, tuple[str, set[str]]]:
    """Section and keys of what a section's ``_target_`` names, and of what that makes in turn.

    The trainer's is ``fit``.
    """
    found: dict[str, tuple[str, set[str]]] = {}
    for file in sorted(CONF.glob("*/*.yaml")):
        options, section = OmegaConf.load(file), file.parent.name
        if isinstance(options, DictConfig):
            target = options.get("_target_", "fit" if section == "trainer" else "")
            called = str(target).rpartition(".")[2]
            keys = {str(key) for key in options if not str(key).startswith("_")}
            found[called] = (section, keys | found.get(called, ("", set()))[1])
    found.pop("", None)
    return found | dict.fromkeys(("DelaySNN", "DelayLayer"), found["delay_snn"])
