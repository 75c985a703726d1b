"""Writing spike recordings in the file format of SHD and SSC.

    spikes/times   [n] variable-length float (float16 as published), seconds
    spikes/units   [n] variable-length integer, the unit that fired; optional attribute n_units:
                   units are 0 … n_units − 1
    labels         [n] integer
    extra/speaker  [n] integer or text, optional
    extra/keys     [classes] names of the labels, optional
    extra/meta_info/gender  [speakers] text, optional

Reference:
    Cramer, Stradmann, Schemmel, Zenke, "The Heidelberg Spiking Data Sets for the Systematic
    Evaluation of Spiking Neural Networks" (2020, arXiv:1910.07407).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float, Int, Integer

from snn_delays.arguments import described, whole_number
from snn_delays.columns import column, offsets_of
from snn_delays.errors import UsageError
from snn_delays.files.atomic import replacing

MOST_UNITS = 65_536  # units are uint16 in what is published
_RECORDINGS_PER_CHUNK = 512


def write_events(
    path: Path | str,
    *,
    times: Float[np.ndarray, " E"],
    units: Integer[np.ndarray, " E"],
    offsets: Int[np.ndarray, " n_plus_1"],
    labels: Int[np.ndarray, " n"],
    speakers: Int[np.ndarray, " n"] | Sequence[str] | None,
    class_names: Sequence[str],
    n_units: int | None = None,
) -> None:
    """Write a file in SHD's format, all of it or nothing.

    Missing folders are made; an existing file is replaced. As in SHD, times (s) are rounded to
    float16, whose steps are 0.24 ms from 0.25 s on, 0.49 ms from 0.5 s and 0.98 ms from 1 s.
    Recording ``i`` owns the events from ``offsets[i]`` up to ``offsets[i + 1]``; speakers may be
    names, or None where unknown. Without ``n_units`` the file will not say how many there are.

    Raises:
        UsageError: columns of another kind, length or range; the file system refuses.
    """
    if n_units is not None:
        n_units = whole_number("write_events: n_units", n_units, 1, MOST_UNITS)
    real = isinstance(times, np.ndarray) and times.dtype.kind == "f" and times.ndim == 1
    # NaN is neither; and no copy of times, which may be mapped from a file larger than memory.
    if not real or not (times.min(initial=0) >= 0 and times.max(initial=0) < np.inf):
        raise UsageError(
            "write_events: times must be seconds, a float array [E] of finite numbers >= 0, "
            f"got {described(times)}{f' from {times.min(initial=0)} s' if real else ''}."
        )
    most, classes = n_units or MOST_UNITS, len(class_names)
    column("write_events: units", units, len(times), 0, most - 1, why=f"{most} units")
    n = len(offsets_of("write_events: offsets", offsets, len(times))) - 1
    column("write_events: labels", labels, n, 0, classes - 1, why=f"{classes} class_names")
    if isinstance(speakers, np.ndarray):
        column("write_events: speakers", speakers, n, 0, 65_535, why="None: unknown")
    elif speakers is not None and len(speakers) != n:
        raise UsageError(f"write_events: speakers must be {n} names, got {len(speakers)}.")
    with replacing(Path(path)) as unfinished, h5py.File(unfinished, "w") as file:
        _write_lists(file, "spikes/times", times, offsets, np.float16)
        _write_lists(file, "spikes/units", units, offsets, np.uint16)
        if n_units is not None:
            file["spikes/units"].attrs["n_units"] = n_units
        file["labels"] = labels.astype(np.uint16)
        if isinstance(speakers, np.ndarray):
            file["extra/speaker"] = speakers.astype(np.uint16)
        elif speakers is not None:
            file["extra/speaker"] = np.array([name.encode() for name in speakers])
        file["extra/keys"] = np.array([name.encode() for name in class_names])


def _write_lists(
    file: h5py.File, name: str, values: np.ndarray, offsets: np.ndarray, kind: type[np.generic]
) -> None:
    n, lists_of_kind = len(offsets) - 1, h5py.vlen_dtype(kind)
    dataset = file.create_dataset(name, (n,), dtype=lists_of_kind)
    # Piece by piece, as the values may be mapped from a file larger than memory.
    for start in range(0, n, _RECORDINGS_PER_CHUNK):
        bounds = offsets[start : start + _RECORDINGS_PER_CHUNK + 1]
        lists = np.empty(len(bounds) - 1, dtype=lists_of_kind)
        # One by one: NumPy would make a matrix of lists that happen to be equally long. And below
        # h5py's indexing, which would do so too.
        for i, (first, last) in enumerate(pairwise(bounds)):
            lists[i] = values[first:last].astype(kind)
        place = dataset.id.get_space()
        place.select_hyperslab((start,), lists.shape)
        dataset.id.write(h5py.h5s.create_simple(lists.shape), place, lists)
