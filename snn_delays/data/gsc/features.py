"""Features of many recordings: computed once, in parallel, and kept in entries of some hundred.

So a build that was killed goes on where it was, a changed recording costs one entry, and any number
of processes may build at once and use what the others have finished.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from jaxtyping import Float16, Float64, Int64
from rich.progress import MofNCompleteColumn

from snn_delays.data.cache import About, Arrays, Cache, Entry, T
from snn_delays.data.gsc.clips import Clip
from snn_delays.data.gsc.log_mel import LogMel
from snn_delays.files.sound import BadAudioError, read_audio
from snn_delays.loops.loop import cores
from snn_delays.terminal import bar

# A second's work for one core, and 15 MB at 140 bands.
CLIPS_PER_PART = 512
# Recordings whose sound is held at once.
_BATCH = 64
# Part of every key: raise it when the same recordings and settings come to mean other features.
_VERSION = 2
_ARRAYS = ("features", "sums", "squares")

_log = logging.getLogger("snn_delays")


@dataclass(frozen=True)
class Part:
    """Features of some recordings; ``sums`` and ``squares`` are Σ_t feature and Σ_t feature².

    ``bad`` says what is wrong with the file of a row, which is all 0 then.
    """

    features: Float16[np.ndarray, "n T bands"]
    sums: Float64[np.ndarray, "n bands"]
    squares: Float64[np.ndarray, "n bands"]
    bad: dict[int, str]


@dataclass(frozen=True)
class Features:
    """All of a data set: as :class:`Part`, but in parts; ``places``: part, and row in it."""

    parts: list[Float16[np.ndarray, "_ T bands"]]
    places: Int64[np.ndarray, "n 2"]
    sums: Float64[np.ndarray, "n bands"]
    squares: Float64[np.ndarray, "n bands"]
    bad: dict[int, str]


def read_features(
    root: Path, clips: Sequence[Clip], front_end: LogMel, folders: Sequence[Path]
) -> Features:
    """Features of ``clips``, as kept or computed with every core this process may use.

    Best is to have clips of one folder one after the other; without ``folders`` of a cache,
    features are held in memory.
    """
    groups = [
        of_word[first : first + CLIPS_PER_PART]
        for _, group in groupby(clips, key=lambda clip: clip.word)
        for of_word in [list(group)]
        for first in range(0, len(of_word), CLIPS_PER_PART)
    ]
    parts = _all_parts(root, groups, front_end, Cache(folders, "GSC"))
    places = [(which, row) for which, group in enumerate(groups) for row in range(len(group))]
    bad = [(which, row, why) for which, part in enumerate(parts) for row, why in part.bad.items()]
    starts = np.cumsum([0, *map(len, groups)]).tolist()
    return Features(
        [part.features for part in parts],
        np.array(places),
        np.concatenate([part.sums for part in parts]),
        np.concatenate([part.squares for part in parts]),
        {starts[which] + row: why for which, row, why in bad},
    )


def _all_parts(root: Path, groups: list[list[Clip]], front_end: LogMel, cache: Cache) -> list[Part]:
    entries = [_entry(group, front_end) for group in groups]
    kept_in: set[Path] = set()

    def find(index: int, *, quiet: bool = False) -> Part | None:
        return cache.find(entries[index], _load, quiet=quiet)

    def find_or_make(index: int) -> Part:
        # Another process may have been quicker.
        if (kept := find(index, quiet=True)) is not None:
            return kept
        part = compute_part(root, groups[index], front_end)
        # A file that has changed since it was listed would be kept under the wrong name.
        unchanged = all(clip.is_as_listed(root) for clip in groups[index])
        if unchanged and (written := keep_part(cache, entries[index], part)):
            kept_in.add(written.parent)
        # The mapped one, so that memory is free for the next.
        return find(index, quiet=True) or part

    # What is kept is checked byte by byte, which several threads do at once.
    found = {index: part for index, part in _run(find, range(len(groups))) if part is not None}
    missing = [index for index in range(len(groups)) if index not in found]
    if missing:
        began, to_do = time.perf_counter(), sum(len(groups[index]) for index in missing)
        total = sum(map(len, groups))
        _log.info(f"GSC: computing the features of {to_do} of {total} recordings, once.")
        # Processes that build the same begin at different places, and so share the work.
        shift = os.getpid() % len(missing)
        with bar("features", to_do, MofNCompleteColumn()) as progress:
            for index, part in _run(find_or_make, missing[shift:] + missing[:shift]):
                found[index] = part
                progress(advance=len(groups[index]))
        seconds = time.perf_counter() - began
        where = "".join(f", kept in {folder}" for folder in kept_in)
        _log.info(f"GSC: features of {to_do} recordings in {seconds:.1f} s{where}.")
    return [found[index] for index in range(len(groups))]


def _entry(clips: Sequence[Clip], front_end: LogMel) -> Entry:
    """A recording is known by its file's path within the root, size and time of its last change."""
    listed = json.dumps([[clip.name, clip.size, clip.modified_ns, clip.start] for clip in clips])
    digest = hashlib.sha256(listed.encode()).hexdigest()
    settings = {"version": _VERSION, "front_end": asdict(front_end), "clips_sha256": digest}
    return Entry(clips[0].word, "features", settings)


def compute_part(root: Path, clips: Sequence[Clip], front_end: LogMel) -> Part:
    """Read the recordings and compute their features; what is wrong with a file is noted."""
    rate = front_end.rate
    features = np.zeros((len(clips), front_end.steps(rate), front_end.n_mels), np.float16)
    bad: dict[int, str] = {}
    for first in range(0, len(clips), _BATCH):
        sounds: dict[int, np.ndarray] = {}
        for row, clip in enumerate(clips[first : first + _BATCH], start=first):
            try:
                sounds[row] = read_audio(root / clip.name, rate, rate, start=clip.start)
            except BadAudioError as error:
                bad[row] = str(error)
        if sounds:
            features[[*sounds]] = front_end(np.stack([*sounds.values()]))
    # Of the rounded numbers, which are what is normalised.
    exact = features.astype(np.float32)
    sums = exact.sum(axis=1, dtype=np.float64)
    return Part(features, sums, np.square(exact).sum(axis=1, dtype=np.float64), bad)


def keep_part(cache: Cache, entry: Entry, part: Part) -> Path | None:
    """Keep it as :func:`_load` takes it."""
    about = {"shape": part.features.shape, "bad": list(part.bad.items())}
    return cache.keep(entry, about, {name: getattr(part, name).ravel() for name in _ARRAYS})


def _load(about: About, arrays: Arrays) -> Part:
    n, steps, bands = about["shape"]
    sums, squares = (arrays[name].reshape(n, bands) for name in _ARRAYS[1:])
    return Part(arrays["features"].reshape(n, steps, bands), sums, squares, dict(about["bad"]))


def _run(task: Callable[[int], T], order: Sequence[int]) -> Iterator[tuple[int, T]]:
    """Results of ``task`` as they come, each with its index; a thread for every core in reach."""
    # Threads suffice: reading files, transforms and matrix products let other threads run.
    pool = ThreadPoolExecutor(cores())
    try:
        futures = {pool.submit(task, index): index for index in order}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        # Interrupted or failed, there is no need to begin what has not been begun.
        pool.shutdown(cancel_futures=True)
