"""Which recordings there are, of what class, and by whom: from folders or from a CSV file."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from snn_delays.arguments import choice, require, tuple_of
from snn_delays.errors import UsageError, one_line
from snn_delays.files.speech_lists import listed_parts

SUFFIXES = (".wav", ".flac")
Parts = Literal["shd", "ssc"]
_COLUMNS = ("path", "label", "speaker")


@dataclass(frozen=True)
class Recording:
    """One clip; ``name`` is its path as the collection has it, with ``/``, and seeds its spikes."""

    path: Path
    name: str
    label: str
    speaker: str | None

    def __post_init__(self) -> None:
        require(isinstance(self.path, Path), "Recording: path", "be a Path", self.path)
        for name in ("name", "label", "speaker"):
            value = getattr(self, name)
            fits = (isinstance(value, str) and value) or (name, value) == ("speaker", None)
            require(fits, f"Recording: {name}", "be a text", value)


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
            tuple_of(f"Collection: {name}", getattr(self, name), kind, least=1)
        names = [one.name for one in self.recordings]
        for what, all_ in (("class_names", self.class_names), ("names of recordings", names)):
            for twice, number in Counter(all_).items():
                if number > 1:
                    raise UsageError(f"Collection: {what} must differ, got {twice!r} twice.")
        for one in self.recordings:
            if one.label not in self.class_names:
                raise UsageError(
                    f"Collection: labels must be among {', '.join(self.class_names)}, "
                    f"got {one.label!r} of {one.name}."
                )


def find_recordings(
    audio: Path | str, *, classes: Sequence[str] | None = None, speaker: str | None = None
) -> Collection:
    """All recordings of a folder with one folder per class, or of a CSV file.

    Args:
        audio: the folder, in which those that start with ``_`` or ``.`` (such as Speech Commands'
            ``_background_noise_``) are left out and deeper ones searched too; or the CSV file,
            with the columns path (relative to the file, or absolute), label, and perhaps speaker.
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
    if not found:
        raise UsageError(
            f"{audio}: no audio found: expected wav or flac files in one folder for each class, or "
            "one in each line of a CSV file, got none."
        )
    if speaker is not None:
        found = _with_speakers(found, speaker)
    present = {one.label for one in found}
    if classes is None:
        numbers = all(label.isdecimal() for label in present)
        names = sorted(present, key=lambda label: (int(label) if numbers else 0, label))
    elif isinstance(classes, str):
        raise UsageError(f"classes must be a list of names, got {classes!r}.")
    else:
        names = [str(name) for name in classes]
        if missing := [name for name in names if name not in present]:
            raise UsageError(
                f"{audio}: no recordings of {', '.join(missing)}; "
                f"there are {', '.join(sorted(present))}."
            )
    return Collection(root, tuple(one for one in found if one.label in names), tuple(names))


def official_parts(collection: Collection, parts: Parts) -> dict[str, Collection]:
    """Recordings by the file they belong to, after validation_list.txt and testing_list.txt.

    ``"ssc"`` makes ssc_train.h5, ssc_valid.h5 and ssc_test.h5, which is what SSC is of Speech
    Commands; ``"shd"`` makes shd_train.h5 (validation recordings among it, as SHD has none) and
    shd_test.h5.

    Raises:
        UsageError: a list is missing or unreadable, both name a recording, or they leave a file
            without any.
    """
    choice("parts", parts, get_args(Parts))
    listed = listed_parts(collection.root, "Leave parts out to write one file of all recordings.")
    names = ("train", "test") if parts == "shd" else ("train", "valid", "test")
    files: dict[str, list[Recording]] = {f"{parts}_{name}.h5": [] for name in names}
    for one in collection.recordings:
        part = listed.get(one.name)
        files[f"{parts}_{part if part in names else 'train'}.h5"].append(one)
    if empty := [name for name, recordings in files.items() if not recordings]:
        raise UsageError(
            f"{collection.root}: the official lists leave no recordings for {', '.join(empty)}. "
            "Are validation_list.txt and testing_list.txt those of these files?"
        )
    return {name: replace(collection, recordings=tuple(found)) for name, found in files.items()}


def _in_folders(root: Path) -> list[Recording]:
    found = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        hidden = any(part.startswith(("_", ".")) for part in name.parts)
        if path.suffix.lower() not in SUFFIXES or hidden or not path.is_file():
            continue
        if len(name.parts) == 1:
            raise UsageError(
                f"{path} lies in no class: expected {root}/CLASS/{name}. "
                "Move it into a folder named after its class, or list the files in a CSV file."
            )
        found.append(Recording(path, name.as_posix(), name.parts[0], None))
    return found


def _in_csv(path: Path) -> list[Recording]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True, strict=True)
            columns = [column.strip() for column in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise UsageError(
            f"{path} cannot be read as a CSV file in UTF-8: {one_line(error)}."
        ) from error
    if sorted(columns) not in (["label", "path"], ["label", "path", "speaker"]):
        raise UsageError(
            f"{path}: expected the columns path,label or path,label,speaker in the first line, "
            f"got {','.join(columns) or 'none'}."
        )
    found: dict[str, Recording] = {}
    for line, row in rows:
        name, label, speaker = ((row.get(key) or "").strip() for key in _COLUMNS)
        clip = path.parent / Path(name).expanduser()
        whole, got = ",".join(columns), ",".join(map(str, row.values()))
        for wrong, problem in (
            (
                None in (*row, *row.values()) or not name or not label,
                f"expected {whole}, got {got}.",
            ),
            (name in found, f"{name} is listed twice. Keep one of the rows."),
            (not clip.is_file(), f"{clip} not found. Correct the path."),
        ):
            if wrong:
                raise UsageError(f"{path}, line {line}: {problem}")
        found[name] = Recording(clip, name, label, speaker or None)
    nameless = [one.name for one in found.values() if not one.speaker]
    if 0 < len(nameless) < len(found):
        raise UsageError(f"{path}: {nameless[0]} has no speaker, others have. Name all or none.")
    return list(found.values())


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
            none = f"names no speaker in {one.name}. Correct the expression."
            raise UsageError(f"speaker={pattern} {none}")
        named.append(replace(one, speaker=match[1]))
    return named
