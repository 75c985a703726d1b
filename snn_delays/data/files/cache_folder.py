"""Where what is read or computed once is kept: beside the data, or where the user says."""

from __future__ import annotations

import os
from pathlib import Path

from snn_delays.errors import UsageError

VARIABLE = "SNN_DELAYS_CACHE"
_FOLDER = ".snn_delays_cache"

CacheChoice = Path | str | bool | None


def cache_folders(root: Path, choice: CacheChoice) -> list[Path]:
    """Where the cache of the files in ``root`` may lie, most welcome first.

    Args:
        root: the folder of the files.
        choice: a folder; False for no cache; None or True for the folder that the environment
            variable SNN_DELAYS_CACHE names, or else ``.snn_delays_cache`` in ``root``, and the
            user's own cache where that cannot be written to.

    Raises:
        UsageError: neither of these.
    """
    if choice is False:
        return []
    if isinstance(choice, str | Path) and str(choice):
        return [Path(os.path.expanduser(choice))]
    if not (choice is None or choice is True):
        raise UsageError(f"cache must be a folder, true, false or null, got {choice!r}.")
    if named := os.environ.get(VARIABLE):
        return [Path(os.path.expanduser(named))]
    own = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # Without a home there is no such place: a relative path would lie anywhere.
    return [root / _FOLDER, *([Path(own) / "snn_delays"] if os.path.isabs(own) else [])]


def read_only(folder: Path) -> bool:
    """Whether nobody may write there; it is left alone then, even by root."""
    try:
        return not (folder if folder.exists() else folder.parent).stat().st_mode & 0o222
    except OSError:
        return False
