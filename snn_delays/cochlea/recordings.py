"""Which recordings there are, of what class, and by whom: from folders or from a CSV file."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from snn_delays.arguments import shown
from snn_delays.errors import UsageError

SUFFIXES = (".wav", ".flac")
_COLUMNS = ("path", "label", "speaker")


@dataclass(frozen=True)
class Recording:
    """One clip; ``name`` is its path as the collection has it, with ``/``, and seeds its spikes."""

    path: Path
    name: str
    label: str
    speaker: str | None

    def __post_init__(self) -> None:
        if not isinstance(self.path, Path):
            raise UsageError(f"Recording: path must be a Path, got {shown(self.path)}.")
        for name in ("name", "label", "speaker"):
            value = getattr(self, name)
            if not (isinstance(value, str) and value) and not (name == "speaker" and value is None):
                raise UsageError(
                    f"Recording {self.path}: {name} must be a text, got {shown(value)}."
                )


@dataclass(frozen=True)
class Collection:
    """Recordings in order of their names, or of the CSV file's rows, and the classes' order.

    Raises:
        UsageError: no recordings; a name twice, whose spikes would be drawn alike; a label that is
            no class; a class named twice.
    """

    root: Path
    recordings: tuple[Recording, ...]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, kind in (("recordings", Recording), ("class_names", str)):
            values = getattr(self, name)
            typed = isinstance(values, tuple) and all(isinstance(one, kind) for one in values)
            if not typed or not values:
                raise UsageError(
                    f"Collection: {name} must be a tuple of {kind.__name__}, got {shown(values)}."
                )
        for name, values in (
            ("class_names", self.class_names),
            ("names of recordings", [one.name for one in self.recordings]),
        ):
            if len(set(values)) < len(values):
                twice = next(one for place, one in enumerate(values) if one in values[:place])
                raise UsageError(f"Collection: {name} must differ, got {twice!r} twice.")
        known = set(self.class_names)
        if strangers := [one for one in self.recordings if one.label not in known]:
            raise UsageError(
                f"Collection: labels must be among {', '.join(self.class_names)}, "
                f"got {strangers[0].label!r} of {strangers[0].name}."
            )


def find_recordings(
    audio: Path | str, *, classes: Sequence[str] | None = None, speaker: str | None = None
) -> Collection:
    """All recordings of a folder with one folder per class, or of a CSV file.

    A folder's classes are the names of the folders in it; those that start with ``_`` or ``.``
    (such as Speech Commands' ``_background_noise_``) are left out, deeper folders are searched
    too. A CSV file has the columns path (relative to the file, or absolute), label, and perhaps
    speaker.

    Args:
        audio: the folder or CSV file.
        classes: only these, labelled 0, 1, … in this order; None: all, in the order of their
            names, or of their numbers where all are.
        speaker: regular expression whose first group, searched in a name such as
            ``zero/jackson_3.wav``, is the speaker; None: unknown, or as in the CSV file.

    Raises:
        UsageError: nothing there; a file outside of any class; a row, column, class or
            expression that does not fit.
    """
    audio = Path(audio).expanduser()
    if audio.is_dir():
        root, found = audio, _in_folders(audio)
    elif audio.is_file() and audio.suffix.lower() == ".csv":
        root, found = audio.parent, _in_csv(audio)
    else:
        got = f"a {audio.suffix or 'nameless'} file" if audio.exists() else "nothing there"
        raise UsageError(
            f"audio={audio}: expected a folder with a folder of wav or flac files for each class, "
            f"or a CSV file with the columns path,label[,speaker], got {got}."
        )
    if speaker is not None:
        found = _with_speakers(found, speaker)
    names = _class_names(audio, found, classes)
    return Collection(root, tuple(one for one in found if one.label in names), names)


def _in_folders(root: Path) -> list[Recording]:
    found = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        if any(part.startswith(("_", ".")) for part in name.parts):
            continue
        if len(name.parts) == 1:
            raise UsageError(
                f"{path} lies in no class: expected {root}/CLASS/{name}. "
                "Move it into a folder named after its class, or list the files in a CSV file."
            )
        found.append(Recording(path, name.as_posix(), name.parts[0], None))
    if not found:
        raise UsageError(
            f"{root}: no audio found: expected wav or flac files in one folder for each class, "
            "got none."
        )
    return found


def _in_csv(path: Path) -> list[Recording]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True, strict=True)
            columns = [column.strip() for column in reader.fieldnames or ()]
            allowed = {"path", "label"} <= set(columns) <= set(_COLUMNS)
            if not allowed or len(set(columns)) < len(columns):
                raise UsageError(
                    f"{path}: expected the columns path,label or path,label,speaker in the first "
                    f"line, got {','.join(columns) or 'none'}."
                )
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise UsageError(
            f"{path} cannot be read as a CSV file in UTF-8: {' '.join(str(error).split())}."
        ) from error
    found, seen = [], set()
    for line, row in rows:
        if None in row or None in row.values() or not row["path"].strip() or not row["label"]:
            raise UsageError(
                f"{path}, line {line}: expected {','.join(columns)}, "
                f"got {','.join(str(value) for value in row.values())}."
            )
        name, label = row["path"].strip(), row["label"].strip()
        if name in seen:
            raise UsageError(f"{path}, line {line}: {name} is listed twice. Keep one of the rows.")
        seen.add(name)
        clip = path.parent / Path(name).expanduser()
        if not clip.is_file():
            raise UsageError(f"{path}, line {line}: {clip} not found. Correct the path.")
        known = row.get("speaker")
        found.append(Recording(clip, name, label, known.strip() if known else None))
    if not found:
        raise UsageError(f"{path}: no audio found: expected one recording per line, got none.")
    if any(one.speaker for one in found) and not all(one.speaker for one in found):
        missing = next(one.name for one in found if not one.speaker)
        raise UsageError(f"{path}: {missing} has no speaker, others have. Name all or none.")
    return found


def _with_speakers(found: list[Recording], pattern: str) -> list[Recording]:
    if any(one.speaker for one in found):
        raise UsageError(f"speaker={pattern}: the CSV file names the speakers. Leave speaker out.")
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"speaker={pattern} is no regular expression: {error}.") from error
    if expression.groups != 1:
        raise UsageError(
            f"speaker={pattern}: expected one group in (), got {expression.groups}; "
            "for Speech Commands '([0-9a-f]+)_nohash_'."
        )
    named = []
    for one in found:
        match = expression.search(one.name)
        if not match or not match[1]:
            raise UsageError(
                f"speaker={pattern} names no speaker in {one.name}. Correct the expression."
            )
        named.append(replace(one, speaker=match[1]))
    return named


def _class_names(
    audio: Path, found: list[Recording], classes: Sequence[str] | None
) -> tuple[str, ...]:
    present = {one.label for one in found}
    if classes is None:
        numbers = all(label.isdecimal() for label in present)
        return tuple(sorted(present, key=lambda label: (int(label) if numbers else 0, label)))
    if isinstance(classes, str):
        raise UsageError(f"classes must be a list of names, got {classes!r}.")
    wanted = tuple(str(name) for name in classes)
    if not wanted or len(set(wanted)) != len(wanted):
        raise UsageError(f"classes must name each class once, got {list(wanted)}.")
    if missing := [name for name in wanted if name not in present]:
        raise UsageError(
            f"{audio}: no recordings of {', '.join(missing)}; "
            f"there are {', '.join(sorted(present))}."
        )
    return wanted
