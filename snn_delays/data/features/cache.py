"""Features of many recordings: computed once, in parallel, and kept in files of some hundred.

Each file is named after its recordings and the settings, and appears in one step when it is whole.
So a build that was killed goes on where it was, a changed recording costs one file, any number of
processes may build at once and use what the others have finished, and nothing is ever out of date.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Float16, Float64, Int64
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from snn_delays.data.features.clip import Clip
from snn_delays.data.features.log_mel import LogMel
from snn_delays.data.features.part import FeaturePart, PartKey, compute_part, read_part, write_part
from snn_delays.data.files.array_file import DamagedError
from snn_delays.data.files.cache_folder import read_only
from snn_delays.errors import UsageError

# A second's work for one core, and 15 MB at 140 bands.
CLIPS_PER_PART = 512
_FOLDER = "gsc_features"

Result = TypeVar("Result")

_log = logging.getLogger("snn_delays")


@dataclass(frozen=True)
class Features:
    """Features of recordings, in parts, and where each recording's are.

    Shape:
        ``parts`` ``[n, T, bands]`` each; ``places`` ``[n, 2]``: part, and row in it; ``sums``,
        ``squares`` ``[n, bands]``: Σ_t feature and Σ_t feature². ``bad`` says what is wrong with
        the file of a recording.
    """

    parts: list[Float16[np.ndarray, "_ T bands"]]
    places: Int64[np.ndarray, "n 2"]
    sums: Float64[np.ndarray, "n bands"]
    squares: Float64[np.ndarray, "n bands"]
    bad: dict[int, str]


def read_features(
    root: Path, clips: Sequence[Clip], front_end: LogMel, folders: Sequence[Path]
) -> Features:
    """Features of ``clips``, as kept or computed with every core this process may use.

    Args:
        root: where the recordings are.
        clips: the recordings; best those of one folder one after the other.
        folders: where kept features may lie, most welcome first; where none can be written to,
            and with none, they are held in memory.
    """
    keys = [
        PartKey(tuple(of_word[first : first + CLIPS_PER_PART]), front_end)
        for _, group in groupby(clips, key=lambda clip: clip.word)
        for of_word in [list(group)]
        for first in range(0, len(of_word), CLIPS_PER_PART)
    ]
    store = _Store(root, [folder / _FOLDER for folder in folders])
    parts = _all_parts(keys, store)
    sizes = [len(key.clips) for key in keys]
    starts = np.cumsum([0, *sizes])
    return Features(
        parts=[part.features for part in parts],
        places=np.stack(
            [np.repeat(np.arange(len(keys)), sizes), np.concatenate([np.arange(n) for n in sizes])],
            axis=1,
        ),
        sums=np.concatenate([part.sums for part in parts]),
        squares=np.concatenate([part.squares for part in parts]),
        bad={
            int(start) + row: reason
            for start, part in zip(starts, parts, strict=False)
            for row, reason in sorted(part.bad.items())
        },
    )


def _all_parts(keys: Sequence[PartKey], store: _Store) -> list[FeaturePart]:
    began, n_clips = time.perf_counter(), sum(len(key.clips) for key in keys)
    # What is kept is checked byte by byte, which several threads do at once.
    looked = _run(store.find, keys, range(len(keys)))
    found = {index: part for index, part in looked if part is not None}
    missing = [index for index in range(len(keys)) if index not in found]
    if not missing:
        return [found[index] for index in range(len(keys))]
    to_do = sum(len(keys[index].clips) for index in missing)
    _log.info("GSC: computing the features of %d of %d recordings, once.", to_do, n_clips)
    # Processes that build the same begin at different places, and so share the work.
    shift = os.getpid() % len(missing)
    with _progress(to_do) as advance:
        for index, part in _run(store.find_or_make, keys, missing[shift:] + missing[:shift]):
            found[index] = part
            advance(len(keys[index].clips))
    seconds = time.perf_counter() - began
    _log.info(
        "GSC: features of %d recordings in %.1f s (%.0f per second)%s.",
        to_do,
        seconds,
        to_do / seconds,
        f", kept in {store.written}" if store.written else "",
    )
    return [found[index] for index in range(len(keys))]


class _Store:
    """Files of features in the first of some folders that allows it."""

    def __init__(self, root: Path, folders: Sequence[Path]) -> None:
        self.root, self.folders = root, folders
        self.written: Path | None = None
        self._complained = False

    def find(self, key: PartKey) -> FeaturePart | None:
        """What is kept; None if nothing is, with a line in the log if what there is is damaged."""
        for folder in self.folders:
            path = folder / key.file_name
            try:
                return read_part(path, key)
            except FileNotFoundError:
                continue
            except DamagedError as damage:
                _log.warning("GSC: the cache %s %s. Making it again.", path, damage)
        return None

    def find_or_make(self, key: PartKey) -> FeaturePart:
        """What is kept by now, or computed and kept."""
        kept = self._kept_meanwhile(key)
        if kept is not None:
            return kept
        part = compute_part(self.root, key)
        # A file that has changed since it was listed would be kept under the wrong name.
        if not all(self._unchanged(clip) for clip in key.clips):
            return part
        # On network file systems a mapped file must not be replaced, even by an equal one: who
        # has mapped it would crash.
        return self._kept_meanwhile(key) or self._keep(key, part)

    def _kept_meanwhile(self, key: PartKey) -> FeaturePart | None:
        """What another process may have been quicker to make."""
        for folder in self.folders:
            with suppress(FileNotFoundError, DamagedError):
                return read_part(folder / key.file_name, key)
        return None

    def _unchanged(self, clip: Clip) -> bool:
        try:
            now = (self.root / clip.name).stat()
        except OSError:
            return False
        return (now.st_size, now.st_mtime_ns) == (clip.size, clip.modified_ns)

    def _keep(self, key: PartKey, part: FeaturePart) -> FeaturePart:
        """Write it and give back the mapped file, so that memory is free for the next."""
        refusal = ""
        for folder in self.folders:
            if read_only(folder.parent):
                refusal = refusal or f"{folder.parent} is read-only."
                continue
            try:
                write_part(folder / key.file_name, key, part)
                self.written = folder
                return read_part(folder / key.file_name, key)
            except UsageError as error:
                refusal = refusal or str(error)
            except (FileNotFoundError, DamagedError):
                return part  # Somebody has tidied up; what was computed is good all the same.
        if refusal and not self._complained:
            self._complained = True
            _log.warning(
                "GSC: going on without a cache, features in memory: %s (cache=DIR or "
                "SNN_DELAYS_CACHE=DIR sets it, cache=false does without.)",
                refusal,
            )
        return part


def _run(
    task: Callable[[PartKey], Result], keys: Sequence[PartKey], order: Sequence[int]
) -> Iterator[tuple[int, Result]]:
    """Results of ``task`` as they come, each with its index; a thread for every core in reach.

    Threads suffice: reading files, transforms and matrix products let other threads run.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    pool = ThreadPoolExecutor(cores or 1)
    try:
        futures = {pool.submit(task, keys[index]): index for index in order}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        # Interrupted or failed, there is no need to begin what has not been begun.
        pool.shutdown(cancel_futures=True)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar in a terminal, nothing elsewhere; yields what tells it of recordings done."""
    console = Console(stderr=True)
    columns = TextColumn("features"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("features", total=total)
        yield lambda done: progress.update(task, advance=done)
