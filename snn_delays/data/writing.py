"""Writing spike recordings in SHD's file format."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float, Int

from snn_delays.atomic import replacing


def write_events(
    path: Path | str,
    *,
    times: Float[np.ndarray, " E"],
    units: Int[np.ndarray, " E"],
    offsets: Int[np.ndarray, " n_plus_1"],
    labels: Int[np.ndarray, " n"],
    speakers: Int[np.ndarray, " n"],
    class_names: Sequence[str],
) -> None:
    """Write a file that :func:`~snn_delays.data.events.read_events` reads, all of it or nothing.

    Arguments are as in :class:`~snn_delays.data.events.Events`. As in SHD, times are rounded to
    float16, whose steps are 0.24 ms from 0.25 s on, 0.49 ms from 0.5 s and 0.98 ms from 1 s.
    Missing folders are made; an existing file is replaced.

    Raises:
        UsageError: the file system refuses.
    """
    with replacing(Path(path)) as unfinished, h5py.File(unfinished, "w") as file:
        _write_lists(file, "spikes/times", times.astype(np.float16), offsets)
        _write_lists(file, "spikes/units", units.astype(np.uint16), offsets)
        file["labels"] = labels.astype(np.uint16)
        file["extra/speaker"] = speakers.astype(np.uint16)
        file["extra/keys"] = np.array([name.encode() for name in class_names])


def _write_lists(
    file: h5py.File, name: str, values: np.ndarray, offsets: Int[np.ndarray, " n_plus_1"]
) -> None:
    lists = np.empty(len(offsets) - 1, dtype=object)
    # One by one: NumPy would make a matrix of lists that happen to be equally long.
    for i, (first, last) in enumerate(pairwise(offsets)):
        lists[i] = values[first:last]
    file.create_dataset(name, data=lists, dtype=h5py.vlen_dtype(values.dtype))
