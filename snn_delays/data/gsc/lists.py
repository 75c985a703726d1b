"""Which recordings of Speech Commands train, validate and test, as its makers decided.

Reference:
    Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition" (2018,
    arXiv:1804.03209), and the README of the data set.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from snn_delays.errors import UsageError

Part = Literal["train", "valid", "test"]
LISTS: dict[Part, str] = {"valid": "validation_list.txt", "test": "testing_list.txt"}
# The rule's own constant: it decides in which set a file is, and must not change.
_MANY = 2**27 - 1

_log = logging.getLogger("snn_delays")


def official_parts(root: Path, names: Sequence[str]) -> tuple[list[Part], str]:
    """The part that every recording belongs to, and how it was told: "official" or "hash".

    Told by ``validation_list.txt`` and ``testing_list.txt`` in ``root``: what neither names is for
    training. Where a list is missing, by the rule that the lists were made with; the log says so.

    Args:
        names: of the recordings, such as ``bed/0a7c2a8d_nohash_0.wav``.

    Raises:
        UsageError: a list that cannot be read, or a recording in both.
    """
    missing = [name for name in LISTS.values() if not (root / name).is_file()]
    if missing:
        _log.info(
            "GSC: no %s in %s: recordings are split by the hash of their names, the rule that the "
            "official lists were made with.",
            " and no ".join(missing),
            root,
        )
        return [hashed_part(name) for name in names], "hash"
    listed: dict[str, Part] = {}
    for part, file in LISTS.items():
        for name in _read_list(root / file):
            if listed.setdefault(name, part) != part:
                raise UsageError(
                    f"GSC: {name} is in both {' and '.join(LISTS.values())} of {root}: expected it "
                    "in one. Restore the official lists."
                )
    return [listed.get(name, "train") for name in names], "official"


def hashed_part(name: str, *, valid_percent: float = 10, test_percent: float = 10) -> Part:
    """The part of a recording by the official rule, which keeps a speaker in one part.

        h = SHA1(file name without ``_nohash_…``) mod 2²⁷,  p = 100 h / (2²⁷ − 1)

    p < 10 validates, p < 20 tests.
    """
    speaker = re.sub(r"_nohash_.*$", "", name.rpartition("/")[2])
    hashed = int(hashlib.sha1(speaker.encode(), usedforsecurity=False).hexdigest(), 16)
    percent = hashed % (_MANY + 1) * (100 / _MANY)
    if percent < valid_percent:
        return "valid"
    return "test" if percent < valid_percent + test_percent else "train"


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"GSC: {path} cannot be read as a list of recordings: {' '.join(str(error).split())}. "
            "Restore it from the data set's archive."
        ) from error
    return [line.strip().replace("\\", "/").removeprefix("./") for line in lines if line.strip()]
