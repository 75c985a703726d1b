"""An event camera's recordings from a folder, one file each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from snn_delays.data.recordings import TimeUnit, recordings
from snn_delays.data.splits.interface import SpikeData
from snn_delays.errors import UsageError, one_line

_ENDINGS = (".npy", ".npz")


def load_events(
    root: str | Path,
    *,
    frame: Sequence[int],
    dt_ms: float,
    time_unit: TimeUnit = "us",
    pool: int = 1,
    max_time_ms: float | None = None,
    max_count: int | None = None,
    valid_fraction: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
) -> SpikeData:
    """A data set of ``ROOT/train/CLASS/*.npy`` and ``ROOT/test/CLASS/*.npy``; or ``.npz``.

    Every file is one recording: an array with the fields t, x, y and p, or an ``.npz`` of arrays of
    these names. Without folders ``train`` and ``test``, classes lie in ROOT itself.

    Args:
        frame: (polarities, H, W) of the camera.
        dt_ms, time_unit, pool, max_time_ms, max_count, valid_fraction, seed: as for
            ``recordings``.
        test: share of the recordings to test on, where there is no folder ``test``.

    Raises:
        UsageError: no such folder or files, files of another kind, or as ``recordings``.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise UsageError(f"events: {folder} is no folder. Give the one with a folder per class.")
    apart = (folder / "train").is_dir()
    train, labels = _recordings(folder / "train" if apart else folder)
    names = sorted(set(labels))
    given: Any = test
    if apart:
        given = _recordings(folder / "test")
    return recordings(
        *(train, labels),
        frame=frame,
        dt_ms=dt_ms,
        time_unit=time_unit,
        pool=pool,
        max_time_ms=max_time_ms,
        max_count=max_count,
        class_names=names,
        valid_fraction=valid_fraction,
        test=given,
        seed=seed,
    )


def _recordings(folder: Path) -> tuple[list[Any], list[str]]:
    """Events of every file of a folder of classes, and the class of each."""
    files = sorted(file for file in folder.glob("*/*") if file.suffix in _ENDINGS)
    if not files:
        raise UsageError(
            f"events: {folder} must have files CLASS/NAME{' or '.join(_ENDINGS)}, got none."
        )
    return [_read(file) for file in files], [file.parent.name for file in files]


def _read(file: Path) -> Any:
    try:
        found = np.load(file, allow_pickle=False)
        return dict(found) if isinstance(found, np.lib.npyio.NpzFile) else found
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"events: {file} cannot be read: {one_line(error)}.") from error
