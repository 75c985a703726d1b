"""The official parts of a folder in the layout of Speech Commands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from snn_delays.cochlea.recordings import Collection
from snn_delays.errors import UsageError

Parts = Literal["shd", "ssc"]


def official_parts(collection: Collection, parts: Parts) -> dict[str, Collection]:
    """Recordings by the file they belong to, after validation_list.txt and testing_list.txt.

    ``"ssc"`` makes ssc_train.h5, ssc_valid.h5 and ssc_test.h5, which is what SSC is of Speech
    Commands; ``"shd"`` makes shd_train.h5 (validation recordings among it, as SHD has none) and
    shd_test.h5.

    Raises:
        UsageError: a list is missing or unreadable, or leaves a file without recordings.
    """
    if parts not in get_args(Parts):
        raise UsageError(f"parts must be {' or '.join(get_args(Parts))}, got {parts!r}.")
    listed = {
        name: _names(collection.root / f"{name}_list.txt") for name in ("validation", "testing")
    }
    valid = "train" if parts == "shd" else "valid"
    files: dict[str, list] = {f"{parts}_{name}.h5": [] for name in ("train", valid, "test")}
    for one in collection.recordings:
        name = one.name
        part = "test" if name in listed["testing"] else "train"
        if part == "train" and name in listed["validation"]:
            part = valid
        files[f"{parts}_{part}.h5"].append(one)
    if empty := [name for name, recordings in files.items() if not recordings]:
        raise UsageError(
            f"{collection.root}: the official lists leave no recordings for {', '.join(empty)}. "
            "Are validation_list.txt and testing_list.txt those of these files?"
        )
    return {name: replace(collection, recordings=tuple(found)) for name, found in files.items()}


def _names(path: Path) -> set[str]:
    try:
        return {line.strip() for line in path.read_text(encoding="utf-8").splitlines()}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read: expected one name per line, such as zero/1a2b_nohash_0.wav. "
            "Leave parts out to write one file of all recordings."
        ) from error
