"""Speech Commands' two lists, which say what validates and what tests."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from snn_delays.errors import UsageError, one_line

Part = Literal["train", "valid", "test"]
LISTS: dict[Part, str] = {"valid": "validation_list.txt", "test": "testing_list.txt"}


def listed_parts(root: Path, advice: str) -> dict[str, Part]:
    """The part of every recording that one of the lists in ``root`` names; others are for training.

    Args:
        advice: the next move where a list cannot be read, a sentence.

    Raises:
        UsageError: a list that is missing or no text; a recording in both.
    """
    listed: dict[str, Part] = {}
    for part, file in LISTS.items():
        try:
            lines = (root / file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{root / file} cannot be read as a list of recordings, one name per line such as "
                f"zero/1a2b_nohash_0.wav: {one_line(error)}. {advice}"
            ) from error
        for line in lines:
            name = line.strip().replace("\\", "/").removeprefix("./")
            if listed.setdefault(name, part) != part and name:
                raise UsageError(
                    f"{name} is in both {' and '.join(LISTS.values())} of {root}: expected it in "
                    "one. Restore the official lists."
                )
    return listed
