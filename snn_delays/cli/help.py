"""``--help`` with what the files of settings say beside each: permitted values and units."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig

from snn_delays.cli.settings import config_file

# Of every setting: the comments above it, and the one beside it.
Comments = dict[str, tuple[list[str], str]]
_HEADING = "== Configuration (override with key=value) ==\n"
# A line of a setting: its indent, its name; its value, in which a quoted # begins no comment.
_SETTING = re.compile(r"""( *)([\w-]+):((?:"[^"]*"|'[^']*'|[^\s"']|\s(?!#))*)\s*(#.*)?""")


def helped(arguments: list[str], show: Callable[[], None], config_name: str) -> None:
    """``show()``; if ``arguments`` ask for help, it is printed with the comments of the files."""
    if not {"--help", "-h"} & set(arguments):
        return show()
    shown = io.StringIO()
    try:
        with redirect_stdout(shown):
            show()
    except SystemExit:  # how Hydra ends after showing help
        before, heading, settings = shown.getvalue().partition(_HEADING)
        comments: Comments = {}
        for group, option in HydraConfig.get().runtime.choices.items():
            if option and not str(group).startswith("hydra/"):
                comments |= _comments(f"{group}/{option}", str(group))
        comments |= _comments(config_name, "")
        print(before + heading, end="")
        for line, name, _ in _lines(settings):
            above, beside = comments.get(name, ([], ""))
            indent = line[: len(line) - len(line.lstrip())]
            print(*(indent + one for one in above), f"{line} {beside}".rstrip(), sep="\n")
        raise


def _comments(file_name: str, package: str) -> Comments:
    """The comments of a file, and before them those of the files that it builds on."""
    file = config_file(file_name)
    if file is None:
        return {}
    text = file.read_text(encoding="utf-8").partition("\nhydra:")[0]  # which is not shown
    if stated := re.search(r"^# @package (\S+)", text):
        package = "" if stated[1] == "_global_" else stated[1]
    found: Comments = {}
    defaults: Any = (yaml.safe_load(text) or {}).get("defaults", [])
    for base in defaults:
        if isinstance(base, str) and base != "_self_":
            found |= _comments(f"{file_name.rpartition('/')[0]}/{base}", package)
    above: list[str] = []
    first = True
    for line, name, beside in _lines(text):
        if name:
            if first and package:  # what describes the whole file
                found[package] = (above, "")
            if beside or (above and not first):
                found[f"{package}.{name}" if package else name] = ([] if first else above, beside)
            first = False
        own = line.lstrip().startswith("#") and "@package" not in line
        above = [*above, line.strip()] if own else []
    return found


def _lines(text: str) -> Iterator[tuple[str, str, str]]:
    """Every line, the full name of the setting that it begins, if any, the comment beside it."""
    sections: list[tuple[int, str]] = []
    for line in text.splitlines():
        name = comment = ""
        if setting := _SETTING.match(line):
            indent = len(setting[1])
            sections = [one for one in sections if one[0] < indent] + [(indent, setting[2])]
            name, comment = ".".join(one for _, one in sections), setting[4] or ""
        yield line, name, comment
