"""Whole collections of recordings to files in SHD's format, on several processes."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int64

from snn_delays.arguments import choice, whole_number
from snn_delays.cochlea.ear import Ear, presented
from snn_delays.cochlea.filters import HALF, SOUND_RATE, FilterBank, filter_table
from snn_delays.cochlea.recordings import Collection
from snn_delays.cochlea.spool import Spool
from snn_delays.errors import UsageError, refusal
from snn_delays.files.shd_format import MOST_UNITS, write_events
from snn_delays.files.sound import check_sound, read_sound
from snn_delays.loops.loop import cores

# What is going on, how much of it is done, and how much there is.
Watch = Callable[[str, int, int], None]
# Changed whenever the same sound and seed give other spikes, so that no unfinished file mixes two.
_MODEL = 1
_CHANNELS_PER_TASK = 16

_UNGUARDED = (
    "no worker process could start: each imports the script that it is started from, which must "
    'not encode again by that. Put what the script does under if __name__ == "__main__":, or give '
    "workers=1."
)

T = TypeVar("T")


class Encoder:
    """Ears in ``workers`` processes that share one table of the membrane; a context manager.

    Args:
        channels: places on the membrane, so many units; SHD has 700.
        seed: of the fibres. A clip's spikes depend on it and on the clip's name, not on the other
            clips or on the number of workers.
        workers: processes; None for one per core.
        causal: see :mod:`snn_delays.cochlea.filters`; False is as SHD was made.
        watch: told what is done.

    Raises:
        UsageError: a setting out of range; no room for the table; workers that cannot start, as
            in a script without ``if __name__ == "__main__":``.
    """

    def __init__(
        self,
        *,
        channels: int = 700,
        seed: int = 0,
        workers: int | None = None,
        causal: bool = False,
        watch: Watch = lambda doing, done, total: None,
    ) -> None:
        self.channels = whole_number("channels", channels, 2, MOST_UNITS)
        self.seed = whole_number("seed", seed, 0, 2**63)
        workers = cores() if workers is None else workers
        self.workers = whole_number("workers", workers, 1, 4096)
        self.causal, self.watch = choice("causal", causal, (True, False)), watch
        self._pool: ProcessPoolExecutor | None = None
        self._ready = False

    def __enter__(self) -> Encoder:
        self._folder = tempfile.TemporaryDirectory(prefix="snn_delays_")
        self._started = Path(self._folder.name) / "started"
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._folder.cleanup()

    def encode(self, collection: Collection, output: Path | str, *, force: bool = False) -> int:
        """Write all recordings' spikes to ``output``, whole or not at all; how many there are.

        What an interrupted call has encoded is kept beside ``output``; the same call goes on there.

        Raises:
            UsageError: ``output`` exists, unless ``force``; a recording that cannot be used (all
                are looked at before the first is encoded); the file system refuses.
        """
        # As in a worker that imports the script it came from, which goes on to encode.
        if self.workers > 1 and getattr(multiprocessing.current_process(), "_inheriting", False):
            raise UsageError(_UNGUARDED)
        output = Path(output).expanduser()
        if output.suffix not in (".h5", ".hdf5") or output.is_dir():
            raise UsageError(f"output must be a file NAME.h5, got {output}.")
        if output.exists() and not force:
            raise UsageError(f"{output} exists. Choose another output, or overwrite: force=true.")
        clips = collection.recordings
        for done, clip in enumerate(clips):
            self.watch("looking at recordings", done, len(clips))
            check_sound(clip.path)
        with Spool(output, self._plan(collection)) as spool:
            if left := clips[len(spool) :]:
                self._prepare()
            tasks = [(self.seed, clip.name, clip.path) for clip in left]
            self.watch(f"encoding {output.name}", len(spool), len(clips))
            for spikes in self._map(_encode, tasks):
                spool.append(*spikes)
                self.watch(f"encoding {output.name}", len(spool), len(clips))
            times, units, offsets = spool.read()
            write_events(
                output,
                times=times,
                units=units,
                offsets=offsets,
                labels=np.array([collection.class_names.index(clip.label) for clip in clips]),
                speakers=_speakers([clip.speaker for clip in clips]),
                class_names=collection.class_names,
                n_units=self.channels,
            )
            spool.remove()
        return int(offsets[-1])

    def _plan(self, collection: Collection) -> str:
        """One line that changes with whatever changes the spikes."""
        stats = [(clip.name, clip.path.stat()) for clip in collection.recordings]
        clips = [(name, at.st_size, at.st_mtime_ns) for name, at in stats]
        about = [_MODEL, self.channels, self.seed, self.causal, clips]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()

    def _prepare(self) -> None:
        """Compute the membrane, once."""
        if self._ready:
            return
        path = Path(self._folder.name) / "membrane.npy"
        try:
            np.save(path, np.zeros((self.channels, 2 * HALF), np.complex64))
        except OSError as error:
            raise UsageError(
                f"cannot write {path}: {refusal(error)}. The membrane takes "
                f"{self.channels * 2 * HALF * 8 / 1e6:.0f} MB there while it is used; "
                "TMPDIR=DIR chooses another folder."
            ) from error
        if self.workers > 1:
            self._pool = ProcessPoolExecutor(
                self.workers,
                # A fork would inherit threads and locks of torch and numba.
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(path, self.causal, self._started),
            )
        else:
            _open_ear(path, self.causal)
        starts = range(0, self.channels, _CHANNELS_PER_TASK)
        self.watch("computing the membrane", 0, len(starts))
        tasks = [(self.channels, start) for start in starts]
        for done, _ in enumerate(self._map(_fill_table, tasks), start=1):
            self.watch("computing the membrane", done, len(starts))
        self._ready = True

    def _map(self, work: Callable[..., T], tasks: Sequence[tuple[Any, ...]]) -> Iterator[T]:
        """Results in the order of the tasks."""
        if self._pool is None:
            yield from (work(*task) for task in tasks)
            return
        try:
            yield from self._pool.map(work, *zip(*tasks, strict=True))
        except BrokenProcessPool as error:
            if not self._started.exists():
                raise UsageError(_UNGUARDED) from error
            raise UsageError(
                "a worker process was killed, perhaps for want of memory. "
                "The same command goes on where it stopped; give fewer workers."
            ) from error


# What a process keeps between its tasks.
_ear: Ear


def _start_worker(table: Path, causal: bool, started: Path) -> None:
    started.touch()
    # Ctrl-C is the parent's to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _open_ear(table, causal)


def _open_ear(table: Path, causal: bool) -> None:
    global _ear
    # Mapped: all processes share the one copy.
    _ear = Ear(FilterBank(np.asarray(np.load(table, mmap_mode="r+")), causal=causal))


def _fill_table(channels: int, first: int) -> None:
    last = min(first + _CHANNELS_PER_TASK, channels)
    _ear.membrane.table[first:last] = filter_table(channels, first, last)


def _encode(seed: int, name: str, path: Path) -> tuple[np.ndarray, np.ndarray]:
    return _ear.hear(presented(read_sound(path, SOUND_RATE)), generator(seed, name))


def generator(seed: int, name: str) -> np.random.Generator:
    """Random numbers of one clip: other ones for every seed and name."""
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:16], "big")])


def _speakers(names: Sequence[str | None]) -> Int64[np.ndarray, " n"] | list[str] | None:
    """Numbers where all names are numbers, as in SHD; else the names themselves."""
    known = [name for name in names if name is not None]
    if len(known) < len(names):
        return None
    if all(name.isdecimal() and int(name) < 2**16 for name in known):
        return np.array([int(name) for name in known], np.int64)
    return known
