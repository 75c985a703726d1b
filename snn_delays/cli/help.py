"""``--help`` with what the files of settings say beside each: permitted values and units."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout

import yaml
from hydra.core.hydra_config import HydraConfig
from yaml import MappingNode, Node, ScalarNode, SequenceNode

from snn_delays.cli.settings import config_file

# Of every setting the lines above it, and what stands beside it.
Comments = dict[str, tuple[list[str], str]]
_HEADING = "== Configuration (override with key=value) ==\n"


def helped(arguments: list[str], show: Callable[[], None], config_name: str) -> None:
    """``show()``, whose help, if ``arguments`` ask for it, is printed with comments."""
    if not {"--help", "-h"} & set(arguments):
        return show()
    shown = io.StringIO()
    try:
        with redirect_stdout(shown):
            show()
    except SystemExit:  # so Hydra ends when it has shown it
        before, heading, settings = shown.getvalue().partition(_HEADING)
        print(before + heading + _commented(settings, _comments(config_name)), end="")
        raise


def _commented(settings: str, comments: Comments) -> str:
    """The settings, as YAML, with the comments on each."""
    lines = settings.splitlines()
    for name, key, value in [*_keys(yaml.compose(settings))][::-1]:
        above, beside = comments.get(name, ([], ""))
        if beside:
            lines[_line(key, value).end_mark.line] += f" {beside}"
        at = key.start_mark
        lines[at.line : at.line] = [" " * at.column + line for line in above]
    return "\n".join(lines) + "\n"


def _comments(config_name: str) -> Comments:
    """For every setting the lines above it and the comment beside it, where there are any."""
    found: Comments = {}
    chosen = HydraConfig.get().runtime.choices
    for group, option in chosen.items():
        if option and not str(group).startswith("hydra/"):
            found |= _comments_of(f"{group}/{option}", str(group))
    return found | _comments_of(config_name, "")


def _comments_of(name: str, package: str) -> Comments:
    """Those of a file, and before them those of the files of its group that it builds on."""
    file = config_file(name)
    if file is None:
        return {}
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    if stated := re.search(r"^# @package (\S+)", text):
        package = "" if stated[1] == "_global_" else stated[1]
    bases: Comments = {}
    own: Comments = {}
    first = next((at for at, line in enumerate(lines) if line and not line.startswith("#")), 0)
    if package:  # what a file says of itself as a whole
        own[package] = (_above(lines, first), "")
    for key, node, value in _keys(yaml.compose(text)):
        if key == "defaults" and isinstance(value, SequenceNode):
            for base in [one.value for one in value.value if isinstance(one, ScalarNode)]:
                if base != "_self_":
                    bases |= _comments_of(f"{name.rpartition('/')[0]}/{base}", package)
        end, start = _line(node, value).end_mark, node.start_mark.line
        beside = lines[end.line][end.column :].lstrip(": ")
        above = _above(lines, start) if start > first else []
        if above or beside.startswith("#"):
            own[f"{package}.{key}" if package else key] = (above, beside)
    return bases | own


def _line(key: Node, value: Node) -> Node:
    """Behind which of the two a comment stands: a value of several lines has it behind its key."""
    return value if value.start_mark.line == value.end_mark.line else key


def _above(lines: list[str], at: int) -> list[str]:
    """The comment that ends above a line."""
    first = at
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return [line.strip() for line in lines[first:at] if "@package" not in line]


def _keys(node: Node | None, inside: str = "") -> Iterator[tuple[str, Node, Node]]:
    """Name, key and value of every setting, sections first."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if key.value == "hydra":
                continue  # not shown
            name = f"{inside}.{key.value}" if inside else key.value
            yield name, key, value
            yield from _keys(value, name)
