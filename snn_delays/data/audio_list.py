"""Which sounds there are, of what classes, and for which part: of folders, or of a list."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from snn_delays.arguments import shown
from snn_delays.data.gsc.clips import official_parts
from snn_delays.errors import UsageError, one_line
from snn_delays.files.speech_lists import LISTS
from snn_delays.tasks import MultiLabel, SingleLabel, Task

PARTS = ("train", "valid", "test")
_ENDINGS = (".wav", ".flac", ".ogg", ".aif", ".aiff")


@dataclass(frozen=True)
class Listed:
    """What there is: files below the root, what they are, and the part of each, if that is told."""

    files: Sequence[str]
    labels: Int64[np.ndarray, "n ..."]
    class_names: tuple[str, ...]
    parts: Sequence[str] | None
    task: Task


def class_folders(root: Path) -> Listed:
    """A class for each folder in ``root`` whose name begins with neither ``_`` nor ``.``."""
    if not root.is_dir():
        raise UsageError(f"{root} not found: expected a folder of class folders. Correct root.")
    folders = sorted(one for one in root.iterdir() if one.is_dir())
    found = {
        one.name: [
            file.relative_to(root).as_posix()
            for file in sorted(one.rglob("*"))
            if file.suffix.lower() in _ENDINGS and not file.name.startswith(".")
        ]
        for one in folders
        if not one.name.startswith(("_", "."))
    }
    names = tuple(name for name, files in found.items() if files)
    if len(names) < 2:
        raise UsageError(
            f"{root} must hold sounds ({', '.join(_ENDINGS)}) in a folder for each of at least 2 "
            f"classes, got {len(names)}."
        )
    files = [file for name in names for file in found[name]]
    labels = np.repeat(np.arange(len(names)), [len(found[name]) for name in names])
    lists = [name for name in LISTS.values() if (root / name).is_file()]
    if len(lists) == 1:
        raise UsageError(
            f"{root} must hold {' and '.join(LISTS.values())} or neither, got {lists[0]} alone. "
            "Restore or delete it."
        )
    told = official_parts(root, files)[0] if lists else None
    parts = None if told is None else [told[file] for file in files]
    return Listed(files, labels, names, parts, SingleLabel())


def table(path: Path) -> Listed:
    """What a CSV file says, ``file,labels`` or ``file,labels,split``."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{path} cannot be read as a CSV file ({one_line(error)}). Correct listing."
        ) from error
    columns = [one.strip() for one in lines[0][1]] if lines else []
    if columns not in (["file", "labels"], ["file", "labels", "split"]):
        raise UsageError(
            f"{path} must begin with the line file,labels or file,labels,split, got "
            f"{shown(','.join(columns))}."
        )
    files: list[str] = []
    sets: list[list[str]] = []
    parts: list[str] = []
    for number, row in lines[1:]:
        if len(row) != len(columns):
            raise UsageError(
                f"{path}, row {number}: expected {len(columns)} columns, got {len(row)}. Names of "
                'several classes take quotes: dog.wav,"bark,growl".'
            )
        name, labels, *part = (one.strip() for one in row)
        classes = [one.strip() for one in labels.split(",")] if labels else []
        if not all(classes) or len(set(classes)) < len(classes):
            raise UsageError(
                f"{path}, row {number}: labels must be distinct names, got {labels!r}."
            )
        if part and part[0] not in PARTS:
            raise UsageError(
                f"{path}, row {number}: split must be train, valid or test, got {part[0]!r}."
            )
        files.append(name)
        sets.append(classes)
        parts.extend(part)
    several = [name for name, n in Counter(files).items() if n > 1]
    if several:
        raise UsageError(f"{path} must list a file once, got {several[0]} more often.")
    names = tuple(sorted({one for classes in sets for one in classes}))
    if not names:
        raise UsageError(f"{path} must list sounds with labels, got {len(files)} without.")
    labels = np.array([[int(one in classes) for one in names] for classes in map(set, sets)])
    return Listed(files, labels, names, parts or None, MultiLabel())
