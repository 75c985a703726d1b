"""Spikes on their way into a file: kept beside it clip by clip, so that nothing is done twice.

A folder ``.NAME.unfinished`` holds ``clips``: first a line with the plan, which tells apart the
clips of another command; then of every clip a count, a checksum, times (float16) and units
(uint16). A lock keeps other processes out. What a crash has left half-written is noticed and cut
off.
"""

from __future__ import annotations

import os
import shutil
import zlib
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Float, Int

from snn_delays.errors import UsageError, refusal

_CLIP = np.dtype([("count", "<i8"), ("checksum", "<u4")])


class Spool:
    """The spikes of as many clips as are done; ``len`` tells how many.

    A context manager, for one process at a time; what it holds stays until :meth:`remove`.

    Args:
        output: the file that shall be written in the end.
        plan: what the clips are, in one line; a spool of another plan is started anew.
    """

    def __init__(self, output: Path, plan: str) -> None:
        self.output, self._plan = output, plan.encode() + b"\n"
        self.folder = output.with_name(f".{output.name}.unfinished")
        self._path = self.folder / "clips"
        self._lock = FileLock(self.folder / "lock", timeout=0)
        self._counts: list[int] = []

    def __len__(self) -> int:
        return len(self._counts)

    def __enter__(self) -> Spool:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            self._open()
        except Timeout as error:
            raise UsageError(
                f"{self.output} is being written by another process. Wait for it, or choose "
                "another output."
            ) from error
        except OSError as error:
            self._lock.release()
            raise self._refused(error) from error
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def append(self, times: Float[np.ndarray, " E"], units: Int[np.ndarray, " E"]) -> None:
        """Keep the spikes of the next clip."""
        data = times.astype("<f2").tobytes() + units.astype("<u2").tobytes()
        clip = np.array([(len(times), zlib.crc32(data))], _CLIP).tobytes()
        try:
            with self._path.open("ab") as file:
                file.write(clip + data)
        except OSError as error:
            raise self._refused(error) from error
        self._counts.append(len(times))

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``times``, ``units`` and ``offsets`` of all clips."""
        offsets = np.concatenate([[0], np.cumsum(self._counts, dtype=np.int64)])
        times, units = np.empty(offsets[-1], np.float16), np.empty(offsets[-1], np.uint16)
        with self._path.open("rb") as file:
            file.seek(len(self._plan))
            for first, count in zip(offsets, self._counts, strict=False):
                file.seek(_CLIP.itemsize, os.SEEK_CUR)
                for values, kind in ((times, "<f2"), (units, "<u2")):
                    values[first : first + count] = np.frombuffer(file.read(2 * count), kind)
        return times, units, offsets

    def remove(self) -> None:
        """Done: nothing of it is needed any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _open(self) -> None:
        self._path.touch()
        with self._path.open("r+b") as file:
            if file.readline() != self._plan:
                file.truncate(0)
                file.seek(0)
                file.write(self._plan)
            whole = file.tell()
            while len(start := file.read(_CLIP.itemsize)) == _CLIP.itemsize:
                (count, checksum) = np.frombuffer(start, _CLIP)[0].tolist()
                data = file.read(4 * count) if count >= 0 else b""
                if len(data) != 4 * count or zlib.crc32(data) != checksum:
                    break
                self._counts.append(count)
                whole = file.tell()
            file.truncate(whole)

    def _refused(self, error: OSError) -> UsageError:
        return UsageError(
            f"cannot write {self.folder}: {refusal(error)}. Choose an output in a folder that "
            "can be written to, with 32 KB of space for each word."
        )
