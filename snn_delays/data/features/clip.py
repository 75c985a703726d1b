"""One of the many recordings that features are computed of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Clip:
    """A second of sound, and which file it is in.

    Args:
        name: path of the file within the root, with ``/``.
        size, modified_ns: of the file, so that a change is noticed.
        start: where the second begins, in samples of the file.
    """

    name: str
    size: int
    modified_ns: int
    start: int = 0

    @property
    def word(self) -> str:
        """The folder that the file is in."""
        return self.name.partition("/")[0]

    @property
    def speaker(self) -> int:
        """The speaker's number, which file names give in hexadecimal; -1 where they do not."""
        told, mark, _ = self.name.rpartition("/")[2].partition("_nohash_")
        try:
            return int(told, 16) if mark and len(told) <= 15 else -1
        except ValueError:
            return -1
